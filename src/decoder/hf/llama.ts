// Readers of llama and its nearest relatives: pre-norm, RMS norms, rotary embedding, gated MLP. Refuses what they do not all share.
import type { Activation, Attention, BlockSpec, DecoderSpec, Norm } from "../spec.ts";
import type { Weights } from "../weights.ts";
import {
  ACTIVATIONS,
  blockKinds,
  gatedMlp,
  type Heads,
  headOf,
  plainAttention,
  plainEmbedding,
  readHeads,
  windowOf,
} from "./parts.ts";
import type { HfReaders } from "./reader.ts";
import { readRope } from "./rope.ts";
import type { Settings } from "./settings.ts";

/** Sizes that every one of these models names alike. */
export interface Frame {
  readonly heads: Heads;
  readonly vocabulary: number;
  readonly blocks: number;
  readonly inner: number;
  readonly context: number;
  /** Of the norms. */
  readonly epsilon: number;
}

export interface FrameDefaults {
  readonly context: number;
  readonly epsilon: number;
  /** What the settings call it; "rms_norm_eps" unless given. */
  readonly epsilonKey?: string;
  readonly kvHeads?: number;
  readonly headSize?: number;
}

export function readFrame(settings: Settings, defaults: FrameDefaults): Frame {
  return {
    heads: readHeads(settings, defaults),
    vocabulary: settings.count("vocab_size"),
    blocks: settings.count("num_hidden_layers"),
    inner: settings.count("intermediate_size"),
    context: settings.count("max_position_embeddings", defaults.context),
    epsilon: settings.number(defaults.epsilonKey ?? "rms_norm_eps", defaults.epsilon),
  };
}

/**
 * Embedding, blocks, final norm (an RMS norm unless given) and head under the names that llama gave them. `block` gets the weights of one
 * block, `finalNorm` those of all.
 */
export function llamaLike(
  family: string,
  settings: Settings,
  weights: Weights,
  frame: Frame,
  tiedByDefault: boolean,
  block: (weights: Weights, index: number) => BlockSpec,
  finalNorm?: (root: Weights) => Norm,
): DecoderSpec {
  const { hidden } = frame.heads;
  const root = weights.root("model.");
  weights.ignore(/\.rotary_emb\.inv_freq$/);
  const embedding = plainEmbedding(root, "embed_tokens", frame.vocabulary, hidden);
  return {
    family,
    hidden,
    vocabulary: frame.vocabulary,
    context: frame.context,
    embedding,
    blocks: Array.from({ length: frame.blocks }, (_, index) => block(root.under(`layers.${index}.`), index)),
    finalNorm: finalNorm?.(root) ?? root.rms("norm", hidden, frame.epsilon),
    head: headOf(settings, weights, "lm_head", embedding, tiedByDefault),
  };
}

/** input_layernorm, self_attn, post_attention_layernorm, mlp, one after the other. */
export function preNormBlock(weights: Weights, frame: Frame, inside: Pick<BlockSpec, "attention" | "mlp">): BlockSpec {
  return {
    residual: "sequential",
    residualMultiplier: 1,
    ...inside,
    attentionNorm: weights.rms("input_layernorm", frame.heads.hidden, frame.epsilon),
    mlpNorm: weights.rms("post_attention_layernorm", frame.heads.hidden, frame.epsilon),
  };
}

/** A block of plain attention, with what it has of its own, and of a gated MLP. */
export function llamaBlock(weights: Weights, frame: Frame, own: OwnParts): BlockSpec {
  const { bias, activation, mlpBias = false, attention } = own;
  return preNormBlock(weights, frame, {
    attention: { ...plainAttention(weights.under("self_attn."), frame.heads, bias), ...attention },
    mlp: gatedMlp(weights.under("mlp."), frame.heads.hidden, frame.inner, activation, mlpBias),
  });
}

export interface OwnParts {
  readonly bias: { readonly qkv: boolean; readonly output: boolean };
  readonly mlpBias?: boolean;
  readonly activation: Activation;
  readonly attention: Partial<Attention>;
}

/** attention_bias for all four projections. */
export function readBias(settings: Settings, absent: boolean): OwnParts["bias"] {
  const bias = settings.flag("attention_bias", absent);
  return { qkv: bias, output: bias };
}

function readLlama(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, { context: 2048, epsilon: 1e-6 });
  const own: OwnParts = {
    bias: readBias(settings, false),
    mlpBias: settings.flag("mlp_bias", false),
    activation: settings.choice("hidden_act", ACTIVATIONS, "silu"),
    attention: { rope: readRope(settings, { headSize: frame.heads.headSize, context: frame.context }) },
  };
  return llamaLike("llama", settings, weights, frame, false, (block) => llamaBlock(block, frame, own));
}

function readMistral(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, { context: 131072, epsilon: 1e-6, kvHeads: 8 });
  const window = settings.optionalCount("sliding_window", 4096);
  const rope = readRope(settings, { headSize: frame.heads.headSize, context: frame.context });
  const own: OwnParts = {
    bias: { qkv: false, output: false },
    activation: settings.choice("hidden_act", ACTIVATIONS, "silu"),
    attention: window === undefined ? { rope } : { rope, window },
  };
  return llamaLike("mistral", settings, weights, frame, false, (block) => llamaBlock(block, frame, own));
}

/** llama with four multipliers. */
function readGranite(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, { context: 2048, epsilon: 1e-6 });
  const own: OwnParts = {
    bias: readBias(settings, false),
    mlpBias: settings.flag("mlp_bias", false),
    activation: settings.choice("hidden_act", ACTIVATIONS, "silu"),
    attention: {
      rope: readRope(settings, { headSize: frame.heads.headSize, context: frame.context }),
      scale: settings.number("attention_multiplier", 1),
    },
  };
  const residualMultiplier = settings.number("residual_multiplier", 1);
  const spec = llamaLike("granite", settings, weights, frame, false, (block) => ({
    ...llamaBlock(block, frame, own),
    residualMultiplier,
  }));
  return {
    ...spec,
    embedding: { ...spec.embedding, scale: settings.number("embedding_multiplier", 1) },
    head: { ...spec.head, scale: 1 / settings.number("logits_scaling", 1) },
  };
}

/** llama with blocks that know no positions: no_rope_layers holds a 1 for each that does. */
function readSmollm3(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, { context: 32768, epsilon: 1e-6, kvHeads: 4 });
  const rope = readRope(settings, { headSize: frame.heads.headSize, context: frame.context, base: 2e6 });
  const interval = settings.count("no_rope_layer_interval", 4);
  const turns =
    settings.optionalNumbers("no_rope_layers") ??
    Array.from({ length: frame.blocks }, (_, i) => ((i + 1) % interval === 0 ? 0 : 1));
  if (turns.length < frame.blocks) {
    throw settings.refuse("no_rope_layers", `names ${turns.length} blocks; there are ${frame.blocks}`);
  }
  const windowed = settings.flag("use_sliding_window", false);
  const window = settings.optionalCount("sliding_window");
  // Stored in released files, and read by nobody: layer_types decides.
  settings.value("max_window_layers");
  const kinds = blockKinds(settings, frame.blocks, (index) =>
    windowed && window !== undefined && turns[index] === 0 ? "sliding_attention" : "full_attention",
  );
  const own: Omit<OwnParts, "attention"> = {
    bias: readBias(settings, false),
    mlpBias: settings.flag("mlp_bias", false),
    activation: settings.choice("hidden_act", ACTIVATIONS, "silu"),
  };
  return llamaLike("smollm3", settings, weights, frame, true, (block, index) =>
    llamaBlock(block, frame, {
      ...own,
      attention: { ...(turns[index] === 0 ? {} : { rope }), ...windowOf(settings, kinds[index], window) },
    }),
  );
}

export const LLAMA_READERS: HfReaders = {
  llama: readLlama,
  mistral: readMistral,
  granite: readGranite,
  smollm3: readSmollm3,
};
