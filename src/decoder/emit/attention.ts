// Attention: queries, keys and values, norms, rotation, scores, mask, cache. The Attention operator where it does all that is asked, else
// MatMul and Softmax.
import type { Attention } from "../spec.ts";
import type { Emitter } from "./emitter.ts";
import { emitBias, emitVisible, type Places } from "./mask.ts";
import { emitHeadNorm } from "./norm.ts";
import { emitRope } from "./rope.ts";

/** The cache of one block: values in, names for what goes out. [B, kvHeads, P, head size] and [B, kvHeads, P + S, head size]. */
export interface Cache {
  readonly pastKey: string;
  readonly pastValue: string;
  readonly presentKey: string;
  readonly presentValue: string;
}

export interface Surroundings {
  /** [B, S] int64. */
  readonly positions: string;
  readonly places: Places;
  readonly cache?: Cache;
}

/** Queries, keys and values, [B, heads or kvHeads, S, head size]. */
interface Heads {
  readonly q: string;
  readonly k: string;
  readonly v: string;
}

/** [T, H] to [T, H], the output projection included. */
export function emitAttention(emit: Emitter, input: string, attention: Attention, around: Surroundings): string {
  const heads = emitHeads(emit, input, attention, around);
  // The operator's text leaves open whether a mask is capped with the scores, and it has no sinks.
  const isPlain = attention.softcap === undefined && attention.sinks === undefined;
  const mixed = isPlain ? emitOperator(emit, heads, attention, around) : emitScores(emit, heads, attention, around);
  const width = attention.heads * attention.headSize;
  return emit.linear(emit.flat(emit.node("Transpose", [mixed], { perm: [0, 2, 1, 3] }), width), attention.output);
}

function emitHeads(emit: Emitter, input: string, attention: Attention, { positions }: Surroundings): Heads {
  const { heads, kvHeads, headSize, qNorm, kNorm, rope } = attention;
  const { q, k, v } = emitProjections(emit, input, attention);
  const normed = {
    q: qNorm === undefined ? q : emitHeadNorm(emit, q, qNorm, heads, headSize),
    k: kNorm === undefined ? k : emitHeadNorm(emit, k, kNorm, kvHeads, headSize),
  };
  const turned = (value: string): string => emit.node("Transpose", [value], { perm: [0, 2, 1, 3] });
  const rotated = (value: string): string => (rope === undefined ? value : emitRope(emit, value, rope, positions));
  return { q: rotated(turned(normed.q)), k: rotated(turned(normed.k)), v: turned(v) };
}

/** [B, S, heads or kvHeads, head size]. */
function emitProjections(emit: Emitter, input: string, attention: Attention): Heads {
  const { heads, kvHeads, headSize, qkv, clip } = attention;
  const clipped = (value: string): string =>
    clip === undefined ? value : emit.node("Clip", [value, emit.graph.floats(-clip), emit.graph.floats(clip)]);
  const shaped = (value: string, count: number): string => emit.batched(value, [count, headSize]);
  if (qkv.form === "separate") {
    const [q, k, v] = [qkv.q, qkv.k, qkv.v].map((linear) => clipped(emit.linear(input, linear)));
    return { q: shaped(q ?? "", heads), k: shaped(k ?? "", kvHeads), v: shaped(v ?? "", kvHeads) };
  }
  const all = clipped(emit.linear(input, qkv.linear));
  if (qkv.order === "concatenated") {
    const [q, k, v] = emit.split(all, [heads * headSize, kvHeads * headSize, kvHeads * headSize]);
    return { q: shaped(q ?? "", heads), k: shaped(k ?? "", kvHeads), v: shaped(v ?? "", kvHeads) };
  }
  const group = heads / kvHeads;
  const [q, k, v] = emit.split(emit.batched(all, [kvHeads, group + 2, headSize]), [group, 1, 1], 3);
  return { q: shaped(q ?? "", heads), k: shaped(k ?? "", kvHeads), v: shaped(v ?? "", kvHeads) };
}

/** [B, heads, S, head size] by the Attention operator. */
function emitOperator(emit: Emitter, { q, k, v }: Heads, attention: Attention, around: Surroundings): string {
  const { cache, places } = around;
  const mask =
    attention.alibi === undefined ? emitVisible(emit, places, attention.window) : emitBias(emit, places, attention);
  const inputs = [q, k, v, mask, ...(cache === undefined ? [] : [cache.pastKey, cache.pastValue])];
  const outputs = [undefined, ...(cache === undefined ? [] : [cache.presentKey, cache.presentValue])];
  return emit.graph.nodes("Attention", inputs, outputs, { scale: { float: attention.scale } })[0] ?? "";
}

/** The same, in small steps. Query heads of one key head stand in its rows, so that no key is repeated. */
function emitScores(emit: Emitter, heads: Heads, attention: Attention, around: Surroundings): string {
  const { kvHeads, headSize, scale, softcap, sinks } = attention;
  const { k, v } = emitCache(emit, heads, around.cache);
  const { graph } = emit;
  const grouped = emit.node("Reshape", [heads.q, graph.ints([0, kvHeads, -1, headSize])]);
  const products = emit.node("MatMul", [grouped, emit.node("Transpose", [k], { perm: [0, 1, 3, 2] })]);
  // [B, heads, S, T]: S from the queries, T = whatever is left.
  const byHead = emit.node("Reshape", [products, rowsOf(emit, heads.q, -1)]);
  const capped = emit.capped(emit.scaled(byHead, scale), softcap);
  const scores = emit.node("Add", [capped, emitBias(emit, around.places, attention)]);
  const weights =
    sinks === undefined
      ? emit.node("Softmax", [scores], { axis: -1 })
      : emitSunk(emit, scores, heads.q, emit.weight(sinks));
  const rows = emit.node("Reshape", [
    weights,
    emit.node("Concat", [emit.node("Shape", [grouped], { start: 0, end: 3 }), graph.ints([-1])], { axis: 0 }),
  ]);
  return emit.node("Reshape", [emit.node("MatMul", [rows, v]), rowsOf(emit, heads.q, headSize)]);
}

/** The shape [B, heads, S, last] of something like the queries. */
function rowsOf(emit: Emitter, queries: string, last: number): string {
  const rows = emit.node("Shape", [queries], { start: 0, end: 3 });
  return emit.node("Concat", [rows, emit.graph.ints([last])], { axis: 0 });
}

/** Softmax over the scores and one sink a head, without the sink's share. */
function emitSunk(emit: Emitter, scores: string, queries: string, sinks: string): string {
  const { graph } = emit;
  const column = emit.node("Expand", [
    emit.node("Reshape", [sinks, graph.ints([1, -1, 1, 1])]),
    rowsOf(emit, queries, 1),
  ]);
  const shares = emit.node("Softmax", [emit.node("Concat", [scores, column], { axis: -1 })], { axis: -1 });
  return emit.node("Slice", [shares, graph.ints([0]), graph.ints([-1]), graph.ints([-1])]);
}

function emitCache(emit: Emitter, { k, v }: Heads, cache: Cache | undefined): { k: string; v: string } {
  if (cache === undefined) return { k, v };
  return {
    k: emit.node("Concat", [cache.pastKey, k], { axis: 2 }, cache.presentKey),
    v: emit.node("Concat", [cache.pastValue, v], { axis: 2 }, cache.presentValue),
  };
}
