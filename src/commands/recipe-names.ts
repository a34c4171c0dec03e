// Names of the trainers that a mask can be written for, for callers that load nothing else.
export { RECIPE_NAMES, type RecipeName } from "../expansion/recipes/names.ts";
