// The Attention operator of ai.onnx (23 and later) in elementary steps, without a cache.
import { OnnxType } from "../../graph/onnx.ts";
import { type Lowerings, type Primitives, refused } from "./primitives.ts";
import { attend, biasOf, sightBias } from "./scores.ts";

export const ATTENTION: Lowerings = {
  Attention: {
    inputs: 7,
    // Softmax is taken in f32 at least; scores that are given out are refused.
    attributes: "is_causal kv_num_heads q_num_heads scale softcap softmax_precision qk_matmul_output_mode",
    emit: standard,
  },
};

/** Q, K, V [B, heads, S, size], or [B, S, heads * size] with the numbers of heads as attributes; Y is laid out as Q is. */
function standard(at: Primitives): readonly (string | undefined)[] {
  if (at.input(6) !== undefined) throw refused("has keys of different lengths (nonpad_kv_seqlen)");
  for (const slot of [4, 5]) requireEmpty(at, at.input(slot));
  const isFlat = at.shape(at.value(0)).length === 3;
  const heads = (slot: number, count: string): string =>
    isFlat ? headsOf(at, at.value(slot), at.int(count, 0)) : at.value(slot);
  const q = heads(0, "q_num_heads");
  const k = heads(1, "kv_num_heads");
  const v = heads(2, "kv_num_heads");
  const [, , queries = 0, size = 0] = at.shape(q);
  const keys = at.shape(k)[2] ?? 0;
  const sight = sightBias(at, q, { queries, keys, isCausal: at.int("is_causal", 0) === 1, window: 0 });
  const mixed = attend(at, {
    q,
    k,
    v,
    scale: at.float("scale", 1 / Math.sqrt(size)),
    softcap: at.float("softcap", 0),
    biases: [...(sight === undefined ? [] : [sight]), ...maskBias(at, q, at.input(3), keys)],
  });
  return [isFlat ? mergedHeads(at, mixed) : mixed, k, v];
}

function maskBias(at: Primitives, like: string, mask: string | undefined, keys: number): readonly string[] {
  if (mask === undefined) return [];
  const last = at.shape(mask).at(-1);
  if (last !== keys && last !== 1) throw refused(`has a mask for ${last} keys and ${keys} keys`);
  return [at.type(mask) === OnnxType.BOOL ? biasOf(at, like, mask) : at.wide(mask)];
}

/** Throws when a cache holds anything: gradients are taken of whole sequences. */
export function requireEmpty(at: Primitives, cache: string | undefined): void {
  if (cache === undefined) return;
  const shape = at.shape(cache);
  if (!shape.includes(0)) throw refused(`reads a cache of shape [${shape}]`);
}

/** [B, S, heads * size] as [B, heads, S, size]. */
export function headsOf(at: Primitives, value: string, heads: number): string {
  const [batch = 0, length = 0, width = 0] = at.shape(value);
  return at.transpose(at.reshape(value, [batch, length, heads, width / heads]), [0, 2, 1, 3]);
}

/** [B, heads, S, size] as [B, S, heads * size]. */
export function mergedHeads(at: Primitives, value: string): string {
  const [batch = 0, heads = 0, length = 0, size = 0] = at.shape(value);
  return at.reshape(at.transpose(value, [0, 2, 1, 3]), [batch, length, heads * size]);
}
