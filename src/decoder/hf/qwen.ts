// Readers of Qwen2 and Qwen3: llama with biases or normed queries and keys, and windows in the upper blocks.
import type { DecoderSpec } from "../spec.ts";
import type { Weights } from "../weights.ts";
import { type Frame, llamaBlock, llamaLike, readBias, readFrame } from "./llama.ts";
import { ACTIVATIONS, blockKinds, headRms, windowOf } from "./parts.ts";
import type { HfReaders } from "./reader.ts";
import { readRope } from "./rope.ts";
import type { Settings } from "./settings.ts";

/** The window of each block: with use_sliding_window, of those from max_window_layers on. */
function readWindows(settings: Settings, frame: Frame): readonly { readonly window?: number }[] {
  const stored = settings.optionalCount("sliding_window", 4096);
  const window = settings.flag("use_sliding_window", false) ? stored : undefined;
  const first = settings.number("max_window_layers", 28);
  const kinds = blockKinds(settings, frame.blocks, (index) =>
    window !== undefined && index >= first ? "sliding_attention" : "full_attention",
  );
  return kinds.map((kind) => windowOf(settings, kind, window));
}

function readQwen2(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, { context: 32768, epsilon: 1e-6, kvHeads: 32 });
  const rope = readRope(settings, { headSize: frame.heads.headSize, context: frame.context });
  const windows = readWindows(settings, frame);
  const activation = settings.choice("hidden_act", ACTIVATIONS, "silu");
  const bias = { qkv: true, output: false };
  return llamaLike("qwen2", settings, weights, frame, false, (block, index) =>
    llamaBlock(block, frame, { bias, activation, attention: { rope, ...windows[index] } }),
  );
}

function readQwen3(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, { context: 32768, epsilon: 1e-6, kvHeads: 32, headSize: 128 });
  const { headSize } = frame.heads;
  const rope = readRope(settings, { headSize, context: frame.context });
  const windows = readWindows(settings, frame);
  const activation = settings.choice("hidden_act", ACTIVATIONS, "silu");
  const bias = readBias(settings, false);
  return llamaLike("qwen3", settings, weights, frame, false, (block, index) => {
    const qNorm = headRms(block, "self_attn.q_norm", headSize, frame.epsilon);
    const kNorm = headRms(block, "self_attn.k_norm", headSize, frame.epsilon);
    return llamaBlock(block, frame, { bias, activation, attention: { rope, qNorm, kNorm, ...windows[index] } });
  });
}

export const QWEN_READERS: HfReaders = { qwen2: readQwen2, qwen3: readQwen3 };
