// The names of the trainers, apart from what is written for them: the command line needs no more to explain itself.
export const TRAINER_NAMES = ["accelerate", "axolotl", "llama-factory", "ms-swift"] as const;

export type TrainerName = (typeof TRAINER_NAMES)[number];
