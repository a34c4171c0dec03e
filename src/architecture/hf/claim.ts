// Gives every tensor of a block to exactly one rule of its record, or stops with its name. Never matches part of a name.
import { ExpandError } from "../../errors.ts";
import type { TensorRef } from "../../tensor/reference.ts";
import type { Module, Slot } from "./family.ts";
import { matches, templates } from "./template.ts";
import type { Weights } from "./weights.ts";

export interface ClaimContext {
  readonly family: string;
  /** Prefix of the block, for messages. */
  readonly prefix: string;
  readonly hiddenSize: number | undefined;
  readonly tensor: (suffix: string) => TensorRef | undefined;
}

/** The modules that make up this block, one per slot. */
export function chooseModules(weights: Weights, slots: readonly Slot[], context: ClaimContext): readonly Module[] {
  const chosen = slots.map((slot) => {
    const choices = "name" in slot ? [slot] : slot;
    return choices.find((module) => missing(module, weights).length === 0) ?? fail(choices, weights, context);
  });
  const claimed = chosen.map((module) => `${module.tensors} ${module.buffers ?? ""}`);
  for (const name of weights.stored.keys()) {
    const claims = claimed.filter((text) => matches(text, name)).length;
    if (claims === 1) continue;
    if (claims > 1) throw new ExpandError("bug", `two rules of ${context.family} claim ${context.prefix}${name}`);
    throw unclaimed(name, weights, context);
  }
  for (const module of chosen) checkExperts(module, weights, context);
  return chosen;
}

/** Every expert has every tensor that one expert has, and no index is left out. */
function checkExperts(module: Module, weights: Weights, context: ClaimContext): void {
  const perExpert = templates(module.tensors).filter((template) => template.name.includes("{e}"));
  if (perExpert.length === 0) return;
  const names = [...weights.stored.keys()];
  const found = perExpert.map((template) => names.flatMap((name) => template.pattern.exec(name)?.[1] ?? []));
  const count = Math.max(...found.flat().map((index) => Number(index) + 1), 0);
  perExpert.forEach((template, at) => {
    const listed = found[at] ?? [];
    if (listed.length === count || (listed.length === 0 && template.optional)) return;
    throw new ExpandError("damaged", `${template.name} is there for ${listed.length} of ${count} experts`, {
      at: context.prefix.slice(0, -1),
      fix: "Download the checkpoint again; tensors are missing.",
    });
  });
}

/** Required names that are not there. An expert's tensor is there when any expert has it. */
function missing(module: Module, weights: Weights): readonly string[] {
  return templates(module.tensors)
    .filter((template) => !template.optional)
    .filter((template) =>
      template.name.includes("{e}")
        ? ![...weights.stored.keys()].some((name) => template.pattern.test(name))
        : !weights.stored.has(template.name),
    )
    .map((template) => template.name);
}

function fail(choices: readonly Module[], weights: Weights, context: ClaimContext): never {
  const lists = choices.map((module) => missing(module, weights)).sort((a, b) => a.length - b.length);
  const names = lists[0] ?? [];
  const more = names.length > 1 ? ` and ${names.length - 1} more` : "";
  throw new ExpandError("unsupported", `has no tensor ${names[0]}${more}, which a ${context.family} block has`, {
    at: context.prefix.slice(0, -1),
    fix: "Check that every shard is there and that config.json names the right model_type.",
  });
}

function unclaimed(name: string, weights: Weights, context: ClaimContext): ExpandError {
  const stored = weights.stored.get(name)?.names[0] ?? name;
  const shape = context.tensor(stored)?.shape ?? [];
  const size = context.hiddenSize;
  const writes = size !== undefined && (shape[0] === size || shape.at(-1) === size);
  const danger = writes ? `; a dimension is the hidden size ${size}, so it may write the residual stream` : "";
  return new ExpandError(
    "unsupported",
    `[${shape.join(", ")}] is no known tensor of a ${context.family} block${danger}`,
    {
      at: context.prefix + stored,
      fix: "Report the model, so that its record can be completed; guessing could change what it computes.",
    },
  );
}
