// The face of a training step: batches in, loss and norms out, weights kept. Chooses the layout; knows no corpus and no files of a run.
import { ExpandError } from "../../errors.ts";
import type { Trainer, TrainerOptions } from "./contract.ts";
import { HostTrainer } from "./host.ts";
import { BlockGradients } from "./offload.ts";
import { prepare } from "./prepare.ts";
import { GraphTrainer, LoopTrainer } from "./resident.ts";
import { WholeGradients } from "./whole.ts";

export type { Fault, Layout, StepResult, Trainer, TrainerOptions, TrainerState } from "./contract.ts";

/**
 * Throws "unsupported" for a checkpoint whose computation or gradients are not known (all operators at once) and for trainable tensors that
 * are quantized or take no part; "backend" when onnxruntime or the device is missing, or memory runs out.
 */
export async function openTrainer(options: TrainerOptions): Promise<Trainer> {
  const { device, dtype, layout, loopSteps = 1 } = options;
  if (dtype === "bf16" && device === "cpu") {
    throw new ExpandError("usage", "onnxruntime multiplies no bf16 matrices on the CPU", {
      fix: "Use --dtype f32, or --device cuda.",
    });
  }
  const prepared = await prepare(options);
  try {
    if (layout === "graph") return await GraphTrainer.open(prepared);
    if (layout === "loop") return await LoopTrainer.open(prepared, loopSteps);
    if (layout === "offload") return new HostTrainer(prepared, new BlockGradients(prepared));
    return new HostTrainer(prepared, await WholeGradients.open(prepared));
  } catch (error) {
    await prepared.runtime.close();
    throw error;
  }
}
