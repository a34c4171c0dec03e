// Ready-to-run directories for trainers that use many GPUs and machines. Makes texts; writes nothing.
import type { Architecture } from "../../architecture/architecture.ts";
import type { Mask } from "../../expansion/mask.ts";
import { contextOf, type RecipeContext } from "../../expansion/recipes/context.ts";
import { accelerate } from "./accelerate.ts";
import { axolotl } from "./axolotl.ts";
import type { Exported, Job } from "./job.ts";
import { llamaFactory } from "./llama-factory.ts";
import { msSwift } from "./ms-swift.ts";
import type { TrainerName } from "./names.ts";

const TRAINERS: Readonly<Record<TrainerName, (job: Job, context: RecipeContext) => Exported>> = {
  accelerate,
  axolotl,
  "llama-factory": llamaFactory,
  "ms-swift": msSwift,
};

/** `architecture` is the expanded checkpoint's, the one that the mask was made with. */
export function exportJob(trainer: TrainerName, job: Job, mask: Mask, architecture: Architecture): Exported {
  const context = contextOf(mask, architecture);
  if (typeof context === "string") return { kind: "refused", reason: context };
  const exported = TRAINERS[trainer](job, context);
  if (exported.kind === "refused") return exported;
  return { ...exported, files: [...exported.files, { name: "mask.json", text: `${JSON.stringify(mask, null, 2)}\n` }] };
}
