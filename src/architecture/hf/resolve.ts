// From config.json to the record and the stack of blocks that will be expanded. Looks at settings only.
import { ExpandError } from "../../errors.ts";
import type { JsonDocument } from "../../json.ts";
import type { Family, FieldRule, Refusal, Refused, Stack, Wrapper } from "./family.ts";
import { entryOf, unknownModelType } from "./registry.ts";
import { CONFIG, isList } from "./settings.ts";

/** A record made concrete for one checkpoint. */
export interface Model {
  readonly modelType: string;
  readonly family: Family;
  readonly stack: Stack;
  readonly stacks: readonly string[];
  /** Full-name templates of tensors outside of the chosen stack's base. */
  readonly outside: string;
  readonly refusals: readonly Refusal[];
  readonly notes: readonly string[];
}

export function resolveModel(documents: ReadonlyMap<string, JsonDocument>, wanted: string | undefined): Model {
  const config = documents.get(CONFIG);
  if (config === undefined) {
    throw new ExpandError("input", "is missing; it says what the tensors mean", {
      at: CONFIG,
      fix: "Put the model's config.json next to its weights.",
    });
  }
  const modelType = config.get(["model_type"]);
  if (typeof modelType !== "string") {
    throw new ExpandError("unsupported", "has no model_type", {
      at: CONFIG,
      fix: "Add the model_type that transformers knows the model by.",
    });
  }
  const entry = entryOf(modelType);
  if (entry === undefined) throw unknownModelType(modelType);
  if (entry.kind === "refused") throw refused(modelType, entry.refused);
  const family = entry.kind === "family" ? entry.family : unwrapped(entry.wrapper, config);
  return chosen(modelType, family, stacksOf(family, config), wanted);
}

/** The stages that a hierarchical model has, the deepest first; all stacks of any other. */
function stacksOf(family: Family, config: JsonDocument): readonly Stack[] {
  const depth = (stack: Stack): number => {
    const depths = config.get([stack.count[0] ?? ""]);
    const size = isList(depths) ? depths[stack.countIndex ?? 0] : undefined;
    return typeof size === "number" ? size : -1;
  };
  if (family.stacks.some((stack) => stack.countIndex === undefined)) return family.stacks;
  return family.stacks.filter((stack) => depth(stack) >= 0).sort((a, b) => depth(b) - depth(a));
}

/** Settings that transformers 5.23 reads for every model type. */
const PER_BLOCK_SETTINGS: readonly FieldRule[] = [{ field: "per_layer_config", rule: "by-block" }];

function chosen(modelType: string, family: Family, choices: readonly Stack[], wanted: string | undefined): Model {
  const stacks = choices.map((stack) => stack.name);
  const stack = wanted === undefined ? choices[0] : choices.find((one) => one.name === wanted);
  if (stack === undefined) {
    throw new ExpandError("usage", `${modelType} has no stack ${JSON.stringify(wanted)}; it has ${stacks.join(", ")}`, {
      fix: `Choose one of ${stacks.join(", ")}.`,
    });
  }
  return {
    modelType,
    family,
    stack: { ...stack, fields: [...PER_BLOCK_SETTINGS, ...(stack.fields ?? [])] },
    stacks,
    outside: family.outside,
    refusals: family.refusals ?? [],
    notes: family.notes ?? [],
  };
}

/** The record of the text stack, moved to where the wrapper keeps it. */
function unwrapped(wrapper: Wrapper, config: JsonDocument): Family {
  const path = wrapper.text.split(".");
  const inner = wrapper.family ?? config.get([...path, "model_type"]);
  if (typeof inner !== "string") {
    throw new ExpandError("unsupported", `${wrapper.text} has no model_type`, {
      at: CONFIG,
      fix: `Add the model_type of the text model to ${wrapper.text}.`,
    });
  }
  const entry = entryOf(inner);
  if (entry === undefined) throw unknownModelType(inner);
  if (entry.kind === "refused") throw refused(inner, entry.refused);
  if (entry.kind !== "family") throw new ExpandError("bug", `${inner} inside ${wrapper.name} is itself a wrapper`);
  const { family } = entry;
  const heads = wrapper.heads.flatMap((head) => family.outside.split(/\s+/).map((template) => head + template));
  return {
    ...family,
    stacks: family.stacks.slice(0, 1).map((stack) => ({
      ...stack,
      scopes: [wrapper.text, ""],
      bases: wrapper.bases,
      axes: [...(stack.axes ?? []), ...(wrapper.axes ?? [])],
    })),
    outside: `${heads.join(" ")} ${wrapper.outside}`,
    refusals: [...(family.refusals ?? []), ...(wrapper.refusals ?? [])],
    notes: [...(family.notes ?? []), ...(wrapper.notes ?? [])],
  };
}

function refused(modelType: string, entry: Refused): ExpandError {
  return new ExpandError("unsupported", `${modelType} cannot be expanded: ${entry.reason}`, {
    at: CONFIG,
    ...(entry.fix === undefined ? {} : { fix: entry.fix }),
  });
}
