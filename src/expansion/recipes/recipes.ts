// The mask in each trainer's own dialect, or the reason why that dialect cannot express it. Writes nothing.
import type { Architecture } from "../../architecture/architecture.ts";
import type { Mask } from "../mask.ts";
import { axolotl } from "./axolotl.ts";
import { contextOf, type Recipe, type RecipeContext } from "./context.ts";
import { llamaFactory } from "./llama-factory.ts";
import { msSwift } from "./ms-swift.ts";
import type { RecipeName } from "./names.ts";
import { peft } from "./peft.ts";
import { torch } from "./torch.ts";

export type { Recipe } from "./context.ts";
export { RECIPE_NAMES, type RecipeName } from "./names.ts";

const TRAINERS: Readonly<Record<Exclude<RecipeName, "json">, (context: RecipeContext) => Recipe>> = {
  axolotl,
  "llama-factory": llamaFactory,
  "ms-swift": msSwift,
  peft,
  torch,
};

/** `architecture` is the expanded checkpoint's, the one that the mask was made with. */
export function exportMask(recipe: RecipeName, mask: Mask, architecture: Architecture): Recipe {
  if (recipe === "json") return { kind: "file", file: "mask.json", text: `${JSON.stringify(mask, null, 2)}\n` };
  const context = contextOf(mask, architecture);
  return typeof context === "string" ? { kind: "refused", reason: context } : TRAINERS[recipe](context);
}
