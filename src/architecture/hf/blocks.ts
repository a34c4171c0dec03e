// The blocks of a stack: every tensor claimed, every branch named, kinds checked against the tensors. Stops where they contradict.
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { ExpandError } from "../../errors.ts";
import type { Block } from "../architecture.ts";
import { sourceIndex } from "../layout.ts";
import type { Axis } from "./axis.ts";
import { type BranchContext, branchesOf, fixedOf } from "./branches.ts";
import { chooseModules } from "./claim.ts";
import type { Module, Slot } from "./family.ts";
import { blockPrefix, type SplitNames } from "./names.ts";
import type { Quantization } from "./quantization/quantization.ts";
import type { Model } from "./resolve.ts";
import { CONFIG, type Settings } from "./settings.ts";
import { matches } from "./template.ts";
import { type Weights, weightsOf } from "./weights.ts";

export interface BlocksInput {
  readonly checkpoint: Checkpoint;
  readonly model: Model;
  readonly settings: Settings;
  readonly names: SplitNames;
  readonly count: number;
  /** Blocks behind the stack that the settings announce. */
  readonly tailCount: number;
  readonly kinds: readonly { readonly axis: Axis; readonly kinds: readonly string[] }[];
  readonly quantization: Quantization;
}

export interface Blocks {
  readonly blocks: readonly Block[];
  readonly tail: readonly Block[];
  /** Why a block cannot be copied, by its index. */
  readonly locked: ReadonlyMap<number, string>;
}

export function blocksOf(input: BlocksInput): Blocks {
  const { slots, tail: rule } = input.model.stack;
  const found = checkIndices(input);
  const all = Array.from({ length: input.count }, (_, index) => blockAt(index, input, slots));
  const extra: Module = { name: "mtp", tensors: rule?.tensors ?? "" };
  const tail = Array.from({ length: found - input.count }, (_, at) =>
    blockAt(input.count + at, input, [...slots, extra]),
  );
  const locked = new Map(all.flatMap(({ block, noCopy }) => (noCopy === undefined ? [] : [[block.index, noCopy]])));
  checkAlike(
    all.filter(({ block }) => !locked.has(block.index)),
    input,
  );
  return { blocks: all.map(({ block }) => block), tail: tail.map(({ block }) => block), locked };
}

/** Blocks 0 to count-1 are there, and behind them nothing or exactly the announced tail. Returns their number. */
function checkIndices(input: BlocksInput): number {
  const { count, tailCount, names, model } = input;
  const indices = [...names.blocks.keys()].sort((a, b) => a - b);
  const gap = indices.findIndex((index, at) => index !== at);
  const found = indices.length;
  if (gap < 0 && (found === count || (tailCount > 0 && found === count + tailCount))) return found;
  const absent = gap >= 0 ? gap : found;
  const problem =
    absent < count
      ? `block ${absent} has no tensors`
      : `blocks 0 to ${indices.at(-1)} have tensors${tailCount > 0 ? ` and ${model.stack.tail?.count} is ${tailCount}` : ""}`;
  throw new ExpandError("damaged", `${model.stack.count[0]} is ${count}, but ${problem}`, {
    at: CONFIG,
    fix: "Check that every shard is there and that config.json belongs to these weights.",
  });
}

interface ClaimedBlock {
  readonly block: Block;
  /** Names of its weights inside the block, whatever form they are stored in. */
  readonly plain: ReadonlySet<string>;
  readonly noCopy: string | undefined;
}

function blockAt(index: number, input: BlocksInput, slots: readonly Slot[]): ClaimedBlock {
  const { checkpoint, model, names } = input;
  const prefix = blockPrefix(model.stack, names.base, index);
  const tensors = names.blocks.get(index) ?? new Map<string, string>();
  const weights = weightsOf(tensors, prefix, input.quantization, (name) => checkpoint.tensors.has(name));
  const modules = chooseModules(weights, slots, {
    family: model.family.name,
    prefix,
    hiddenSize: hiddenSize(input.settings),
    tensor: (suffix) => checkpoint.tensors.get(prefix + suffix),
  });
  const context: BranchContext = {
    weights,
    nameOf: (suffix) => prefix + suffix,
    tensor: (name) => checkpoint.tensors.get(name),
  };
  const block: Block = {
    index: sourceIndex(index),
    kind: index < input.count ? kindAt(index, modules, input) : "tail",
    tensors,
    branches: branchesOf(modules, context),
    fixed: fixedOf(modules, context),
    buffers: buffersOf(modules, weights),
  };
  return {
    block,
    plain: plainNames(weights, input),
    noCopy: modules.find((module) => module.noCopy !== undefined)?.noCopy,
  };
}

function hiddenSize(settings: Settings): number | undefined {
  return ["hidden_size", "n_embd", "d_model", "model_dim", "dim"]
    .map((name) => settings.number(name))
    .find((n) => n !== undefined);
}

function buffersOf(modules: readonly Module[], weights: Weights): ReadonlySet<string> {
  const rules = modules.map((module) => module.buffers ?? "").join(" ");
  return new Set([...[...weights.stored.keys()].filter((name) => matches(rules, name)), ...weights.attached]);
}

/** Names that tell a slot's alternatives apart; none where all have the same. */
function alternatives(slot: Slot): readonly string[] {
  const names = new Set("name" in slot ? [] : slot.map((module) => module.name));
  return names.size > 1 ? [...names] : [];
}

/** Kinds by the settings, checked against the modules found, then the modules that the settings do not speak of. */
function kindAt(index: number, modules: readonly Module[], input: BlocksInput): string {
  const parts = input.kinds.map(({ axis, kinds }) => {
    const kind = kinds[index] ?? "";
    const module = axis.modules?.[kind];
    if (module === undefined || modules.some((one) => one.name === module)) return kind;
    const found = modules.map((one) => one.name).find((name) => Object.values(axis.modules ?? {}).includes(name));
    throw new ExpandError(
      "damaged",
      `the settings make block ${index} ${kind}, but its tensors are those of ${found ?? "another kind"}`,
      { at: CONFIG, fix: "Check that config.json belongs to these weights." },
    );
  });
  const spoken = new Set(input.kinds.flatMap(({ axis }) => Object.values(axis.modules ?? {})));
  const optional = input.model.stack.slots.flatMap(alternatives);
  const varying = modules.map((module) => module.name).filter((name) => optional.includes(name) && !spoken.has(name));
  const all = [...new Set([...parts, ...varying])].filter((part) => part !== "");
  return all.length === 0 ? "block" : all.join("/");
}

/** A quantized checkpoint may leave a module out of some blocks' quantization, and some methods add a bias to what they quantize. */
function plainNames(weights: Weights, input: BlocksInput): ReadonlySet<string> {
  const names = [...weights.stored.keys()];
  return new Set(input.quantization.method === "none" ? names : names.filter((name) => !name.endsWith(".bias")));
}

/** Blocks of one kind have the same weights: one that lacks a weight is damaged. */
function checkAlike(blocks: readonly ClaimedBlock[], input: BlocksInput): void {
  const first = new Map<string, ClaimedBlock>();
  for (const claimed of blocks) {
    const { kind } = claimed.block;
    const other = first.get(kind) ?? claimed;
    first.set(kind, other);
    const [name] = [...other.plain].filter((suffix) => !claimed.plain.has(suffix));
    const [more] = [...claimed.plain].filter((suffix) => !other.plain.has(suffix));
    if (name === undefined && more === undefined) continue;
    const [has, lacks, tensor] = name === undefined ? [claimed, other, more] : [other, claimed, name];
    throw new ExpandError(
      "damaged",
      `block ${has.block.index} has a tensor ${tensor}, but block ${lacks.block.index} of the same kind (${kind}) has none`,
      {
        at: blockPrefix(input.model.stack, input.names.base, lacks.block.index).slice(0, -1),
        fix: "Download the checkpoint again; tensors are missing.",
      },
    );
  }
}
