// The names of the recipes, apart from the recipes: the command line needs no more than these to explain itself.
export const RECIPE_NAMES = ["json", "axolotl", "llama-factory", "ms-swift", "peft", "torch"] as const;

export type RecipeName = (typeof RECIPE_NAMES)[number];
