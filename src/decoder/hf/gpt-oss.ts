// Reader of gpt-oss: attention sinks, alternating windows, stacked experts with biases and a clamped gate. Refuses other gates and packed weights.
import { type BlockSpec, type DecoderSpec, type GatedMlp, type MixtureMlp, slicesOf } from "../spec.ts";
import type { Weights } from "../weights.ts";
import { pairs } from "./experts.ts";
import { type Frame, llamaLike, preNormBlock, readFrame } from "./llama.ts";
import { countOf } from "./names.ts";
import { blockKinds, plainAttention } from "./parts.ts";
import type { HfReaders } from "./reader.ts";
import { readRope } from "./rope.ts";
import type { Settings } from "./settings.ts";

interface Mixture {
  readonly experts: number;
  readonly perToken: number;
  readonly limit: number;
}

function readGptOss(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, { context: 131072, epsilon: 1e-5, kvHeads: 8, headSize: 64 });
  if (!settings.has("rope_parameters") && !settings.has("rope_scaling")) {
    throw settings.refuse("rope_scaling", "is missing; gpt_oss has no rotation without scaling");
  }
  const rope = readRope(settings, { headSize: frame.heads.headSize, context: frame.context, base: 150000 });
  settings.only("hidden_act", "silu");
  // x * sigmoid(1.702 x) is the one such gate that has a name.
  settings.only("swiglu_alpha", 1.702);
  // What the training program called the original context of the rotation, which rope_scaling holds.
  settings.value("initial_context_length");
  const bias = settings.flag("attention_bias", true);
  const width = settings.count("sliding_window", 128);
  const kinds = blockKinds(settings, frame.blocks, (index) =>
    index % 2 === 0 ? "sliding_attention" : "full_attention",
  );
  const mixture = {
    experts: countOf(settings, ["num_local_experts", "num_experts"], 128),
    perToken: countOf(settings, ["num_experts_per_tok", "experts_per_token"], 4),
    limit: settings.number("swiglu_limit", 7),
  };
  return llamaLike("gpt_oss", settings, weights, frame, false, (block, index): BlockSpec => {
    const own = block.under("self_attn.");
    return preNormBlock(block, frame, {
      attention: {
        ...plainAttention(own, frame.heads, { qkv: bias, output: bias }),
        rope,
        sinks: own.get("sinks", [frame.heads.heads]),
        ...(kinds[index] === "sliding_attention" ? { window: width } : {}),
      },
      mlp: mixtureOf(block.under("mlp."), frame, mixture),
    });
  });
}

function mixtureOf(weights: Weights, frame: Frame, { experts, perToken, limit }: Mixture): MixtureMlp {
  return {
    kind: "mixture",
    router: {
      linear: weights.linear("router", frame.heads.hidden, experts, true),
      perToken,
      softmax: "selected",
      normalize: false,
      scale: 1,
    },
    experts: expertsOf(weights.under("experts."), frame, experts).map((linears) => ({
      kind: "gated",
      ...linears,
      activation: "gelu_quick",
      limit,
      upOffset: 1,
    })),
  };
}

/** gate_up_proj [experts, hidden, 2 * inner], an up after each gate, and down_proj [experts, inner, hidden], with biases. */
function expertsOf(weights: Weights, frame: Frame, experts: number): Pick<GatedMlp, "gateUp" | "down">[] {
  const { inner } = frame;
  const { hidden } = frame.heads;
  const linears = (name: string, inputs: number, outputs: number) =>
    pairs(
      slicesOf(weights.get(name, [experts, inputs, outputs])),
      slicesOf(weights.get(`${name}_bias`, [experts, outputs])),
    ).map(([weight, bias]) => ({ weight, bias, layout: "in_out" as const }));
  return pairs(linears("gate_up_proj", hidden, 2 * inner), linears("down_proj", inner, hidden)).map(
    ([linear, down]) => ({ gateUp: { form: "fused", linear, order: "interleaved" }, down }),
  );
}

export const GPT_OSS_READERS: HfReaders = { gpt_oss: readGptOss };
