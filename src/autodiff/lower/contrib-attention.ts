// The attention operators of com.microsoft in elementary steps: whole sequences, no cache.
import { headsOf, mergedHeads, requireEmpty } from "./attention.ts";
import { type Lowerings, type Primitives, refused } from "./primitives.ts";
import { rotate } from "./rotary.ts";
import { attend, biasOf, sightBias } from "./scores.ts";

export const CONTRIB_ATTENTION: Lowerings = {
  "com.microsoft.GroupQueryAttention": {
    // Behind them: scales of a quantized cache, gains of norms of queries and keys.
    inputs: 12,
    attributes:
      "do_rotary kv_num_heads local_window_size num_heads rotary_interleaved scale smooth_softmax softcap qk_norm_epsilon",
    idle: { causal: 1, k_quant_type: "NONE", v_quant_type: "NONE", kv_cache_bit_width: 0, qk_output: 0 },
    emit: grouped,
  },
  "com.microsoft.MultiHeadAttention": {
    inputs: 8,
    attributes: "mask_filter_value num_heads scale unidirectional",
    emit: multiHead,
  },
  "com.microsoft.Attention": {
    inputs: 6,
    // What concerns the cache and the turning is refused with them.
    attributes:
      "do_rotary mask_filter_value num_heads qkv_hidden_sizes scale unidirectional past_present_share_buffer rotary_embedding_dim",
    emit: packed,
  },
};

interface Heads {
  readonly q: string;
  readonly k: string;
  readonly v: string;
}

/** Causal; query [B, S, heads * size] with key and value [B, S, key heads * size], or query with all three packed. */
function grouped(at: Primitives): readonly (string | undefined)[] {
  for (const slot of [3, 4]) requireEmpty(at, at.input(slot));
  requireWhole(at);
  const turned = rotated(at, groupedHeads(at));
  const { q, k, v } = turned;
  const [, heads = 0, length = 0, size = 0] = at.shape(q);
  const window = Math.max(at.int("local_window_size", -1), 0);
  const sight = sightBias(at, q, { queries: length, keys: length, isCausal: true, window });
  const bias = at.input(10);
  const sinks = sinksOf(at, q, heads);
  const mixed = attend(at, {
    q,
    k,
    v,
    scale: at.float("scale", 0) || 1 / Math.sqrt(size),
    softcap: at.float("softcap", 0),
    biases: [...(sight === undefined ? [] : [sight]), ...(bias === undefined ? [] : [at.wide(bias)])],
    ...(sinks === undefined ? {} : { sinks }),
  });
  return [mergedHeads(at, mixed), k, v];
}

function groupedHeads(at: Primitives): Heads {
  const [heads, kvHeads] = [at.int("num_heads", 0), at.int("kv_num_heads", 0)];
  const key = at.input(1);
  const query = at.value(0);
  if (key !== undefined) {
    return { q: headsOf(at, query, heads), k: headsOf(at, key, kvHeads), v: headsOf(at, at.value(2), kvHeads) };
  }
  const [batch = 0, length = 0, width = 0] = at.shape(query);
  const size = width / (heads + 2 * kvHeads);
  const all = at.transpose(at.reshape(query, [batch, length, heads + 2 * kvHeads, size]), [0, 2, 1, 3]);
  const [q = "", k = "", v = ""] = at.split(all, [heads, kvHeads, kvHeads], 1);
  return { q, k, v };
}

/** seqlens_k holds the number of tokens less one: a batch with padding has another one somewhere. */
function requireWhole(at: Primitives): void {
  const lengths = at.integers(at.value(5));
  const last = (at.shape(at.value(0))[1] ?? 0) - 1;
  if (lengths === undefined) throw refused("has sequence lengths that depend on the tokens");
  const other = lengths.find((length) => length !== last);
  if (other !== undefined) throw refused(`has ${other + 1} tokens in a sequence of ${last + 1}`);
}

function rotated(at: Primitives, { q, k, v }: Heads): Heads {
  if (at.int("do_rotary", 0) !== 1) return { q, k, v };
  const length = at.shape(q)[2] ?? 0;
  const positions =
    at.input(9) ??
    at.ints(
      Array.from({ length }, (_, position) => position),
      [1, length],
    );
  const interleaved = at.int("rotary_interleaved", 0) === 1;
  const angles = (slot: number): string => {
    const rows = at.op("Gather", [at.value(slot), positions], { axis: 0 });
    const [batch = 0, , half = 0] = at.shape(rows);
    return at.reshape(rows, [batch, 1, length, half]);
  };
  const turn = { cos: angles(7), sin: angles(8), interleaved };
  return { q: rotate(at, q, turn), k: rotate(at, k, turn), v };
}

function sinksOf(at: Primitives, like: string, heads: number): string | undefined {
  const given = at.input(11);
  if (given !== undefined) return at.reshape(at.wide(given), [1, heads, 1, 1]);
  return at.int("smooth_softmax", 0) === 1 ? at.wideNumber(0, like) : undefined;
}

/** Query [B, S, heads * size]; key and value the same, or laid out as heads already. What packs them is for CUDA alone. */
function multiHead(at: Primitives): readonly (string | undefined)[] {
  for (const slot of [6, 7]) requireEmpty(at, at.input(slot));
  const heads = multipleHeads(at);
  return [mergedHeads(at, maskedMix(at, heads, at.input(4), at.input(5))), heads.k, heads.v];
}

function multipleHeads(at: Primitives): Heads {
  const [query, key, value, bias] = [at.value(0), at.input(1), at.input(2), at.input(3)];
  if (key === undefined || value === undefined) throw refused("packs queries, keys and values");
  const biases = bias === undefined ? [] : biasParts(at, bias, [query, key, value]);
  const part = (projected: string, index: number): string => {
    if (at.shape(projected).length === 4) return projected;
    const added = biases[index];
    return headsOf(at, added === undefined ? projected : at.op("Add", [projected, added]), at.int("num_heads", 0));
  };
  return { q: part(query, 0), k: part(key, 1), v: part(value, 2) };
}

function biasParts(at: Primitives, bias: string, values: readonly string[]): readonly string[] {
  if (values.some((value) => at.shape(value).length !== 3)) throw refused("adds a bias to keys of rank 4");
  return at.split(
    bias,
    values.map((value) => at.shape(value)[2] ?? 0),
    0,
  );
}

/** com.microsoft Attention: one projection [H, q + k + v] of the input [B, S, H], then as above. */
function packed(at: Primitives): readonly (string | undefined)[] {
  requireEmpty(at, at.input(4));
  if (at.int("do_rotary", 0) !== 0) throw refused("turns its queries and keys");
  const heads = at.int("num_heads", 0);
  const weight = at.value(1);
  const width = at.shape(weight)[1] ?? 0;
  const product = at.op("MatMul", [at.value(0), weight]);
  const bias = at.input(2);
  const all = bias === undefined ? product : at.op("Add", [product, bias]);
  const parts = at.split(all, at.intsOf("qkv_hidden_sizes") ?? [width / 3, width / 3, width / 3], 2);
  const [q = "", k = "", v = ""] = parts.map((part) => headsOf(at, part, heads));
  return [mergedHeads(at, maskedMix(at, { q, k, v }, at.input(3), at.input(5)))];
}

/** Mask [B, T] (0: not seen), [B] (the number of tokens seen) or [B, S, T]; bias broadcasting to [B, heads, S, T]. */
function maskedMix(at: Primitives, { q, k, v }: Heads, mask: string | undefined, bias: string | undefined): string {
  const [, , queries = 0, size = 0] = at.shape(q);
  const keys = at.shape(k)[2] ?? 0;
  const isCausal = at.int("unidirectional", 0) === 1;
  // onnxruntime 1.30 gives neither the first nor the last keys to the first query.
  if (isCausal && queries !== keys) throw refused(`sees ${keys} keys in the order of ${queries} queries`);
  const sight = sightBias(at, q, { queries, keys, isCausal, window: 0 });
  const biases = [
    ...(sight === undefined ? [] : [sight]),
    ...(mask === undefined ? [] : [paddingBias(at, q, mask, keys)]),
    ...(bias === undefined ? [] : [at.wide(bias)]),
  ];
  return attend(at, { q, k, v, scale: at.float("scale", 0) || 1 / Math.sqrt(size), softcap: 0, biases });
}

function paddingBias(at: Primitives, like: string, mask: string, keys: number): string {
  const shape = at.shape(mask);
  const [batch = 0] = shape;
  const lowest = at.float("mask_filter_value", -10000);
  const hidden = (visible: string, layout: readonly number[]): string =>
    biasOf(at, like, at.reshape(visible, layout), lowest);
  if (shape.length === 1 && batch === at.shape(like)[0]) {
    const places = at.op("Cast", [at.ints(Array.from({ length: keys }, (_, key) => key))], { to: at.type(mask) });
    return hidden(at.op("Less", [places, at.reshape(mask, [batch, 1])]), [batch, 1, 1, keys]);
  }
  if (shape.at(-1) !== keys || shape.length === 1 || shape.length > 3) throw refused(`has a mask of shape [${shape}]`);
  const visible = at.op("Greater", [mask, at.number(0, mask)]);
  return hidden(visible, shape.length === 2 ? [batch, 1, 1, keys] : [batch, 1, shape[1] ?? 0, keys]);
}
