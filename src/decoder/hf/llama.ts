// Readers of llama and its nearest relatives: pre-norm, RMS norms, rotary embedding, gated MLP. Refuses what they do not all share.
import type { BlockSpec, DecoderSpec } from "../spec.ts";
import type { Weights } from "../weights.ts";
import { ACTIVATIONS, gatedMlp, type Heads, headOf, plainAttention, plainEmbedding, readHeads } from "./parts.ts";
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
  /** Of the RMS norms. */
  readonly epsilon: number;
}

export interface FrameDefaults {
  readonly context: number;
  readonly epsilon: number;
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
    epsilon: settings.number("rms_norm_eps", defaults.epsilon),
  };
}

/** Embedding, blocks, final RMS norm and head under the names that llama gave them. `block` gets the weights of one block. */
export function llamaLike(
  family: string,
  settings: Settings,
  weights: Weights,
  frame: Frame,
  tiedByDefault: boolean,
  block: (weights: Weights, index: number) => BlockSpec,
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
    finalNorm: root.rms("norm", hidden, frame.epsilon),
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

function readLlama(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, { context: 2048, epsilon: 1e-6 });
  const rope = readRope(settings, { headSize: frame.heads.headSize, context: frame.context });
  const activation = settings.choice("hidden_act", ACTIVATIONS, "silu");
  const bias = settings.flag("attention_bias", false);
  const mlpBias = settings.flag("mlp_bias", false);
  return llamaLike("llama", settings, weights, frame, false, (block) =>
    preNormBlock(block, frame, {
      attention: { ...plainAttention(block.under("self_attn."), frame.heads, { qkv: bias, output: bias }), rope },
      mlp: gatedMlp(block.under("mlp."), frame.heads.hidden, frame.inner, activation, mlpBias),
    }),
  );
}

export const LLAMA_READERS: HfReaders = { llama: readLlama };
