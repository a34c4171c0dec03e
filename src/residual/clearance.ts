// Where copies may not stand in a graph. Looks at borders only.
import type { LayoutBlock } from "../architecture/layout.ts";
import { ExpandError, quote } from "../errors.ts";
import type { GraphBlocks } from "./blocks.ts";
import type { LoweredNode } from "./lower.ts";

/**
 * Throws "plan" for a copy behind a block whose output the graph hands out (a reader of hidden states by number would miss it), and for one
 * before the first block where the stream is rounded inside the blocks.
 */
export function checkBorders(blocks: GraphBlocks, layout: readonly LayoutBlock[]): void {
  let last = -1;
  for (const [at, { kind, from }] of layout.entries()) {
    if (kind === "original") {
      last = from;
      continue;
    }
    const [next] = blocks.blocks;
    for (const [index, { body }] of blocks.bodies.entries()) {
      const border = last < 0 ? next?.passages[index]?.input : blocks.blocks[last]?.passages[index]?.output;
      if (border === undefined || !body.outputs.has(border)) continue;
      throw new ExpandError("plan", `its place in the stream, ${quote(border)}, is an output of the graph`, {
        at: `copy ${at} of block ${from}`,
        fix: "Choose another place with --after, or export the model without this output.",
      });
    }
    if (last < 0 && blocks.bodies.some(({ lowered }) => [...lowered.values()].some(isInEmbedding))) {
      throw new ExpandError(
        "plan",
        "the first norm is inside the embedding's node, and taken out of it it rounds in another way",
        {
          at: `copy ${at} of block ${from}`,
          fix: "Place no copy before the first block.",
        },
      );
    }
    if (last >= 0 || !blocks.blocks[from]?.rounds) continue;
    throw new ExpandError(
      "plan",
      "the blocks round the residual stream, and what comes before the first is not rounded yet",
      {
        at: `copy ${at} of block ${from}`,
        fix: "Place no copy before the first block.",
      },
    );
  }
}

function isInEmbedding({ part, fused }: LoweredNode): boolean {
  return part === "norm" && fused.opType === "EmbedLayerNormalization";
}
