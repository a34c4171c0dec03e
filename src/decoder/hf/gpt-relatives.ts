// Readers of GPT-BigCode (StarCoder) and GPT-Neo: GPT-2 with one key head, or with local attention and no scale.
import type { BlockSpec, DecoderSpec, Embedding } from "../spec.ts";
import type { Weights } from "../weights.ts";
import { type GptFrame, readGptFrame } from "./gpt.ts";
import { countOf, skip } from "./names.ts";
import { ACTIVATIONS, headOf, plainEmbedding, separateQkv } from "./parts.ts";
import { blocksOf, fusedAttention, fusedWidth, plainMlp, sequentialBlock } from "./plain.ts";
import type { HfReaders } from "./reader.ts";
import type { Settings } from "./settings.ts";

/** GPT-2's names around its blocks. */
function gptLike(
  family: string,
  settings: Settings,
  weights: Weights,
  frame: GptFrame,
  block: (weights: Weights, index: number) => BlockSpec,
): DecoderSpec {
  const { hidden, vocabulary, positions } = frame;
  const root = weights.root("transformer.");
  const table = plainEmbedding(root, "wte", vocabulary, hidden);
  const embedding: Embedding = {
    ...table,
    positions: { weight: root.get("wpe.weight", [positions, hidden]), offset: 0 },
  };
  return {
    family,
    hidden,
    vocabulary,
    context: positions,
    embedding,
    blocks: blocksOf(root, "h.", frame.blocks, block),
    finalNorm: root.layer("ln_f", hidden, frame.epsilon, true),
    head: headOf(settings, weights, "lm_head", embedding, true),
  };
}

function gptNorms(weights: Weights, { hidden, epsilon }: GptFrame) {
  return {
    attention: weights.layer("ln_1", hidden, epsilon, true),
    mlp: weights.layer("ln_2", hidden, epsilon, true),
  };
}

const MLP_NAMES = { up: "mlp.c_fc", down: "mlp.c_proj" };

function readBigCode(settings: Settings, weights: Weights): DecoderSpec {
  const all = readGptFrame(settings, "gelu_pytorch_tanh");
  const single = settings.flag("multi_query", true);
  const frame: GptFrame = { ...all, kvHeads: single ? 1 : all.heads };
  const scale = settings.flag("scale_attn_weights", true) ? frame.headSize ** -0.5 : 1;
  settings.only("add_cross_attention", false);
  // Precision of half-precision runs, how its first implementation ran, and what multi_query says already.
  skip(settings, ["attention_softmax_in_fp32", "scale_attention_softmax_in_fp32", "num_key_value_heads"]);
  skip(settings, [
    "inference_runner",
    "validate_runner_input",
    "pre_allocate_kv_cache",
    "max_batch_size",
    "max_sequence_length",
  ]);
  weights.ignore(/(^|\.)attn\.(bias|masked_bias)$|^(transformer\.)?bias$/);
  const { hidden } = frame;
  return gptLike("gpt_bigcode", settings, weights, frame, (own) =>
    sequentialBlock(gptNorms(own, frame), {
      attention: {
        ...fusedAttention(frame, single ? "concatenated" : "grouped", {
          qkv: own.linear("attn.c_attn", hidden, fusedWidth(frame), true),
          output: own.linear("attn.c_proj", hidden, hidden, true),
        }),
        scale,
      },
      mlp: plainMlp(own, MLP_NAMES, frame, frame.activation, true),
    }),
  );
}

function readGptNeo(settings: Settings, weights: Weights): DecoderSpec {
  const hidden = countOf(settings, ["hidden_size"]);
  const heads = countOf(settings, ["num_heads", "num_attention_heads"]);
  if (hidden % heads !== 0) {
    throw settings.refuse("num_heads", `is ${heads}, which does not divide the width ${hidden}`);
  }
  const frame: GptFrame = {
    hidden,
    heads,
    kvHeads: heads,
    headSize: hidden / heads,
    vocabulary: settings.count("vocab_size"),
    blocks: countOf(settings, ["num_layers", "num_hidden_layers"]),
    positions: settings.count("max_position_embeddings", 2048),
    inner: settings.optionalCount("intermediate_size") ?? 4 * hidden,
    epsilon: settings.number("layer_norm_epsilon", 1e-5),
    activation: settings.choice("activation_function", ACTIVATIONS, "gelu_new"),
  };
  const width = settings.count("window_size", 256);
  const kinds = attentionKinds(settings, frame.blocks);
  weights.ignore(/\.attention\.(bias|masked_bias)$/);
  return gptLike("gpt_neo", settings, weights, frame, (own, index) =>
    neoBlock(own, frame, kinds[index] === "local" ? width : undefined),
  );
}

function neoBlock(weights: Weights, frame: GptFrame, window: number | undefined): BlockSpec {
  const { hidden, heads, headSize } = frame;
  const own = weights.under("attn.attention.");
  return sequentialBlock(gptNorms(weights, frame), {
    attention: {
      heads,
      kvHeads: heads,
      headSize,
      qkv: separateQkv(own, frame, false),
      output: own.linear("out_proj", hidden, hidden, true),
      scale: 1,
      ...(window === undefined ? {} : { window }),
    },
    mlp: plainMlp(weights, MLP_NAMES, frame, frame.activation, true),
  });
}

/** attention_types [[kinds, times], ...], written out; attention_layers, its expansion, must agree. */
function attentionKinds(settings: Settings, blocks: number): readonly string[] {
  const stored = settings.value("attention_types") ?? [[["global", "local"], 12]];
  const kinds = expanded(stored);
  const listed = settings.optionalTexts("attention_layers");
  if (kinds === undefined || kinds.some((kind) => kind !== "global" && kind !== "local")) {
    const text = JSON.stringify(stored);
    throw settings.refuse("attention_types", `is ${text}; runs of "global" and "local" were expected`);
  }
  if (kinds.length !== blocks) {
    throw settings.refuse("attention_types", `names ${kinds.length} blocks; there are ${blocks}`);
  }
  if (listed === undefined || listed.join() === kinds.join()) return kinds;
  throw settings.refuse("attention_layers", "is not what attention_types says");
}

function expanded(stored: unknown): string[] | undefined {
  if (!Array.isArray(stored)) return undefined;
  const kinds: string[] = [];
  for (const entry of stored) {
    const [words, times] = Array.isArray(entry) ? entry : [];
    if (!Array.isArray(words) || !Number.isSafeInteger(times)) return undefined;
    for (let run = 0; run < times; run++) kinds.push(...words.map(String));
  }
  return kinds;
}

export const GPT_RELATIVE_READERS: HfReaders = { gpt_bigcode: readBigCode, gpt_neo: readGptNeo };
