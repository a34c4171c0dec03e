// One block: norms, attention, MLP and the residual stream between them, by flags. [B, S, H] to [B, S, H].
import type { BlockSpec, Norm } from "../spec.ts";
import { emitAttention, type Surroundings } from "./attention.ts";
import type { Emitter } from "./emitter.ts";
import { emitMlp } from "./mlp.ts";
import { emitNorm } from "./norm.ts";

/** `output` names the result. */
export function emitBlock(
  emit: Emitter,
  input: string,
  block: BlockSpec,
  hidden: number,
  around: Surroundings,
  output?: string,
): string {
  const before = (value: string, norm: Norm | undefined): string =>
    emit.flat(norm === undefined ? value : emitNorm(emit, value, norm, hidden), hidden);
  /** From [T, H] to what is added to the stream, [B, S, H]. */
  const after = (value: string, norm: Norm | undefined): string => {
    const branch = emit.batched(value, [hidden]);
    return emit.scaled(norm === undefined ? branch : emitNorm(emit, branch, norm, hidden), block.residualMultiplier);
  };
  const attend = (read: string): string =>
    emit.graph.within("attention", () =>
      after(emitAttention(emit, read, block.attention, around), block.attentionOutputNorm),
    );
  const think = (read: string): string =>
    emit.graph.within("mlp", () => after(emitMlp(emit, read, block.mlp), block.mlpOutputNorm));

  const read = before(input, block.attentionNorm);
  const attended = emit.node("Add", [input, attend(read)]);
  if (block.residual === "sequential") {
    return emit.node("Add", [attended, think(before(attended, block.mlpNorm))], {}, output);
  }
  const other = block.mlpNorm === undefined ? read : before(input, block.mlpNorm);
  return emit.node("Add", [attended, think(other)], {}, output);
}
