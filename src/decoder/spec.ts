// What a decoder computes, with its weights by role: the one description that readers make and graphs are emitted from. Holds no ONNX
// and no settings of a file format; every number is resolved, every default applied.
import type { TensorRef } from "../tensor/reference.ts";

/** A stored tensor in a role. */
export interface Weight {
  /** Name in the checkpoint. */
  readonly name: string;
  readonly tensor: TensorRef;
  /** `tensor` is slice `index` of the `count` equal slices along the first dimension of the tensor called `name`. */
  readonly part?: { readonly index: number; readonly count: number };
}

/** y = x W + b. */
export interface Linear {
  readonly weight: Weight;
  /** out_in: [outputs, inputs], as nn.Linear and GGUF store it. in_out: [inputs, outputs], as GPT-2's Conv1D and gpt_oss' experts do. */
  readonly layout: "out_in" | "in_out";
  readonly bias?: Weight;
}

export interface Norm {
  readonly kind: "rms" | "layer";
  readonly epsilon: number;
  /** Absent: 1. */
  readonly gain?: Weight;
  /** Added to the stored gain: 1 where the model multiplies by (1 + w), else 0. In GGUF the 1 is already folded in. */
  readonly gainOffset: 0 | 1;
  readonly bias?: Weight;
}

/**
 * Norm of queries or keys, before rotation. "head": each head alone; gain [head size], or [heads, head size] when every head has its own
 * (as one tensor or, `gains`, as one a head). "all": over all heads at once, gain [heads * head size].
 */
export type HeadNorm = Norm & { readonly over: "head" | "all"; readonly gains?: readonly Weight[] };

/**
 * Queries, keys and values. A fused projection is split after it is computed, never as a weight.
 * "concatenated": all query heads, then all key heads, then all value heads. "grouped": for each key head its query heads, that key,
 * that value (with as many key heads as query heads: q k v of head 0, q k v of head 1, ...).
 */
export type Qkv =
  | { readonly form: "separate"; readonly q: Linear; readonly k: Linear; readonly v: Linear }
  | { readonly form: "fused"; readonly linear: Linear; readonly order: "concatenated" | "grouped" };

/** Rotary position embedding of the first `dims` of each head; the rest passes unrotated. */
export interface Rope {
  readonly dims: number;
  /** half: element i turns with element i + dims/2. interleaved: 2i with 2i + 1. */
  readonly layout: "half" | "interleaved";
  readonly angles: RopeAngles;
  /** Used instead when the sequence (largest position + 1) is longer than `length` tokens. */
  readonly beyond?: { readonly length: number; readonly angles: RopeAngles | DynamicAngles };
}

/** Angle of pair i at position p: p * frequencies[i] / divisors[i]. */
export interface RopeAngles {
  /** Radians per position, [dims/2], all scaling applied. */
  readonly frequencies: readonly number[];
  /** Stored factors that divide the frequencies, [dims/2] (GGUF: rope_freqs, rope_factors_long/short). */
  readonly divisors?: Weight;
  /** Multiplies sine and cosine. */
  readonly magnitude: number;
}

/** NTK scaling that follows the length n: base' = base * (factor * n / length - (factor - 1)) ^ (dims / (dims - 2)). Magnitude 1. */
export interface DynamicAngles {
  readonly base: number;
  readonly factor: number;
}

export interface Attention {
  readonly heads: number;
  /** Heads of keys and values; divides `heads`. */
  readonly kvHeads: number;
  readonly headSize: number;
  readonly qkv: Qkv;
  readonly output: Linear;
  /** Queries, keys and values are clamped to [-clip, clip] before anything else. */
  readonly clip?: number;
  readonly qNorm?: HeadNorm;
  readonly kNorm?: HeadNorm;
  /** Absent: positions enter elsewhere, or not at all. */
  readonly rope?: Rope;
  /** Multiplies q·k. */
  readonly scale: number;
  /** s -> softcap * tanh(s / softcap), after the scale, before the mask. */
  readonly softcap?: number;
  /** A token sees itself and the window - 1 tokens before it. */
  readonly window?: number;
  readonly alibi?: Alibi;
  /** One logit a head that takes part in the softmax and is then dropped, [heads]. */
  readonly sinks?: Weight;
}

/** Adds slope * (position of the key) to a score; added after the scale. */
export interface Alibi {
  /** [heads]. */
  readonly slopes: readonly number[];
  /** Multiplies slope * position after the rounding (falcon scales the biased score). */
  readonly scale: number;
  /** slope and slope * position are rounded to bfloat16 (falcon); absolute key positions then matter. */
  readonly bfloat16: boolean;
}

/** gelu: with erf. gelu_tanh: gelu_new, gelu_pytorch_tanh, gelu_fast. gelu_quick: x * sigmoid(1.702 x). relu2: relu squared. */
export type Activation = "silu" | "gelu" | "gelu_tanh" | "gelu_quick" | "relu" | "relu2";

export interface PlainMlp {
  readonly kind: "plain";
  readonly up: Linear;
  readonly down: Linear;
  readonly activation: Activation;
}

/** down(activation(gate(x)) * (up(x) + upOffset)). */
export interface GatedMlp {
  readonly kind: "gated";
  readonly gateUp: GateUp;
  readonly down: Linear;
  readonly activation: Activation;
  /** Before the activation: gate <= limit, -limit <= up <= limit (gpt_oss). */
  readonly limit?: number;
  /** gpt_oss: 1. Absent: 0. */
  readonly upOffset?: number;
}

/** Fused: "halves" = all gate outputs, then all up outputs; "interleaved" = gate, up, gate, up, ... */
export type GateUp =
  | { readonly form: "separate"; readonly gate: Linear; readonly up: Linear }
  | { readonly form: "fused"; readonly linear: Linear; readonly order: "halves" | "interleaved" };

export interface MixtureMlp {
  readonly kind: "mixture";
  readonly router: Router;
  /** Stacked weights [experts, ...] as one slice an expert: see `slicesOf`. */
  readonly experts: readonly (PlainMlp | GatedMlp)[];
  /** Sees every token; `gate` (one output) multiplies it by its sigmoid. */
  readonly shared?: { readonly mlp: PlainMlp | GatedMlp; readonly gate?: Linear };
}

export interface Router {
  readonly linear: Linear;
  readonly perToken: number;
  /** all: softmax over all experts, then the best. selected: the best logits, then softmax over these. */
  readonly softmax: "all" | "selected";
  /** The weights of the selected experts are divided by their sum. */
  readonly normalize: boolean;
  /** Multiplies the weights at last. */
  readonly scale: number;
}

export type Mlp = PlainMlp | GatedMlp | MixtureMlp;

/**
 * sequential: h = x + m * post(attention(pre(x))); out = h + m * post(mlp(pre(h))).
 * parallel: out = x + m * post(attention(pre(x))) + m * post(mlp(pre'(x))); without a norm of its own the MLP reads what attention reads.
 */
export interface BlockSpec {
  readonly residual: "sequential" | "parallel";
  readonly attention: Attention;
  readonly mlp: Mlp;
  readonly attentionNorm?: Norm;
  readonly mlpNorm?: Norm;
  /** On the branch's output, before it is added. */
  readonly attentionOutputNorm?: Norm;
  readonly mlpOutputNorm?: Norm;
  /** m above. */
  readonly residualMultiplier: number;
}

export interface Embedding {
  /** [vocabulary, width]; width equals `hidden` unless there is a projection. */
  readonly weight: Weight;
  /** Multiplies the token's row. */
  readonly scale: number;
  /** From the table's width to `hidden` (opt), before positions are added. */
  readonly projection?: Linear;
  /** Learned positions [positions, hidden]; row = position + offset. */
  readonly positions?: { readonly weight: Weight; readonly offset: number };
  readonly norm?: Norm;
}

export interface Head {
  /** [vocabulary, width]; the same Weight object contents as the embedding's when they are tied. */
  readonly weight: Weight;
  /** [vocabulary]. */
  readonly bias?: Weight;
  /** From `hidden` to the matrix' width (opt), after the final norm. */
  readonly projection?: Linear;
  /** Multiplies the logits, bias included. */
  readonly scale: number;
  /** logits -> softcap * tanh(logits / softcap), after the scale. */
  readonly softcap?: number;
}

export interface DecoderSpec {
  /** model_type of config.json or general.architecture: for people. */
  readonly family: string;
  readonly hidden: number;
  readonly vocabulary: number;
  /** Longest sequence the model was made for; absent when unknown. */
  readonly context?: number;
  readonly embedding: Embedding;
  readonly blocks: readonly BlockSpec[];
  readonly finalNorm?: Norm;
  readonly head: Head;
}

/** The equal slices of a tensor along its first dimension, as references into the same bytes. */
export function slicesOf(weight: Weight): readonly Weight[] {
  const [count = 0, ...shape] = weight.tensor.shape;
  const bytes = weight.tensor.bytes / Math.max(count, 1);
  return Array.from({ length: count }, (_, index) => ({
    name: weight.name,
    part: { index, count },
    tensor:
      weight.tensor.kind === "stored"
        ? { ...weight.tensor, shape, bytes, offset: weight.tensor.offset + index * bytes }
        : { ...weight.tensor, shape, bytes },
  }));
}
