// Readers of Persimmon, Nemotron and Arcee, whose plain MLPs square a ReLU; and of Seed-OSS, llama with biases of its own.
import type { BlockSpec, DecoderSpec, HeadNorm, Norm } from "../spec.ts";
import type { Weights } from "../weights.ts";
import { type Frame, llamaBlock, llamaLike, preNormBlock, readBias, readFrame } from "./llama.ts";
import { ACTIVATIONS, headOf, plainAttention, plainEmbedding, readHeads } from "./parts.ts";
import { blocksOf, fusedAttention, fusedWidth, plainMlp, sequentialBlock } from "./plain.ts";
import type { HfReaders } from "./reader.ts";
import { readRope } from "./rope.ts";
import type { Settings } from "./settings.ts";

/** As readFrame, for families that call their epsilon `epsilon`. */
function layerFrame(settings: Settings, context: number, epsilon: string): Frame {
  return {
    heads: readHeads(settings),
    vocabulary: settings.count("vocab_size"),
    blocks: settings.count("num_hidden_layers"),
    inner: settings.count("intermediate_size"),
    context: settings.count("max_position_embeddings", context),
    epsilon: settings.number(epsilon, 1e-5),
  };
}

/** llama's names around the blocks. */
function layerNormed(
  family: string,
  settings: Settings,
  weights: Weights,
  frame: Frame,
  parts: { readonly finalNorm: (root: Weights) => Norm; readonly block: (weights: Weights) => BlockSpec },
): DecoderSpec {
  const { vocabulary, context } = frame;
  const { hidden } = frame.heads;
  const root = weights.root("model.");
  weights.ignore(/\.rotary_emb\.inv_freq$/);
  const embedding = plainEmbedding(root, "embed_tokens", vocabulary, hidden);
  return {
    family,
    hidden,
    vocabulary,
    context,
    embedding,
    blocks: blocksOf(root, "layers.", frame.blocks, parts.block),
    finalNorm: parts.finalNorm(root),
    head: headOf(settings, weights, "lm_head", embedding, false),
  };
}

function readPersimmon(settings: Settings, weights: Weights): DecoderSpec {
  const frame = layerFrame(settings, 16384, "layer_norm_eps");
  const { heads, inner, epsilon } = frame;
  const { hidden, headSize } = heads;
  const rope = readRope(settings, { headSize, context: frame.context, partial: 0.5 });
  const activation = settings.choice("hidden_act", ACTIVATIONS, "relu2");
  const normed = settings.flag("qk_layernorm", true);
  const names = { up: "mlp.dense_h_to_4h", down: "mlp.dense_4h_to_h" };
  return layerNormed("persimmon", settings, weights, frame, {
    finalNorm: (root) => root.layer("final_layernorm", hidden, epsilon, true),
    block: (own) => {
      const self = own.under("self_attn.");
      const norm = (name: string): HeadNorm => ({ ...self.layer(name, headSize, epsilon, true), over: "head" });
      const attention = fusedAttention(heads, "grouped", {
        qkv: self.linear("query_key_value", hidden, fusedWidth(heads), true),
        output: self.linear("dense", hidden, hidden, true),
      });
      const norms = {
        attention: own.layer("input_layernorm", hidden, epsilon, true),
        mlp: own.layer("post_attention_layernorm", hidden, epsilon, true),
      };
      return sequentialBlock(norms, {
        attention: {
          ...attention,
          rope,
          ...(normed ? { qNorm: norm("q_layernorm"), kNorm: norm("k_layernorm") } : {}),
        },
        mlp: plainMlp(own, names, { hidden, inner }, activation, true),
      });
    },
  });
}

const UP_DOWN = { up: "mlp.up_proj", down: "mlp.down_proj" };

function readNemotron(settings: Settings, weights: Weights): DecoderSpec {
  const frame = layerFrame(settings, 4096, "norm_eps");
  const { hidden, headSize } = frame.heads;
  const sizes = { hidden, inner: frame.inner };
  const rope = readRope(settings, { headSize, context: frame.context, partial: 0.5 });
  const activation = settings.choice("hidden_act", ACTIVATIONS, "relu2");
  const bias = readBias(settings, false);
  const mlpBias = settings.flag("mlp_bias", false);
  // A LayerNorm of (1 + w).
  const norm = (own: Weights, name: string): Norm => ({
    ...own.layer(name, hidden, frame.epsilon, true),
    gainOffset: 1,
  });
  return layerNormed("nemotron", settings, weights, frame, {
    finalNorm: (root) => norm(root, "norm"),
    block: (own) =>
      sequentialBlock(
        { attention: norm(own, "input_layernorm"), mlp: norm(own, "post_attention_layernorm") },
        {
          attention: { ...plainAttention(own.under("self_attn."), frame.heads, bias), rope },
          mlp: plainMlp(own, UP_DOWN, sizes, activation, mlpBias),
        },
      ),
  });
}

function readArcee(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, { context: 4096, epsilon: 1e-5 });
  const { hidden, headSize } = frame.heads;
  const sizes = { hidden, inner: frame.inner };
  const rope = readRope(settings, { headSize, context: frame.context });
  const activation = settings.choice("hidden_act", ACTIVATIONS, "relu2");
  const bias = readBias(settings, false);
  const mlpBias = settings.flag("mlp_bias", false);
  return llamaLike("arcee", settings, weights, frame, false, (own) =>
    preNormBlock(own, frame, {
      attention: { ...plainAttention(own.under("self_attn."), frame.heads, bias), rope },
      mlp: plainMlp(own, UP_DOWN, sizes, activation, mlpBias),
    }),
  );
}

function readSeedOss(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, { context: 524288, epsilon: 1e-6, kvHeads: 8, headSize: 128 });
  const own = {
    bias: { qkv: settings.flag("attention_bias", true), output: settings.flag("attention_out_bias", false) },
    mlpBias: settings.flag("mlp_bias", false),
    activation: settings.choice("hidden_act", ACTIVATIONS, "silu"),
    attention: { rope: readRope(settings, { headSize: frame.heads.headSize, context: frame.context }) },
  };
  return llamaLike("seed_oss", settings, weights, frame, false, (block) => llamaBlock(block, frame, own));
}

export const SQUARED_READERS: HfReaders = {
  persimmon: readPersimmon,
  nemotron: readNemotron,
  arcee: readArcee,
  seed_oss: readSeedOss,
};
