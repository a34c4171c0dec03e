// Carries a plan out on references and settings. No weight is read; writing happens elsewhere.
import type { Architecture, ConfigEdit } from "../architecture/architecture.ts";
import { sourceIndex } from "../architecture/layout.ts";
import type { Checkpoint, Config, Shard } from "../checkpoint/checkpoint.ts";
import {
  encodeGgufArray,
  encodeGgufEntry,
  GGUF_TYPES,
  type GgufEntry,
  type GgufScalarType,
} from "../checkpoint/gguf-metadata.ts";
import { ExpandError } from "../errors.ts";
import type { JsonValue } from "../json.ts";
import { filled, type TensorRef } from "../tensor/reference.ts";
import { blockAt, type Plan } from "./plan.ts";

/** One source shard's share of the expanded checkpoint: its own tensors in their order, then the copies made of them. */
export interface ShardGroup {
  readonly source: Shard;
  readonly tensors: readonly (readonly [name: string, tensor: TensorRef])[];
  /** How many of `tensors`, from the start, are the shard's own. */
  readonly originals: number;
}

export interface Expansion {
  /** The expanded checkpoint as references; its shards are the source's and say nothing about where tensors will be. */
  readonly checkpoint: Checkpoint;
  readonly groups: readonly ShardGroup[];
}

/** Throws "plan" when a tensor that the plan fixes is not one of the copy's. */
export function applyPlan(checkpoint: Checkpoint, architecture: Architecture, plan: Plan): Expansion {
  const originals = originalNames(architecture, plan);
  const copies = copiedTensors(checkpoint, architecture, plan);
  const layout = plan.blocks.map(({ kind, from }) => ({ kind, from: sourceIndex(from) }));
  const { resliced } = architecture.adapt(layout);
  const groups = checkpoint.shards.map((shard): ShardGroup => {
    const own = shard.tensors.map((name) => {
      return [originals.get(name) ?? name, resliced?.get(name) ?? tensorOf(checkpoint, name)] as const;
    });
    const added = shard.tensors.flatMap((name) => copies.get(name) ?? []);
    added.sort((a, b) => a.at - b.at);
    return {
      source: shard,
      tensors: [...own, ...added.map((copy) => [copy.name, copy.tensor] as const)],
      originals: own.length,
    };
  });
  const tensors = new Map(groups.flatMap((group) => group.tensors));
  const expected = groups.reduce((sum, group) => sum + group.tensors.length, 0);
  if (tensors.size !== expected)
    throw new ExpandError("bug", `two tensors got one name: ${expected - tensors.size} lost`);
  return { checkpoint: { ...checkpoint, tensors, config: editConfig(checkpoint.config, plan.config) }, groups };
}

/** Settings with edits applied, one after another. */
export function editConfig(config: Config, edits: readonly ConfigEdit[]): Config {
  if (config.dialect === "gguf") {
    const entries = new Map(config.metadata.entries);
    for (const edit of edits) {
      if (edit.after === undefined) entries.delete(edit.path);
      else entries.set(edit.path, encodeEdit(edit, edit.after, entries.get(edit.path)));
    }
    return { dialect: "gguf", metadata: { ...config.metadata, entries } };
  }
  const documents = new Map(config.documents);
  for (const edit of edits) {
    const document = documents.get(edit.document);
    if (document === undefined) throw new ExpandError("bug", `there is no ${edit.document} to edit`);
    documents.set(edit.document, document.with(edit.path.split("."), edit.after));
  }
  return { dialect: config.dialect, documents };
}

/** An existing key keeps its type unless the edit names one: llama.cpp refuses another type, u32 against i32 included. */
function encodeEdit(edit: ConfigEdit, value: JsonValue, old: GgufEntry | undefined): GgufEntry {
  const type = scalarType(edit, edit.type ?? (old?.type === "array" ? old.element : old?.type));
  const values = (Array.isArray(value) ? value : [value]).map((item: JsonValue) => {
    if (item === null || typeof item === "object") throw new ExpandError("bug", `${edit.path} cannot hold an object`);
    return typeof item === "number" && (type === "u64" || type === "i64") ? BigInt(item) : item;
  });
  const [first] = values;
  if (Array.isArray(value) || first === undefined) return encodeGgufArray(edit.path, type, values);
  return encodeGgufEntry(edit.path, type, first);
}

function scalarType(edit: ConfigEdit, name: string | undefined): GgufScalarType {
  const word = name?.replace(/^\[(.*)\]$/, "$1");
  const type = GGUF_TYPES.find((candidate) => candidate === word);
  if (type !== undefined && type !== "array") return type;
  throw new ExpandError("bug", `the edit of ${edit.path} names no type`);
}

interface CopiedTensor {
  readonly at: number;
  readonly name: string;
  readonly tensor: TensorRef;
}

/** Source name to name in the expanded checkpoint, for every tensor that moves. */
function originalNames(architecture: Architecture, plan: Plan): Map<string, string> {
  const names = new Map<string, string>();
  for (const block of plan.blocks) {
    if (block.kind === "copy") continue;
    for (const name of blockAt(architecture, block.from).tensors.values()) {
      names.set(name, architecture.rename(name, block.at));
    }
  }
  const added = plan.blocks.length - architecture.blocks.length;
  for (const block of architecture.tail) {
    for (const name of block.tensors.values()) names.set(name, architecture.rename(name, block.index + added));
  }
  return names;
}

/** Source name to the copies made of it. */
function copiedTensors(checkpoint: Checkpoint, architecture: Architecture, plan: Plan): Map<string, CopiedTensor[]> {
  const copies = new Map<string, CopiedTensor[]>();
  for (const block of plan.blocks) {
    if (block.kind === "original") continue;
    const source = blockAt(architecture, block.from);
    const patterns = new Map(
      [...source.branches.flatMap((branch) => branch.factors.flatMap((factor) => factor.tensors)), ...source.fixed].map(
        (fixed) => [architecture.rename(fixed.tensor, block.at), fixed],
      ),
    );
    const fixed = new Set(block.zeroed.map((entry) => entry.tensor));
    for (const name of source.tensors.values()) {
      const renamed = architecture.rename(name, block.at);
      const tensor = tensorOf(checkpoint, name);
      const pattern = fixed.delete(renamed) ? patterns.get(renamed)?.pattern : undefined;
      const copy = { at: block.at, name: renamed, tensor: pattern === undefined ? tensor : filled(tensor, pattern) };
      copies.set(name, [...(copies.get(name) ?? []), copy]);
    }
    for (const left of fixed) {
      throw new ExpandError("plan", `block ${block.at} has no tensor "${left}" to zero`, {
        fix: "Make the plan again with the plan command.",
      });
    }
  }
  return copies;
}

function tensorOf(checkpoint: Checkpoint, name: string): TensorRef {
  const tensor = checkpoint.tensors.get(name);
  if (tensor === undefined) throw new ExpandError("bug", `tensor "${name}" is claimed but not there`);
  return tensor;
}
