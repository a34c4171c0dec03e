// The two ends of a decoder: from rows of the embedding table to the residual stream, and from the stream to logits.
import type { DecoderSpec } from "../spec.ts";
import type { Emitter } from "./emitter.ts";
import { emitNorm } from "./norm.ts";

/** `rows` [B, S, E] are the tokens' rows of the table; `positions` [B, S] int64. Gives [B, S, H]. */
export function emitEmbedding(
  emit: Emitter,
  rows: string,
  positions: string,
  { embedding, hidden }: DecoderSpec,
): string {
  const { scale, projection, norm } = embedding;
  let stream = emit.scaled(rows, scale);
  if (projection !== undefined) {
    const width = embedding.weight.tensor.shape[1] ?? 0;
    stream = emit.batched(emit.linear(emit.flat(stream, width), projection), [hidden]);
  }
  if (embedding.positions !== undefined) {
    const { weight, offset } = embedding.positions;
    const places = offset === 0 ? positions : emit.node("Add", [positions, emit.graph.ints(offset)]);
    stream = emit.node("Add", [stream, emit.node("Gather", [emit.weight(weight), places], { axis: 0 })]);
  }
  return norm === undefined ? stream : emitNorm(emit, stream, norm, hidden);
}

/** `rows` [v, E] are rows of the head's matrix, `bias` [v] their biases. From [B, S, H] to logits [T, v]. */
export function emitHead(
  emit: Emitter,
  stream: string,
  rows: string,
  bias: string | undefined,
  { head, hidden, finalNorm }: DecoderSpec,
): string {
  const normed = finalNorm === undefined ? stream : emitNorm(emit, stream, finalNorm, hidden);
  const flat = emit.flat(normed, hidden);
  const read = head.projection === undefined ? flat : emit.linear(flat, head.projection);
  const logits = emit.node("Gemm", [read, rows, ...(bias === undefined ? [] : [bias])], { transB: 1 });
  return emit.capped(emit.scaled(logits, head.scale), head.softcap);
}
