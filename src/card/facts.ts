// What a card is made of. Types only.
import type { Mask } from "../expansion/mask.ts";
import type { Plan } from "../expansion/plan.ts";
import type { Recipe, RecipeName } from "../expansion/recipes/recipes.ts";
import type { TrainingSummary } from "../training/summary.ts";
import type { VerificationReport } from "../verification/report.ts";

/** A model on the Hub that was expanded. */
export interface CardSource {
  readonly repo: string;
  /** Commit; absent when only its name is known. */
  readonly commit?: string;
}

export interface CardRecipe {
  readonly name: Exclude<RecipeName, "json">;
  readonly result: Recipe;
}

export interface CardFacts {
  /** "owner/name" of the expanded model. */
  readonly repo: string;
  /** Version of expand-checkpoint that wrote it. */
  readonly version: string;
  readonly plan: Plan;
  readonly mask: Pick<Mask, "counts" | "blocks">;
  readonly report: VerificationReport;
  /** The proof read the files as they were planned: each was sent and removed as soon as it was written. */
  readonly streamed?: boolean;
  /** Undefined when the source was a local checkpoint of unknown origin. */
  readonly source?: CardSource;
  readonly recipes: readonly CardRecipe[];
  /** Names of the files beside the weights. */
  readonly files: {
    readonly plan: string;
    readonly mask: string;
    readonly verification: string;
    readonly manifest: string;
  };
  /** What training did, where the model was trained by us. */
  readonly training?: TrainingSummary;
  /** Tensors outside of the new blocks that the mask let training change. */
  readonly alsoTrained?: readonly string[];
  /** The file to open, where it is not the repository itself: "model.gguf". */
  readonly model?: string;
}
