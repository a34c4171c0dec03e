// Finds the blocks of two ONNX models, each by itself, as the ground for a proof. Reads no weights and trusts no plan.
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { ExpandError } from "../../errors.ts";
import type { Graph } from "../../graph/graph.ts";
import { findBlocks } from "../../residual/find.ts";
import type { Ground } from "../ground.ts";
import { GraphProof } from "./proof.ts";
import { architectureOf, type GraphView, numberingOf, viewOf } from "./view.ts";

/** Or why there is none. */
export function findGraphGround(
  before: Checkpoint & { readonly graph: Graph },
  after: Checkpoint & { readonly graph: Graph },
): Ground | { readonly reason: string } {
  const [source, found] = [tryView("BEFORE", before), tryView("AFTER", after)];
  if ("reason" in source) return source;
  if ("reason" in found) return found;
  const proof = new GraphProof(source, found);
  return {
    architecture: architectureOf(source, found),
    numbering: numberingOf(found),
    graphs: {
      before: source.checkpoint,
      after: found.checkpoint,
      prove: (evidence, blocks) => proof.run(evidence, blocks),
    },
  };
}

function tryView(
  side: string,
  checkpoint: Checkpoint & { readonly graph: Graph },
): GraphView | { readonly reason: string } {
  try {
    return viewOf(checkpoint, findBlocks(checkpoint.graph));
  } catch (error) {
    if (!(error instanceof ExpandError) || error.tag !== "unsupported") throw error;
    return { reason: `${side} is not understood: ${error.message}` };
  }
}
