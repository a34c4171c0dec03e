// Readers of OLMo (norms without weights), and of OLMo 2 and EXAONE 4, which norm what a branch adds and not what it reads.
import type { BlockSpec, DecoderSpec, HeadNorm, Norm } from "../spec.ts";
import type { Weights } from "../weights.ts";
import { type Frame, llamaLike, readBias, readFrame } from "./llama.ts";
import {
  ACTIVATIONS,
  blockKinds,
  gatedMlp,
  headOf,
  headRms,
  plainAttention,
  plainEmbedding,
  readHeads,
  windowOf,
} from "./parts.ts";
import type { HfReaders } from "./reader.ts";
import { readRope } from "./rope.ts";
import type { Settings } from "./settings.ts";

/** OLMo's only norm; the number stands in its code. */
const BARE: Norm = { kind: "layer", epsilon: 1e-5, gainOffset: 0 };

function readOlmo(settings: Settings, weights: Weights): DecoderSpec {
  const heads = readHeads(settings);
  const vocabulary = settings.count("vocab_size");
  const context = settings.count("max_position_embeddings", 2048);
  const inner = settings.count("intermediate_size");
  const rope = readRope(settings, { headSize: heads.headSize, context });
  const clip = settings.optionalNumber("clip_qkv");
  const bias = readBias(settings, false);
  const activation = settings.choice("hidden_act", ACTIVATIONS, "silu");
  const root = weights.root("model.");
  weights.ignore(/\.rotary_emb\.inv_freq$/);
  const embedding = plainEmbedding(root, "embed_tokens", vocabulary, heads.hidden);
  const blockOf = (block: Weights): BlockSpec => ({
    residual: "sequential",
    residualMultiplier: 1,
    attention: {
      ...plainAttention(block.under("self_attn."), heads, bias),
      rope,
      ...(clip === undefined ? {} : { clip }),
    },
    mlp: gatedMlp(block.under("mlp."), heads.hidden, inner, activation),
    attentionNorm: BARE,
    mlpNorm: BARE,
  });
  return {
    family: "olmo",
    hidden: heads.hidden,
    vocabulary,
    context,
    embedding,
    blocks: Array.from({ length: settings.count("num_hidden_layers") }, (_, i) => blockOf(root.under(`layers.${i}.`))),
    finalNorm: BARE,
    head: headOf(settings, weights, "lm_head", embedding, false),
  };
}

/** The norms that stand behind the branches. */
function postNorms(block: Weights, frame: Frame): Pick<BlockSpec, "attentionOutputNorm" | "mlpOutputNorm"> {
  return {
    attentionOutputNorm: block.rms("post_attention_layernorm", frame.heads.hidden, frame.epsilon),
    mlpOutputNorm: block.rms("post_feedforward_layernorm", frame.heads.hidden, frame.epsilon),
  };
}

function readOlmo2(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, { context: 2048, epsilon: 1e-5 });
  const { hidden, heads, kvHeads, headSize } = frame.heads;
  const rope = readRope(settings, { headSize, context: frame.context });
  const bias = readBias(settings, false);
  const activation = settings.choice("hidden_act", ACTIVATIONS, "silu");
  const wide = (block: Weights, name: string, count: number): HeadNorm => ({
    ...block.rms(`self_attn.${name}`, count * headSize, frame.epsilon),
    over: "all",
  });
  return llamaLike("olmo2", settings, weights, frame, false, (block) => ({
    residual: "sequential",
    residualMultiplier: 1,
    attention: {
      ...plainAttention(block.under("self_attn."), frame.heads, bias),
      rope,
      qNorm: wide(block, "q_norm", heads),
      kNorm: wide(block, "k_norm", kvHeads),
    },
    mlp: gatedMlp(block.under("mlp."), hidden, frame.inner, activation),
    ...postNorms(block, frame),
  }));
}

/** Where some blocks have a window, only these turn. */
function readExaone4(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, { context: 2048, epsilon: 1e-5, kvHeads: 32 });
  const { hidden, headSize } = frame.heads;
  const rope = readRope(settings, { headSize, context: frame.context });
  const activation = settings.choice("hidden_act", ACTIVATIONS, "silu");
  const window = settings.optionalCount("sliding_window", 4096);
  const pattern = settings.value("sliding_window_pattern") ?? 4;
  const kinds = blockKinds(settings, frame.blocks, (index) => {
    if (window === undefined) return "full_attention";
    if (typeof pattern === "number") return (index + 1) % pattern === 0 ? "full_attention" : "sliding_attention";
    throw settings.refuse("sliding_window_pattern", `is ${JSON.stringify(pattern)}, and layer_types is missing`);
  });
  return llamaLike("exaone4", settings, weights, frame, false, (block, index) => ({
    residual: "sequential",
    residualMultiplier: 1,
    attention: {
      ...plainAttention(block.under("self_attn."), frame.heads, { qkv: false, output: false }),
      ...(window === undefined || kinds[index] === "sliding_attention" ? { rope } : {}),
      qNorm: headRms(block, "self_attn.q_norm", headSize, frame.epsilon),
      kNorm: headRms(block, "self_attn.k_norm", headSize, frame.epsilon),
      ...windowOf(settings, kinds[index], window),
    },
    mlp: gatedMlp(block.under("mlp."), hidden, frame.inner, activation),
    ...postNorms(block, frame),
  }));
}

export const OLMO_READERS: HfReaders = { olmo: readOlmo, olmo2: readOlmo2, exaone4: readExaone4 };
