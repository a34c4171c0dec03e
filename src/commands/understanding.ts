// From an opened checkpoint to its meaning, whatever its format: names where there are names, structure where there is only a graph.
import type { Architecture } from "../architecture/architecture.ts";
import { understand } from "../architecture/detect.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError } from "../errors.ts";
import type { GraphBlocks } from "../residual/blocks.ts";
import type { TensorRef } from "../tensor/reference.ts";

export interface Understood {
  /** As opened. Of ONNX: in normal form, with a tensor for each name that the architecture uses. */
  readonly checkpoint: Checkpoint;
  readonly architecture: Architecture;
  /** Only of ONNX. */
  readonly graphBlocks?: GraphBlocks;
}

/** Throws "unsupported" for what is not known well enough to keep exact, "usage" for a stack that is not there. */
export async function understandCheckpoint(opened: Checkpoint, stack: string | undefined): Promise<Understood> {
  if (opened.graph === undefined) {
    return { checkpoint: opened, architecture: await understand(opened, stack === undefined ? {} : { stack }) };
  }
  // What reads graphs is loaded for graphs only.
  const { understandGraph } = await import("../residual/understand.ts");
  const { normaliseCheckpoint } = await import("../residual/normalise.ts");
  const normal = normaliseCheckpoint(opened);
  const architecture = understandGraph(normal);
  if (stack !== undefined && stack !== architecture.stack) {
    throw new ExpandError(
      "usage",
      `an ONNX model has one stack, "${architecture.stack}"; not ${JSON.stringify(stack)}`,
      {
        fix: "Remove --stack.",
      },
    );
  }
  const tensors = new Map<string, TensorRef>(normal.tensors);
  for (const [name, initializer] of architecture.aliases ?? []) {
    const tensor = normal.tensors.get(initializer);
    if (tensor !== undefined) tensors.set(name, tensor);
  }
  return { checkpoint: { ...normal, tensors }, architecture, graphBlocks: architecture.graphBlocks };
}
