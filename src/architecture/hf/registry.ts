// Finds the record of a model type. Names only: never looks at tensors.
import { ExpandError } from "../../errors.ts";
import { nearest } from "../../nearest.ts";
import { FAMILIES } from "./families/index.ts";
import type { Family, Refused, Wrapper } from "./family.ts";

export type Entry =
  | { readonly kind: "family"; readonly family: Family }
  | { readonly kind: "wrapper"; readonly wrapper: Wrapper }
  | { readonly kind: "refused"; readonly refused: Refused };

const entries = new Map<string, Entry>();
for (const family of FAMILIES.families) add(family.types ?? [family.name], { kind: "family", family });
for (const wrapper of FAMILIES.wrappers) add(wrapper.types ?? [wrapper.name], { kind: "wrapper", wrapper });
for (const refused of FAMILIES.refused) add(refused.types, { kind: "refused", refused });

function add(types: readonly string[], entry: Entry): void {
  for (const type of types) {
    if (entries.has(type)) throw new ExpandError("bug", `two records claim the model type ${type}`);
    entries.set(type, entry);
  }
}

/** All known model types, those that are refused included. */
export function knownModelTypes(): readonly string[] {
  return [...entries.keys()];
}

export function entryOf(modelType: string): Entry | undefined {
  return entries.get(modelType);
}

/** Throws "unsupported" with the nearest known names. */
export function unknownModelType(modelType: string): ExpandError {
  const near = nearest(modelType, knownModelTypes());
  return new ExpandError("unsupported", `${JSON.stringify(modelType)} is not a known model type`, {
    at: "config.json",
    fix: `Check model_type${near.length === 0 ? "" : ` (near: ${near.join(", ")})`}, or report the model.`,
  });
}
