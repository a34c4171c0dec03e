// Readers of BLOOM and MPT: linear biases instead of positions. Refuse what transformers stores for MPT and does not compute.
import type { BlockSpec, DecoderSpec } from "../spec.ts";
import type { Weights } from "../weights.ts";
import { bloomSlopes, mptSlopes, plainAlibi } from "./alibi.ts";
import { countOf, skip } from "./names.ts";
import { type Heads, headOf, plainEmbedding } from "./parts.ts";
import { blocksOf, fusedAttention, fusedWidth, NEOX_MLP, neoxAttention, plainMlp, sequentialBlock } from "./plain.ts";
import type { HfReaders } from "./reader.ts";
import type { Settings } from "./settings.ts";

interface Frame extends Heads {
  readonly vocabulary: number;
  readonly blocks: number;
  readonly inner: number;
  readonly epsilon: number;
}

/** Under these names; the MLP is always four times as wide. */
function readFrame(
  settings: Settings,
  names: { readonly hidden: readonly string[]; readonly heads: readonly string[]; readonly blocks: readonly string[] },
): Frame {
  const hidden = countOf(settings, names.hidden);
  const heads = countOf(settings, names.heads);
  if (hidden % heads !== 0) {
    throw settings.refuse(names.heads[0] ?? "", `is ${heads}, which does not divide the width ${hidden}`);
  }
  return {
    hidden,
    heads,
    kvHeads: heads,
    headSize: hidden / heads,
    vocabulary: settings.count("vocab_size"),
    blocks: countOf(settings, names.blocks),
    inner: 4 * hidden,
    epsilon: settings.number("layer_norm_epsilon", 1e-5),
  };
}

function readBloom(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, {
    hidden: ["hidden_size", "n_embed"],
    heads: ["n_head", "num_attention_heads"],
    blocks: ["n_layer", "num_hidden_layers"],
  });
  const { hidden, vocabulary, epsilon } = frame;
  settings.only("apply_residual_connection_post_layernorm", false);
  settings.only("n_inner", 4 * hidden);
  // Sums in another order (slow_but_exact), and notes of the training program.
  skip(settings, ["slow_but_exact", "attention_softmax_in_fp32", "bias_dropout_fusion", "masked_softmax_fusion"]);
  skip(settings, ["offset_alibi", "skip_bias_add", "skip_bias_add_qkv"]);
  const context = settings.optionalCount("seq_length");
  const root = weights.root("transformer.");
  const norm = root.layer("word_embeddings_layernorm", hidden, epsilon, true);
  const embedding = { ...plainEmbedding(root, "word_embeddings", vocabulary, hidden), norm };
  return {
    family: "bloom",
    hidden,
    vocabulary,
    ...(context === undefined ? {} : { context }),
    embedding,
    blocks: blocksOf(root, "h.", frame.blocks, (own) => bloomBlock(own, frame)),
    finalNorm: root.layer("ln_f", hidden, epsilon, true),
    head: headOf(settings, weights, "lm_head", embedding, true),
  };
}

function bloomBlock(weights: Weights, frame: Frame): BlockSpec {
  const { hidden, epsilon } = frame;
  const attention = neoxAttention(weights.under("self_attention."), frame, true);
  return sequentialBlock(
    {
      attention: weights.layer("input_layernorm", hidden, epsilon, true),
      mlp: weights.layer("post_attention_layernorm", hidden, epsilon, true),
    },
    {
      attention: { ...attention, alibi: plainAlibi(bloomSlopes(frame.heads)) },
      mlp: plainMlp(weights, NEOX_MLP, frame, "gelu_tanh", true),
    },
  );
}

interface MptAttention {
  /** Absent: 1 / sqrt(head size). */
  readonly scale?: number;
  readonly clip?: number;
}

function readMpt(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, {
    hidden: ["d_model", "hidden_size"],
    heads: ["n_heads", "num_attention_heads"],
    blocks: ["n_layers", "num_hidden_layers"],
  });
  const { hidden, vocabulary, epsilon } = frame;
  const context = settings.count("max_seq_len", 2048);
  const chosen = readMptAttention(settings);
  settings.only("expansion_ratio", 4);
  settings.only("no_bias", true);
  settings.choice("norm_type", { low_precision_layernorm: 0, layernorm: 0 }, "low_precision_layernorm");
  // ALiBi excludes learned positions; embedding_fraction scales gradients.
  skip(settings, ["learned_pos_emb", "embedding_fraction", "verbose", "name", "tokenizer_name"]);
  const root = weights.root("transformer.");
  const embedding = plainEmbedding(root, "wte", vocabulary, hidden);
  return {
    family: "mpt",
    hidden,
    vocabulary,
    context,
    embedding,
    blocks: blocksOf(root, "blocks.", frame.blocks, (own) => mptBlock(own, frame, chosen)),
    finalNorm: root.layer("norm_f", hidden, epsilon, false),
    head: headOf(settings, weights, "lm_head", embedding, true),
  };
}

/** attn_config. transformers always uses a largest exponent of 8, whatever is stored. */
function readMptAttention(settings: Settings): MptAttention {
  const own = settings.below("attn_config");
  if (own === undefined) return {};
  own.only("attn_type", "multihead_attention");
  own.only("alibi", true);
  own.only("alibi_bias_max", 8);
  for (const key of ["prefix_lm", "qk_ln", "attn_uses_sequence_id"]) own.only(key, false);
  skip(own, ["attn_impl"]);
  const scale = own.optionalNumber("softmax_scale");
  // 0 counts as absent in transformers.
  const clip = own.optionalNumber("clip_qkv") || undefined;
  own.finish("mpt");
  return { ...(scale === undefined ? {} : { scale }), ...(clip === undefined ? {} : { clip }) };
}

function mptBlock(weights: Weights, frame: Frame, chosen: MptAttention): BlockSpec {
  const { hidden, epsilon } = frame;
  const attention = fusedAttention(frame, "concatenated", {
    qkv: weights.linear("attn.Wqkv", hidden, fusedWidth(frame), false),
    output: weights.linear("attn.out_proj", hidden, hidden, false),
  });
  return sequentialBlock(
    {
      attention: weights.layer("norm_1", hidden, epsilon, false),
      mlp: weights.layer("norm_2", hidden, epsilon, false),
    },
    {
      attention: { ...attention, ...chosen, alibi: plainAlibi(mptSlopes(frame.heads, 8)) },
      mlp: plainMlp(weights, { up: "ffn.up_proj", down: "ffn.down_proj" }, frame, "gelu", false),
    },
  );
}

export const BLOOM_READERS: HfReaders = { bloom: readBloom, mpt: readMpt };
