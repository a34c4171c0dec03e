// Names of the trainers that a mask can be written for, and of those that a run can be handed to, for callers that load nothing else.
export { RECIPE_NAMES, type RecipeName } from "../expansion/recipes/names.ts";
export { TRAINER_NAMES, type TrainerName } from "../training/export/names.ts";
