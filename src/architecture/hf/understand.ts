// Reads the meaning of a Hugging Face checkpoint out of its settings and its tensor names. Reads no weights and guesses nothing.
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { ExpandError } from "../../errors.ts";
import type { JsonDocument } from "../../json.ts";
import type { Architecture, Block } from "../architecture.ts";
import { adaptSettings } from "./adapt.ts";
import { blocksOf } from "./blocks.ts";
import { coveredPaths } from "./coverage.ts";
import { guardSettings } from "./guard.ts";
import { holds, kindsOf } from "./kinds.ts";
import { blockPrefix, splitNames } from "./names.ts";
import { claimOutside, refuseSlices, reslice, rowSlices } from "./outside.ts";
import { isSpellable, stackPeriod } from "./period.ts";
import { quantizationOf } from "./quantization/quantization.ts";
import { type Model, resolveModel } from "./resolve.ts";
import { CONFIG, isList, Settings } from "./settings.ts";

export function understandHf(checkpoint: Checkpoint, options: { readonly stack?: string } = {}): Architecture {
  const documents = documentsOf(checkpoint);
  const model = resolveModel(documents, options.stack);
  const { stack, family } = model;
  const settings = Settings.of(documents, stack.scopes);
  refuse(model, settings);
  const count = blockCount(model, settings);
  const tailCount = stack.tail === undefined ? 0 : (settings.number(stack.tail.count) ?? 0);
  const names = splitNames(checkpoint.tensors.keys(), stack);
  refuseSlices(names.rest, names.base, model, checkpoint);
  const rows = rowSlices(names.rest, names.base, model, checkpoint);
  const quantization = quantizationOf(checkpoint);
  const axes = stack.axes ?? [];
  const kinds = axes.map((axis) => ({ axis, kinds: kindsOf(axis, settings, count) }));
  const { blocks, tail, locked } = blocksOf({
    checkpoint,
    model,
    settings,
    names,
    count,
    tailCount,
    kinds,
    quantization,
  });
  claimOutside(names.rest, names.base, model, checkpoint);
  const blockPrefixes = [names.base, ...stack.bases.filter((base) => base !== names.base)].map(
    (base) => (base + stack.block).split("{i}")[0] ?? "",
  );
  guardSettings(documents, { count, covered: coveredPaths(model, settings), scopes: settings.scopes, blockPrefixes });
  const context = { stack, axes, settings, count, tail: tail.length, locked };
  const positions = indexOf(blocks, tail);
  return {
    family: family.name,
    modelType: model.modelType,
    stack: stack.name,
    stacks: model.stacks,
    blocks,
    tail,
    outside: names.rest,
    period: stackPeriod(context),
    periodIsOptional: isSpellable(context),
    notes: [...model.notes, ...(quantization.note === undefined ? [] : [quantization.note])],
    rename: (tensor, to) => {
      const suffix = positions.get(tensor);
      if (suffix === undefined) throw new ExpandError("bug", "is in no block", { at: tensor });
      return blockPrefix(stack, names.base, to) + suffix;
    },
    adapt: (layout) => {
      const adapted = adaptSettings(context, layout);
      const edits = [...adapted.edits, ...quantization.edits(layout, blockPrefixes)];
      return { ...adapted, edits, ...(rows.size === 0 ? {} : { resliced: reslice(rows, count, layout) }) };
    },
  };
}

function documentsOf(checkpoint: Checkpoint): ReadonlyMap<string, JsonDocument> {
  if (checkpoint.config.dialect === "hf") return checkpoint.config.documents;
  throw new ExpandError("bug", "another dialect came to the Hugging Face reader", { at: checkpoint.location });
}

function refuse(model: Model, settings: Settings): void {
  const refusal = model.refusals.find((one) => holds(one.if, settings));
  if (refusal === undefined) return;
  const { field, default: absent } = refusal.if;
  const value = JSON.stringify(settings.get(field) ?? absent);
  throw new ExpandError(
    "unsupported",
    `${model.modelType} with ${field} ${value} cannot be expanded: ${refusal.reason}`,
    {
      at: CONFIG,
      ...(refusal.fix === undefined ? {} : { fix: refusal.fix }),
    },
  );
}

/** Throws when the count is absent, not a positive integer, or said twice in two ways. */
function blockCount(model: Model, settings: Settings): number {
  const { stack } = model;
  const found = stack.count.flatMap((field) => settings.paths(field));
  const fallback = stack.countDefault === undefined ? [] : settings.paths(stack.countDefault);
  const paths = found.length > 0 ? found : fallback.slice(0, 1);
  const values = paths.map((path) => {
    const value = settings.at(path);
    return isList(value) ? value[stack.countIndex ?? 0] : value;
  });
  const list = stack.countList === undefined ? undefined : settings.get(stack.countList);
  const [count] = values.length === 0 && isList(list) ? [list.length] : values;
  if (typeof count !== "number" || !Number.isInteger(count) || count < 1) {
    const found = count === undefined ? "is absent" : `is ${JSON.stringify(count)}`;
    throw new ExpandError("unsupported", `${stack.count[0]} ${found}; expected the number of blocks`, { at: CONFIG });
  }
  const other = values.findIndex((value) => value !== count);
  if (other < 0) return count;
  throw new ExpandError(
    "unsupported",
    `${paths[0]} is ${count}, but ${paths[other]} is ${JSON.stringify(values[other])}; both count the blocks`,
    { at: CONFIG, fix: "Make them agree." },
  );
}

function indexOf(...lists: readonly (readonly Block[])[]): ReadonlyMap<string, string> {
  return new Map(lists.flat().flatMap((block) => [...block.tensors].map(([suffix, name]) => [name, suffix] as const)));
}
