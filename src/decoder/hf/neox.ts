// Readers of GPT-NeoX, Phi and StableLM: LayerNorms and rotation of a part of each head. Refuse what they do not share.
import type { Activation, BlockSpec, DecoderSpec, HeadNorm, Rope } from "../spec.ts";
import type { Weights } from "../weights.ts";
import { ACTIVATIONS, gatedMlp, type Heads, headOf, plainAttention, plainEmbedding, readHeads } from "./parts.ts";
import { blocksOf, NEOX_MLP, neoxAttention, parallelBlock, plainMlp, sequentialBlock } from "./plain.ts";
import type { HfReaders } from "./reader.ts";
import { type RopeShape, readRope } from "./rope.ts";
import type { Settings } from "./settings.ts";

interface Frame extends Heads {
  readonly vocabulary: number;
  readonly blocks: number;
  readonly inner: number;
  readonly context: number;
  /** Of the LayerNorms. */
  readonly epsilon: number;
  readonly activation: Activation;
  readonly rope: Rope;
}

/** `rope`: what is not asked of the settings. */
function readFrame(
  settings: Settings,
  defaults: { readonly context: number; readonly activation: string; readonly rope: Partial<RopeShape> },
): Frame {
  const heads = readHeads(settings);
  const context = settings.count("max_position_embeddings", defaults.context);
  return {
    ...heads,
    vocabulary: settings.count("vocab_size"),
    blocks: settings.count("num_hidden_layers"),
    inner: settings.count("intermediate_size"),
    context,
    epsilon: settings.number("layer_norm_eps", 1e-5),
    activation: settings.choice("hidden_act", ACTIVATIONS, defaults.activation),
    rope: readRope(settings, { headSize: heads.headSize, context, ...defaults.rope }),
  };
}

function readNeox(settings: Settings, weights: Weights): DecoderSpec {
  for (const key of ["rope_theta", "partial_rotary_factor"]) {
    if (settings.has(key)) throw settings.refuse(key, "gpt_neox calls these rotary_emb_base and rotary_pct");
  }
  const base = settings.number("rotary_emb_base", 10000);
  const partial = settings.number("rotary_pct", 0.25);
  const frame = readFrame(settings, { context: 2048, activation: "gelu", rope: { base, partial } });
  const bias = settings.flag("attention_bias", true);
  const place = settings.flag("use_parallel_residual", true) ? parallelBlock : sequentialBlock;
  const root = weights.root("gpt_neox.");
  weights.ignore(/\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)$/);
  const { hidden, vocabulary, epsilon } = frame;
  const embedding = plainEmbedding(root, "embed_in", vocabulary, hidden);
  // lm_head is transformers 5's name in memory, embed_out the one on disk.
  const head = weights.has("lm_head.weight") ? "lm_head" : "embed_out";
  return {
    family: "gpt_neox",
    hidden,
    vocabulary,
    context: frame.context,
    embedding,
    blocks: blocksOf(root, "layers.", frame.blocks, (own) =>
      place(
        {
          attention: own.layer("input_layernorm", hidden, epsilon, true),
          mlp: own.layer("post_attention_layernorm", hidden, epsilon, true),
        },
        neoxInside(own, frame, bias),
      ),
    ),
    finalNorm: root.layer("final_layer_norm", hidden, epsilon, true),
    head: headOf(settings, weights, head, embedding, false),
  };
}

function neoxInside(weights: Weights, frame: Frame, bias: boolean): Pick<BlockSpec, "attention" | "mlp"> {
  return {
    attention: { ...neoxAttention(weights.under("attention."), frame, bias), rope: frame.rope },
    mlp: plainMlp(weights, NEOX_MLP, frame, frame.activation, true),
  };
}

function readPhi(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, { context: 2048, activation: "gelu_new", rope: { partial: 0.5 } });
  const normed = settings.flag("qk_layernorm", false);
  const { hidden, vocabulary } = frame;
  const root = weights.root("model.");
  weights.ignore(/\.rotary_emb\.inv_freq$/);
  const embedding = plainEmbedding(root, "embed_tokens", vocabulary, hidden);
  const head = headOf(settings, weights, "lm_head", embedding, false);
  return {
    family: "phi",
    hidden,
    vocabulary,
    context: frame.context,
    embedding,
    blocks: blocksOf(root, "layers.", frame.blocks, (own) => phiBlock(own, frame, normed)),
    finalNorm: root.layer("final_layernorm", hidden, frame.epsilon, true),
    head: { ...head, bias: weights.get("lm_head.bias", [vocabulary]) },
  };
}

function phiBlock(weights: Weights, frame: Frame, normed: boolean): BlockSpec {
  const { hidden, headSize, epsilon, rope } = frame;
  const own = weights.under("self_attn.");
  const norm = (name: string): HeadNorm => ({ ...own.layer(name, headSize, epsilon, true), over: "head" });
  return parallelBlock(
    { attention: weights.layer("input_layernorm", hidden, epsilon, true) },
    {
      attention: {
        ...plainAttention(own, frame, { qkv: true, output: true }, "dense"),
        rope,
        ...(normed ? { qNorm: norm("q_layernorm"), kNorm: norm("k_layernorm") } : {}),
      },
      mlp: plainMlp(weights, { up: "mlp.fc1", down: "mlp.fc2" }, frame, frame.activation, true),
    },
  );
}

function readStablelm(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, { context: 4096, activation: "silu", rope: { partial: 0.25 } });
  const bias = settings.flag("use_qkv_bias", false);
  const normed = settings.flag("qk_layernorm", false);
  const parallel = settings.flag("use_parallel_residual", false);
  const { hidden, vocabulary, epsilon } = frame;
  const root = weights.root("model.");
  weights.ignore(/\.rotary_emb\.inv_freq$/);
  const embedding = plainEmbedding(root, "embed_tokens", vocabulary, hidden);
  return {
    family: "stablelm",
    hidden,
    vocabulary,
    context: frame.context,
    embedding,
    blocks: blocksOf(root, "layers.", frame.blocks, (own) => {
      const attention = own.layer("input_layernorm", hidden, epsilon, true);
      const inside = stablelmInside(own, frame, bias, normed);
      if (parallel) return parallelBlock({ attention }, inside);
      return sequentialBlock({ attention, mlp: own.layer("post_attention_layernorm", hidden, epsilon, true) }, inside);
    }),
    finalNorm: root.layer("norm", hidden, epsilon, true),
    head: headOf(settings, weights, "lm_head", embedding, false),
  };
}

function stablelmInside(
  weights: Weights,
  frame: Frame,
  bias: boolean,
  normed: boolean,
): Pick<BlockSpec, "attention" | "mlp"> {
  const { hidden, heads, kvHeads, headSize, epsilon, rope } = frame;
  const own = weights.under("self_attn.");
  const norm = (name: string, count: number): HeadNorm => ({
    kind: "layer",
    epsilon,
    gainOffset: 0,
    over: "head",
    gains: Array.from({ length: count }, (_, head) => own.get(`${name}.norms.${head}.weight`, [headSize])),
  });
  return {
    attention: {
      ...plainAttention(own, frame, { qkv: bias, output: false }),
      rope,
      ...(normed ? { qNorm: norm("q_layernorm", heads), kNorm: norm("k_layernorm", kvHeads) } : {}),
    },
    mlp: gatedMlp(weights.under("mlp."), hidden, frame.inner, frame.activation),
  };
}

export const NEOX_READERS: HfReaders = { gpt_neox: readNeox, phi: readPhi, stablelm: readStablelm };
