// Reader of StarCoder2: llama's attention between LayerNorms, a plain MLP, biases, one sliding window for all blocks.
import type { BlockSpec, DecoderSpec } from "../spec.ts";
import type { Weights } from "../weights.ts";
import { skip } from "./names.ts";
import { ACTIVATIONS, headOf, plainAttention, plainEmbedding, readHeads } from "./parts.ts";
import { blocksOf, plainMlp, sequentialBlock } from "./plain.ts";
import type { HfReaders } from "./reader.ts";
import { readRope } from "./rope.ts";
import type { Settings } from "./settings.ts";

function readStarcoder2(settings: Settings, weights: Weights): DecoderSpec {
  const heads = readHeads(settings, { kvHeads: 2 });
  const { hidden } = heads;
  const vocabulary = settings.count("vocab_size");
  const context = settings.count("max_position_embeddings", 4096);
  const inner = settings.count("intermediate_size");
  const epsilon = settings.number("norm_epsilon", 1e-5);
  const activation = settings.choice("hidden_act", ACTIVATIONS, "gelu_pytorch_tanh");
  const bias = settings.flag("use_bias", true);
  const window = settings.optionalCount("sliding_window");
  const rope = readRope(settings, { headSize: heads.headSize, context });
  settings.only("mlp_type", "default");
  settings.only("norm_type", "layer_norm");
  // Left over from gpt_bigcode's settings in the published files; transformers reads none of them.
  skip(settings, ["activation_function", "layer_norm_epsilon", "scale_attn_weights"]);
  skip(settings, ["attention_softmax_in_fp32", "scale_attention_softmax_in_fp32"]);
  const root = weights.root("model.");
  weights.ignore(/\.rotary_emb\.inv_freq$/);
  const positions = window === undefined ? { rope } : { rope, window };
  const block = (own: Weights): BlockSpec =>
    sequentialBlock(
      {
        attention: own.layer("input_layernorm", hidden, epsilon, true),
        mlp: own.layer("post_attention_layernorm", hidden, epsilon, true),
      },
      {
        attention: { ...plainAttention(own.under("self_attn."), heads, { qkv: bias, output: bias }), ...positions },
        mlp: plainMlp(own, { up: "mlp.c_fc", down: "mlp.c_proj" }, { hidden, inner }, activation, bias),
      },
    );
  const embedding = plainEmbedding(root, "embed_tokens", vocabulary, hidden);
  return {
    family: "starcoder2",
    hidden,
    vocabulary,
    context,
    embedding,
    blocks: blocksOf(root, "layers.", settings.count("num_hidden_layers"), block),
    finalNorm: root.layer("norm", hidden, epsilon, true),
    head: headOf(settings, weights, "lm_head", embedding, true),
  };
}

export const STARCODER2_READERS: HfReaders = { starcoder2: readStarcoder2 };
