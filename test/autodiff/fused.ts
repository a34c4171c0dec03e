// Fused nodes for tests, as data: what they read, and how. Checks nothing.
import { attribute } from "../../src/graph/attributes.ts";
import type { NodeProto } from "../../src/graph/onnx.ts";
import { node } from "../graph/models.ts";

type Whole = "bool" | "int64" | "int32" | "uint8";

/** An input: float values drawn at random (times a scale), of which frozen ones are not differentiated; or whole values, which are constants. */
export type Source =
  | { readonly shape: readonly number[]; readonly kind?: "frozen"; readonly scale?: number }
  | { readonly shape: readonly number[]; readonly kind: Whole; readonly values: readonly number[] };

export interface FusedCase {
  readonly title: string;
  readonly node: NodeProto;
  readonly inputs: Readonly<Record<string, Source>>;
  /** Version of ai.onnx; 23 unless given. */
  readonly opset?: number;
}

type Given = Readonly<Record<string, number | string | readonly number[] | { readonly float: number }>>;
type Inputs = Readonly<Record<string, Source>>;
type More = Omit<FusedCase, "title" | "node" | "inputs">;

function fused(title: string, call: string, inputs: Inputs, given: Given = {}, more: More = {}): FusedCase {
  const attributes = Object.entries(given).map(([name, value]) =>
    typeof value === "object" && "float" in value ? attribute(name, value.float, "float") : attribute(name, value),
  );
  return { title, node: node(call, attributes), inputs, ...more };
}

const float = (value: number) => ({ float: value });
const of = (...shape: number[]) => ({ shape });
const frozen = (...shape: number[]) => ({ shape, kind: "frozen" }) as const;
const whole = (kind: Whole, shape: readonly number[], values: readonly number[]) => ({ shape, kind, values });
const bools = (shape: readonly number[], values: readonly number[]) => whole("bool", shape, values);
const counted = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, at) => from + at);

const [B, S, H] = [2, 5, 8];
const X = of(B, S, H);
const GAIN = of(H);
/** Of which a norm's epsilon would be seen. */
const SMALL = { shape: [B, S, H], scale: 0.25 };

const NORMS: readonly FusedCase[] = [
  fused("RMSNormalization", "y = RMSNormalization(x, g)", { x: X, g: GAIN }, { epsilon: float(1e-3) }),
  fused("RMSNormalization over two axes", "y = RMSNormalization(x, g)", { x: X, g: of(S, H) }, { axis: 1 }),
  fused("SimplifiedLayerNormalization", "y = SimplifiedLayerNormalization(x, g)", { x: X, g: GAIN }, { axis: -1 }),
  fused("LayerNormalization", "y = LayerNormalization(x, g, b)", { x: X, g: GAIN, b: GAIN }),
  fused(
    "LayerNormalization over two axes",
    "y = LayerNormalization(x, g, b)",
    { x: X, g: of(S, H), b: GAIN },
    { axis: 1 },
  ),
  fused("LayerNormalization with its statistics", "y, m, d = LayerNormalization(x, g)", { x: X, g: GAIN }, { axis: 2 }),
  fused(
    "SkipSimplifiedLayerNormalization with bias and sum",
    "y, _, _, s = com.microsoft.SkipSimplifiedLayerNormalization(x, k, g, b)",
    { x: X, k: X, g: GAIN, b: GAIN },
    { epsilon: float(1e-6) },
  ),
  fused(
    "SkipSimplifiedLayerNormalization of a skip for every row",
    "y = com.microsoft.SkipSimplifiedLayerNormalization(x, k, g)",
    { x: X, k: of(1, S, H), g: GAIN },
    { epsilon: float(1e-5) },
  ),
  fused(
    "SkipSimplifiedLayerNormalization without epsilon",
    "y = com.microsoft.SkipSimplifiedLayerNormalization(x, k, g)",
    { x: SMALL, k: SMALL, g: GAIN },
  ),
  fused("SkipLayerNormalization without epsilon", "y = com.microsoft.SkipLayerNormalization(x, k, g, b)", {
    x: SMALL,
    k: SMALL,
    g: GAIN,
    b: GAIN,
  }),
  fused(
    "SkipLayerNormalization with bias and sum",
    "y, _, _, s = com.microsoft.SkipLayerNormalization(x, k, g, b, c)",
    { x: X, k: X, g: GAIN, b: GAIN, c: GAIN },
    { epsilon: float(1e-5) },
  ),
  fused(
    "EmbedLayerNormalization",
    "y, n, s = com.microsoft.EmbedLayerNormalization(i, _, w, p, _, g, b, m)",
    {
      i: whole("int32", [B, 3], [1, 4, 0, 2, 2, 3]),
      w: of(6, H),
      p: of(4, H),
      g: GAIN,
      b: GAIN,
      m: whole("int32", [B, 3], [1, 1, 1, 1, 1, 0]),
    },
    { epsilon: float(1e-5) },
  ),
  fused(
    "EmbedLayerNormalization with segments and positions",
    "y, n = com.microsoft.EmbedLayerNormalization(i, s, w, p, v, g, b, _, q)",
    {
      i: whole("int32", [B, 3], [1, 4, 0, 2, 2, 3]),
      s: whole("int32", [B, 3], [1, 1, 0, 1, 0, 0]),
      q: whole("int32", [B, 3], [0, 1, 2, 3, 2, 1]),
      w: of(6, H),
      p: of(4, H),
      v: of(2, H),
      g: GAIN,
      b: GAIN,
    },
  ),
];

const one = (title: string, operator: string, given: Given = {}, more: More = {}): FusedCase =>
  fused(title, `y = ${operator}(x)`, { x: of(3, 7) }, given, more);

const ACTIVATIONS: readonly FusedCase[] = [
  one("Gelu of com.microsoft", "com.microsoft.Gelu"),
  fused("BiasGelu", "y = com.microsoft.BiasGelu(x, b)", { x: X, b: GAIN }),
  fused("FastGelu with a bias", "y = com.microsoft.FastGelu(x, b)", { x: X, b: GAIN }),
  one("FastGelu", "com.microsoft.FastGelu"),
  one("QuickGelu", "com.microsoft.QuickGelu"),
  one("QuickGelu as silu", "com.microsoft.QuickGelu", { alpha: float(1) }),
  one("Gelu", "Gelu"),
  one("Gelu by tanh", "Gelu", { approximate: "tanh" }),
  one("Swish", "Swish", {}, { opset: 24 }),
  one("Swish, steeper", "Swish", { alpha: float(1.5) }, { opset: 24 }),
  one("Mish", "Mish"),
  one("Celu", "Celu", { alpha: float(0.7) }),
  one("Selu", "Selu"),
];

const TURN = { x: of(B, 3, S, H), c: frozen(B, S, H / 2), s: frozen(B, S, H / 2) };
const TABLE = { c: frozen(9, 3), s: frozen(9, 3), p: whole("int64", [B, S], [0, 1, 2, 3, 4, 2, 3, 4, 8, 6]) };

const ROTARY: readonly FusedCase[] = [
  fused("RotaryEmbedding", "y = RotaryEmbedding(x, c, s)", TURN),
  fused("RotaryEmbedding, interleaved", "y = RotaryEmbedding(x, c, s)", TURN, { interleaved: 1 }),
  fused(
    "RotaryEmbedding of a part of each head, by positions",
    "y = RotaryEmbedding(x, c, s, p)",
    { x: of(B, 3, S, H), ...TABLE },
    { rotary_embedding_dim: 6 },
  ),
  fused(
    "RotaryEmbedding of a part of each head, interleaved, heads joined",
    "y = RotaryEmbedding(x, c, s, p)",
    { x: of(B, S, 2 * H), ...TABLE },
    { rotary_embedding_dim: 6, interleaved: 1, num_heads: 2 },
  ),
  fused("RotaryEmbedding of com.microsoft by positions", "y = com.microsoft.RotaryEmbedding(x, p, c, s)", {
    x: of(B, S, 12),
    ...TABLE,
  }),
  fused(
    "RotaryEmbedding of com.microsoft from one position on",
    "y = com.microsoft.RotaryEmbedding(x, p, c, s)",
    { x: of(B, 2, S, 6), c: TABLE.c, s: TABLE.s, p: whole("int64", [1], [3]) },
    { interleaved: 1 },
  ),
];

const QKV = { q: of(B, 4, S, H), k: of(B, 2, S, H), v: of(B, 2, S, 6) };
const FLAT = { q: of(B, S, 4 * H), k: of(B, S, 2 * H), v: of(B, S, 2 * H) };
const MASK = bools([S, S], [1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 0, 1, 0, 1, 1, 1]);

const ATTENTION: readonly FusedCase[] = [
  fused("Attention", "y = Attention(q, k, v)", QKV),
  fused("Attention, causal, scaled", "y = Attention(q, k, v)", QKV, { is_causal: 1, scale: float(0.2) }),
  fused("Attention with a mask", "y = Attention(q, k, v, m)", { ...QKV, m: MASK }),
  fused(
    "Attention with a bias and a cap",
    "y = Attention(q, k, v, m)",
    { ...QKV, m: of(1, 4, S, S) },
    { softcap: float(1.5) },
  ),
  fused("Attention with a mask and a cap", "y = Attention(q, k, v, m)", { ...QKV, m: MASK }, { softcap: float(0.5) }),
  fused("Attention, causal, of heads joined", "y = Attention(q, k, v)", FLAT, {
    is_causal: 1,
    q_num_heads: 4,
    kv_num_heads: 2,
  }),
  fused("Attention to other keys", "y = Attention(q, k, v)", {
    q: of(B, 2, 3, H),
    k: of(B, 2, S, H),
    v: of(B, 2, S, H),
  }),
  fused("Attention with an empty cache", "y, a, b = Attention(q, k, v, m, e, f)", {
    ...QKV,
    v: QKV.k,
    m: MASK,
    e: of(B, 2, 0, H),
    f: of(B, 2, 0, H),
  }),
];

const D = 16;
const LENGTHS = { l: whole("int32", [B], [S - 1, S - 1]), t: whole("int32", [], [S]) };
const GROUPED = { q: of(B, S, 4 * D), k: of(B, S, 2 * D), v: of(B, S, 2 * D), ...LENGTHS };
const COUNT = { num_heads: 4, kv_num_heads: 2 };
const TABLES = { c: frozen(9, D / 2), s: frozen(9, D / 2) };
const GQA = "com.microsoft.GroupQueryAttention";

const GROUPED_ATTENTION: readonly FusedCase[] = [
  fused("GroupQueryAttention", `y, a, b = ${GQA}(q, k, v, _, _, l, t)`, GROUPED, COUNT),
  fused(
    "GroupQueryAttention, packed, turned, seeing a window, capped",
    `y, a, b = ${GQA}(q, _, _, _, _, l, t, c, s)`,
    { q: of(B, S, 8 * D), ...LENGTHS, ...TABLES },
    { ...COUNT, do_rotary: 1, local_window_size: 3, softcap: float(0.8), scale: float(0.3) },
  ),
  fused(
    "GroupQueryAttention, turned, interleaved, smooth",
    `y, a, b = ${GQA}(q, k, v, _, _, l, t, c, s)`,
    { ...GROUPED, ...TABLES },
    { ...COUNT, do_rotary: 1, rotary_interleaved: 1, smooth_softmax: 1 },
  ),
  fused(
    "GroupQueryAttention with sinks and a bias",
    `y, a, b = ${GQA}(q, k, v, _, _, l, t, _, _, _, m, h)`,
    { ...GROUPED, m: of(1, 1, S, S), h: of(4) },
    { ...COUNT, local_window_size: 2 },
  ),
];

const MULTI = { q: of(B, S, 2 * H), k: of(B, S, 2 * H), v: of(B, S, 2 * H) };
const MHA = "com.microsoft.MultiHeadAttention";

const MULTI_HEAD: readonly FusedCase[] = [
  fused("MultiHeadAttention", `y = ${MHA}(q, k, v)`, MULTI, { num_heads: 2 }),
  fused(
    "MultiHeadAttention with biases, causal",
    `y = ${MHA}(q, k, v, b)`,
    { ...MULTI, b: of(6 * H) },
    {
      num_heads: 2,
      unidirectional: 1,
      scale: float(0.3),
    },
  ),
  fused(
    "MultiHeadAttention with padding and a bias",
    `y = ${MHA}(q, k, v, _, m, a)`,
    { ...MULTI, m: whole("int32", [B, S], [1, 1, 1, 1, 0, 1, 1, 1, 1, 1]), a: of(1, 2, S, S) },
    { num_heads: 2, mask_filter_value: float(-3) },
  ),
  fused(
    "MultiHeadAttention to other keys, laid out as heads",
    `y = ${MHA}(q, k, v)`,
    {
      q: of(B, 3, 2 * H),
      k: of(B, 2, S, H),
      v: of(B, 2, S, H),
    },
    { num_heads: 2 },
  ),
  fused(
    "Attention of com.microsoft, causal",
    "y = com.microsoft.Attention(x, w, b)",
    { x: X, w: of(H, 24), b: of(24) },
    { num_heads: 2, unidirectional: 1 },
  ),
  fused(
    "Attention of com.microsoft with padding",
    "y = com.microsoft.Attention(x, w, b, m)",
    { x: X, w: of(H, 24), b: of(24), m: whole("int32", [B, S], [1, 1, 1, 1, 1, 1, 1, 1, 0, 0]) },
    { num_heads: 2 },
  ),
  fused(
    "Attention of com.microsoft with lengths",
    "y = com.microsoft.Attention(x, w, b, m)",
    { x: X, w: of(H, 24), b: of(24), m: whole("int32", [B], [5, 3]) },
    { num_heads: 2 },
  ),
];

const einsum = (equation: string, a: readonly number[], b: readonly number[]): FusedCase =>
  fused(`Einsum ${equation}`, "y = Einsum(a, b)", { a: of(...a), b: of(...b) }, { equation });

const EINSUM: readonly FusedCase[] = [
  einsum("bij,bjk->bik", [2, 3, 4], [2, 4, 5]),
  einsum("bhqd, bhkd -> bhqk", [2, 3, 4, 5], [2, 3, 2, 5]),
  einsum("kj,ji", [3, 4], [4, 2]),
  einsum("abc,cd->dab", [2, 3, 4], [4, 5]),
  einsum("i,j->ij", [3], [4]),
  einsum("bij,bk->bi", [2, 3, 4], [2, 5]),
];

const nBits = (title: string, call: string, inputs: Inputs, given: Given): FusedCase =>
  fused(title, `y = com.microsoft.MatMulNBits(${call})`, inputs, given);
const bytes = (shape: readonly number[]) =>
  whole(
    "uint8",
    shape,
    counted(
      0,
      shape.reduce((a, b) => a * b, 1),
    ).map((at) => (at * 89 + 41) % 256),
  );

const QUANTIZED: readonly FusedCase[] = [
  nBits(
    "MatMulNBits, 4 bits",
    "x, w, s",
    { x: of(B, S, 64), w: bytes([6, 2, 16]), s: frozen(6, 2) },
    {
      K: 64,
      N: 6,
      bits: 4,
      block_size: 32,
    },
  ),
  nBits(
    "MatMulNBits, 4 bits, with zero points and a bias",
    "x, w, s, z, _, b",
    { x: of(B, S, 64), w: bytes([6, 4, 8]), s: frozen(24), z: bytes([12]), b: of(6) },
    { K: 64, N: 6, bits: 4, block_size: 16 },
  ),
  nBits(
    "MatMulNBits, 4 bits, the last block cut short",
    "x, w, s",
    { x: of(B, S, 40), w: bytes([6, 3, 8]), s: frozen(18) },
    {
      K: 40,
      N: 6,
      bits: 4,
      block_size: 16,
    },
  ),
  nBits(
    "MatMulNBits, 8 bits, with zero points",
    "x, w, s, z",
    { x: of(B, S, 64), w: bytes([6, 2, 32]), s: frozen(6, 2), z: bytes([6, 2]) },
    { K: 64, N: 6, bits: 8, block_size: 32 },
  ),
];

const GATHER: readonly FusedCase[] = [
  fused(
    "Gather at places of int32",
    "y = Gather(x, i)",
    { x: of(4, H), i: whole("int32", [3], [2, 0, 2]) },
    { axis: 0 },
  ),
];

export const FUSED: readonly FusedCase[] = [
  ...NORMS,
  ...ACTIVATIONS,
  ...ROTARY,
  ...ATTENTION,
  ...GROUPED_ATTENTION,
  ...MULTI_HEAD,
  ...EINSUM,
  ...GATHER,
  ...QUANTIZED,
];

/** Forms that are refused, each with the reason. */
export const REFUSED: readonly (readonly [reason: string, FusedCase])[] = [
  [
    "gives its output 1 to other nodes",
    fused("", "y, m = com.microsoft.SkipLayerNormalization(x, k, g)", { x: X, k: X, g: GAIN }),
  ],
  ["packs sequences of different lengths", turning({ is_packed_batching: 1 })],
  ["scales what it turns", turning({ scale: float(2) })],
  ["turns 4 values of a head by 3 angles", turning({ rotary_embedding_dim: 4, num_heads: 2 })],
  [
    "has keys of different lengths (nonpad_kv_seqlen)",
    fused("", "y = Attention(q, k, v, _, _, _, n)", { ...QKV, n: whole("int64", [B], [5, 4]) }),
  ],
  [
    "reads a cache of shape [2,2,1,8]",
    fused("", "y = Attention(q, k, v, _, e, f)", { ...QKV, e: of(B, 2, 1, H), f: of(B, 2, 1, H) }),
  ],
  ["has a mask for 4 keys and 5 keys", fused("", "y = Attention(q, k, v, m)", { ...QKV, m: of(S, 4) })],
  ["gives its output 3 to other nodes", fused("", "y, _, _, p = Attention(q, k, v)", QKV)],
  [
    "has sequence lengths that depend on the tokens",
    fused("", `y = ${GQA}(q, k, v, _, _, l, t)`, { ...GROUPED, l: of(B) }, COUNT),
  ],
  [
    "has 3 tokens in a sequence of 5",
    fused("", `y = ${GQA}(q, k, v, _, _, l, t)`, { ...GROUPED, l: whole("int32", [B], [S - 1, 2]) }, COUNT),
  ],
  [
    'reads "n" as its input 14',
    fused("", `y = ${GQA}(q, k, v, _, _, l, t, _, _, _, _, _, _, _, n, n)`, { ...GROUPED, n: of(D) }, COUNT),
  ],
  ['sets "causal" to 0', fused("", `y = ${GQA}(q, k, v, _, _, l, t)`, GROUPED, { ...COUNT, causal: 0, qk_output: 0 })],
  [
    'sets "k_quant_type" to PER_TENSOR',
    fused("", `y = ${GQA}(q, k, v, _, _, l, t)`, GROUPED, { ...COUNT, k_quant_type: "PER_TENSOR" }),
  ],
  ['sets "new_factor"', fused("", "y = RMSNormalization(x, g)", { x: X, g: GAIN }, { new_factor: float(2) })],
  [
    "sees 5 keys in the order of 3 queries",
    fused("", `y = ${MHA}(q, k, v)`, { ...MULTI, q: of(B, 3, 2 * H) }, { num_heads: 2, unidirectional: 1 }),
  ],
  [
    "has a mask of shape [6]",
    fused(
      "",
      `y = ${MHA}(q, k, v, _, m)`,
      {
        q: of(B, 6, 2 * H),
        k: of(B, 6, 2 * H),
        v: of(B, 6, 2 * H),
        m: whole("int32", [6], []),
      },
      { num_heads: 2 },
    ),
  ],
  ["packs queries, keys and values", fused("", `y = ${MHA}(q)`, { q: of(B, S, 2, 3, H) }, { num_heads: 2 })],
  [
    "adds a bias to keys of rank 4",
    fused("", `y = ${MHA}(q, k, v, b)`, { q: of(B, S, 2 * H), k: of(B, 2, S, H), v: of(B, 2, S, H), b: of(6 * H) }),
  ],
  ["turns its queries and keys", projecting("x, w, b", {}, { do_rotary: 1 })],
  ["has a mask of shape [2,2,5,5]", projecting("x, w, b, m", { m: whole("int32", [2, 2, S, S], []) }, {})],
  ["has its columns in another order (g_idx)", packed("x, w, s, _, g", { g: whole("int32", [64], []) })],
  ['sets "weight_prepacked" to 1', packed("x, w, s", {}, { weight_prepacked: 1 })],
  ["has weights of 2 bits", packed("x, w, s", {}, { bits: 2 })],
  ["has zero points that are not whole", packed("x, w, s, z", { z: of(6, 2) })],
  [
    "has rows of 1 zero points, an odd number",
    packed("x, w, s, z", { s: frozen(6, 1), z: bytes([6]) }, { block_size: 64 }),
  ],
  ["has a weight that other nodes make", packed("x, w, s", { w: of(6, 2, 16) })],
  ['computes "bii,bi->bi"', einsum("bii,bi->bi", [2, 3, 3], [2, 3])],
  ['computes "ij,jk" with two sizes of j', einsum("ij,jk", [3, 1], [4, 2])],
  ['computes "...ij,jk->...ik"', einsum("...ij,jk->...ik", [2, 3, 4], [4, 5])],
];

function turning(given: Given): FusedCase {
  return fused("", "y = com.microsoft.RotaryEmbedding(x, p, c, s)", { x: of(B, S, 12), ...TABLE }, given);
}

function projecting(call: string, inputs: Inputs, given: Given): FusedCase {
  const all = { x: X, w: of(H, 24), b: of(24), ...inputs };
  return fused("", `y = com.microsoft.Attention(${call})`, all, { num_heads: 2, ...given });
}

function packed(call: string, inputs: Inputs, given: Given = {}): FusedCase {
  const all = { x: of(B, S, 64), w: bytes([6, 2, 16]), s: frozen(6, 2), ...inputs };
  return nBits("", call, all, { K: 64, N: 6, bits: 4, block_size: 32, ...given });
}
