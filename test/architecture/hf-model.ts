// Checkpoints without weights, for tests: names and shapes from templates, settings as JSON.
import type { Adaptation, Architecture, Branch } from "../../src/architecture/architecture.ts";
import { templates } from "../../src/architecture/hf/template.ts";
import { understandHf } from "../../src/architecture/hf/understand.ts";
import { type Layout, type LayoutBlock, sourceIndex } from "../../src/architecture/layout.ts";
import type { Checkpoint } from "../../src/checkpoint/checkpoint.ts";
import { ExpandError } from "../../src/errors.ts";
import { JsonDocument, type JsonValue } from "../../src/json.ts";
import { byteLength, type Dtype, type Shape } from "../../src/tensor/dtype.ts";
import type { TensorRef } from "../../src/tensor/reference.ts";
import { memorySource } from "../../src/tensor/source.ts";

export type Config = Readonly<Record<string, JsonValue>>;

export interface ModelParts {
  readonly config: Config;
  /** Tensors of every block, or of each block by index; templates below `prefix`. */
  readonly block: string | ((index: number) => string);
  readonly count: number;
  readonly prefix?: string;
  readonly outside?: string;
  readonly experts?: number;
  readonly dtype?: Dtype | ((name: string) => Dtype);
  readonly shape?: (name: string) => Shape;
  readonly documents?: Readonly<Record<string, JsonValue>>;
}

/** Names that a text of templates stands for, optional ones included; `{e}` for every expert. */
export function namesOf(text: string, experts = 2): string[] {
  return templates(text).flatMap(({ name }) =>
    name.includes("{e}") ? Array.from({ length: experts }, (_, expert) => name.replace("{e}", String(expert))) : [name],
  );
}

const source = memorySource("model.safetensors", new Uint8Array(0));

export function checkpointOf(parts: ModelParts): Checkpoint {
  const { config, block, count, prefix = "model.layers.{i}.", experts } = parts;
  const names = Array.from({ length: count }, (_, index) =>
    namesOf(typeof block === "string" ? block : block(index), experts).map(
      (name) => prefix.replace("{i}", String(index)) + name,
    ),
  ).flat();
  const all = [...namesOf(parts.outside ?? "model.embed_tokens.weight model.norm.weight lm_head.weight"), ...names];
  const stored = all.map((name) => {
    const dtype = typeof parts.dtype === "function" ? parts.dtype(name) : (parts.dtype ?? "BF16");
    return [name, [dtype, parts.shape?.(name) ?? [8]]] as const;
  });
  return checkpointWith({ "config.json": config, ...parts.documents }, new Map(stored));
}

/** `tensors`: name to type and shape. */
export function checkpointWith(
  documents: Readonly<Record<string, JsonValue>>,
  tensors: ReadonlyMap<string, readonly [Dtype, Shape]>,
): Checkpoint {
  const refs = [...tensors].map(([name, [dtype, shape]]): [string, TensorRef] => [
    name,
    { kind: "stored", dtype, shape, bytes: byteLength(dtype, shape) ?? 0, source, offset: 0 },
  ]);
  const parsed = Object.entries(documents).map(
    ([name, value]) => [name, JsonDocument.parse(name, JSON.stringify(value))] as const,
  );
  return {
    format: "safetensors",
    location: "model",
    config: { dialect: "hf", documents: new Map(parsed) },
    tensors: new Map(refs),
    shards: [],
    assets: new Map(),
  };
}

export const understood = (parts: ModelParts, stack?: string): Architecture =>
  understandHf(checkpointOf(parts), stack === undefined ? {} : { stack });

/** Originals in order; `copies` lists, for each inserted copy, [behind which original, of which block]. */
export function layoutOf(count: number, copies: readonly (readonly [number, number])[]): Layout {
  return Array.from({ length: count }, (_, index): LayoutBlock[] => [
    { kind: "original", from: sourceIndex(index) },
    ...copies
      .filter(([behind]) => behind === index)
      .map(([, from]): LayoutBlock => ({ kind: "copy", from: sourceIndex(from) })),
  ]).flat();
}

/** A copy of each listed block right behind it. */
export const copiesOf = (count: number, ...blocks: readonly number[]): Layout =>
  layoutOf(
    count,
    blocks.map((block) => [block, block]),
  );

/** Edits as path to value after; undefined for a key that goes. */
export function editsOf(adaptation: Adaptation): Readonly<Record<string, JsonValue | undefined>> {
  return Object.fromEntries(
    adaptation.edits.map((edit) => [
      edit.document === "config.json" ? edit.path : `${edit.document}:${edit.path}`,
      edit.after,
    ]),
  );
}

/** Branch name to what its default factor closes: "name=value", names inside the block. */
export function closedBy(architecture: Architecture, block = 0): Readonly<Record<string, readonly string[]>> {
  const found = architecture.blocks[block];
  const inside = new Map([...(found?.tensors ?? [])].map(([suffix, name]) => [name, suffix]));
  const closing = (branch: Branch): string[] =>
    (branch.factors[branch.preferred]?.tensors ?? [])
      .map((fixed) => `${inside.get(fixed.tensor)}=${fixed.value}`)
      .sort();
  return Object.fromEntries((found?.branches ?? []).map((branch) => [branch.name, closing(branch)]));
}

/** tag, whole message and fix of what `run` throws. */
export function caught(run: () => unknown): { tag: string; message: string; fix: string | undefined } {
  try {
    run();
  } catch (error) {
    if (error instanceof ExpandError) return { tag: error.tag, message: error.message, fix: error.fix };
    throw error;
  }
  throw new ExpandError("bug", "nothing was thrown");
}
