// Encoder-decoders: two stacks, one of which is expanded. Data only.
import type { Axis } from "../axis.ts";
import type { Family, Module, Slot, Stack } from "../family.ts";
import { firstApart, lastFull } from "./axes.ts";
import { fairseqParts } from "./gpt.ts";
import { behindNorm, fcMlp, gain, mlp, norms, nothing, part } from "./parts.ts";
import { HEAD } from "./stacks.ts";

const other = (name: string): string => (name === "encoder" ? "decoder" : "encoder");

/** Both stacks of a model, the decoder first: it is the one that is expanded unless the user says otherwise. */
const both = (make: (name: "encoder" | "decoder") => Stack): readonly Stack[] => [make("decoder"), make("encoder")];

const crossAttention: readonly Slot[] = [
  norms("encoder_attn_layer_norm"),
  part("cross", "encoder_attn.{q,k,v}_proj.@", "cross-attention", "encoder_attn.out_proj.@"),
];

/** Bart's relatives with the norm in front of the branch. num_hidden_layers repeats encoder_layers. */
const fairseq = (name: string, more: Partial<Family> = {}, fields: Partial<Stack> = {}): Family => ({
  name,
  outside: "lm_head.weight? proj_out.weight? final_logits_bias?",
  ...more,
  stacks: both((stack) => ({
    name: stack,
    scopes: [""],
    bases: ["model.", ""],
    block: `${stack}.layers.{i}.`,
    count: stack === "encoder" ? ["encoder_layers", "num_hidden_layers"] : ["decoder_layers"],
    slots: stack === "encoder" ? fairseqParts : [...fairseqParts, ...crossAttention],
    outside: `shared.weight? ${other(stack)}.** ${stack}.embed_{tokens,positions}.** ${stack}.{layer_norm,layernorm_embedding}.@? ${stack}.{conv,conv1,conv2}.**`,
    ...fields,
  })),
});

const T5_NORM = "layer_norm.weight";
/** Position biases stand in block 0 only; with `everywhere` in every block. */
const t5Attention = (attention: string, everywhere: boolean, extra = ""): Slot => {
  const plain = part(
    "rest",
    `layer.0.${attention}.{q,k,v}.weight layer.0.${T5_NORM} ${extra}`,
    "attention",
    `layer.0.${attention}.o.weight`,
  );
  const biased: Module = {
    ...plain,
    name: "first",
    // Old files carry a bias of the cross attention that nothing reads.
    tensors: `${plain.tensors} layer.0.${attention}.relative_attention_bias.weight layer.0.${attention}.global_relative_attention_bias.weight? layer.1.EncDecAttention.relative_attention_bias.weight?`,
  };
  return everywhere ? { ...biased, name: "attention" } : [biased, plain];
};
const t5Cross = part(
  "cross",
  `layer.1.EncDecAttention.{q,k,v}.weight layer.1.${T5_NORM}`,
  "cross-attention",
  "layer.1.EncDecAttention.o.weight",
);
const t5Dense = (at: number): Module =>
  part(
    "dense",
    `layer.${at}.DenseReluDense.{wi?,wi_0?,wi_1?}.weight layer.${at}.${T5_NORM}`,
    "mlp",
    `layer.${at}.DenseReluDense.wo.weight`,
  );
const switchFeedForward = (at: number): Slot => [
  part(
    "moe",
    `layer.${at}.mlp.experts.expert_{e}.wi.weight layer.${at}.mlp.router.classifier.weight layer.${at}.${T5_NORM}`,
    "moe",
    `layer.${at}.mlp.experts.expert_{e}.wo.weight`,
  ),
  part("dense", `layer.${at}.mlp.wi.weight layer.${at}.${T5_NORM}`, "mlp", `layer.${at}.mlp.wo.weight`),
];

interface T5Options {
  readonly encoderAttention?: Slot;
  readonly everywhere?: boolean;
  readonly feedForward?: (at: number) => Slot;
  readonly axes?: (stack: string) => readonly Axis[];
}

const t5 = (name: string, options: T5Options = {}): Family => {
  const { everywhere = false, feedForward = t5Dense } = options;
  const selfAttention = t5Attention("SelfAttention", everywhere);
  return {
    name,
    outside: "lm_head.weight?",
    stacks: both((stack) => ({
      name: stack,
      scopes: [""],
      bases: [""],
      block: `${stack}.block.{i}.`,
      count: stack === "encoder" ? ["num_layers"] : ["num_decoder_layers"],
      // Without its own count the decoder has as many blocks as the encoder.
      ...(stack === "encoder" ? { pins: ["num_decoder_layers"] } : { countDefault: "num_layers" }),
      slots:
        stack === "encoder"
          ? [options.encoderAttention ?? selfAttention, feedForward(1)]
          : [selfAttention, t5Cross, feedForward(2)],
      axes: [...(everywhere ? [] : [firstApart]), ...(options.axes?.(stack) ?? [])],
      outside: `shared.weight? ${other(stack)}.** ${stack}.embed_tokens.weight? ${stack}.final_layer_norm.weight`,
    })),
  };
};

const SPARSE = { dense: "dense", moe: "moe" };

/** The step is blocks // sparse blocks, computed at load. */
const switchAxes = (stack: string): readonly Axis[] => [
  {
    name: "mlp",
    sources: [
      { from: "share", field: `num_sparse_${stack}_layers`, hit: "moe", miss: "dense" },
      { from: "always", kind: "dense" },
    ],
    modules: SPARSE,
  },
];

const nllbMoe = (stack: "encoder" | "decoder"): Stack => ({
  name: stack,
  scopes: [""],
  bases: ["model.", ""],
  block: `${stack}.layers.{i}.`,
  count: stack === "encoder" ? ["encoder_layers", "num_hidden_layers"] : ["decoder_layers"],
  slots: [
    norms("self_attn_layer_norm", "ff_layer_norm"),
    part("attention", "self_attn.{q,k,v}_proj.@", "attention", "self_attn.out_proj.@"),
    ...(stack === "encoder"
      ? []
      : [
          norms("cross_attention_layer_norm"),
          part("cross", "cross_attention.{q,k,v}_proj.@", "cross-attention", "cross_attention.out_proj.@"),
        ]),
    [
      part("moe", "ffn.experts.expert_{e}.fc1.@ ffn.router.classifier.@", "moe", "ffn.experts.expert_{e}.fc2.@"),
      part("dense", "ffn.fc1.@", "mlp", "ffn.fc2.@"),
    ],
  ],
  axes: [
    {
      name: "mlp",
      sources: [{ from: "every", field: `${stack}_sparse_step`, period: 4, phase: -1, hit: "moe", miss: "dense" }],
      modules: SPARSE,
    },
  ],
  outside: `shared.weight? ${other(stack)}.** ${stack}.embed_{tokens,positions}.** ${stack}.layer_norm.@`,
});

const moonshine = (stack: "encoder" | "decoder"): Stack => ({
  name: stack,
  scopes: [""],
  bases: ["model.", ""],
  block: `${stack}.layers.{i}.`,
  count: [`${stack}_num_hidden_layers`],
  slots: [
    norms("input_layernorm", "post_attention_layernorm"),
    part("attention", "self_attn.{q,k,v}_proj.@", "attention", "self_attn.o_proj.@"),
    fcMlp,
    stack === "encoder"
      ? nothing()
      : part("cross", "encoder_attn.{q,k,v}_proj.@ final_layernorm.@", "cross-attention", "encoder_attn.o_proj.@"),
  ],
  outside: `${other(stack)}.** ${stack}.embed_tokens.weight? ${stack}.{norm,layer_norm,groupnorm}.@? ${stack}.{conv1,conv2,conv3}.@?`,
});

const t5gemma = (stack: "encoder" | "decoder"): Stack => ({
  name: stack,
  scopes: [stack],
  bases: ["model.", ""],
  block: `${stack}.layers.{i}.`,
  count: ["num_hidden_layers"],
  slots: [
    norms("pre_self_attn_layernorm", "pre_feedforward_layernorm"),
    behindNorm(
      part("attention", "self_attn.{q,k,v}_proj.@", "attention", "self_attn.o_proj.@"),
      gain("post_self_attn_layernorm.weight", -1),
    ),
    stack === "encoder"
      ? nothing()
      : behindNorm(
          part(
            "cross",
            "cross_attn.{q,k,v}_proj.@ pre_cross_attn_layernorm.weight",
            "cross-attention",
            "cross_attn.o_proj.@",
          ),
          gain("post_cross_attn_layernorm.weight", -1),
        ),
    behindNorm(mlp, gain("post_feedforward_layernorm.weight", -1)),
  ],
  axes: [lastFull(2)],
  outside: `${other(stack)}.** ${stack}.{embed_tokens,norm}.weight`,
});

/** generation_config.json lists [block, head] pairs of the decoder, for word timestamps. */
const whisper: Family = {
  ...fairseq("whisper"),
  stacks: fairseq("whisper").stacks.map((stack) =>
    stack.name === "encoder"
      ? stack
      : { ...stack, fields: [{ field: "alignment_heads", rule: "pairs", document: "generation_config.json" }] },
  ),
};

export const seq2seqs: readonly Family[] = [
  fairseq("m2m_100"),
  fairseq("mbart"),
  fairseq("blenderbot"),
  fairseq("pegasus"),
  fairseq("speech_to_text"),
  whisper,
  t5("t5"),
  t5("mt5"),
  t5("umt5", { everywhere: true }),
  t5("longt5", {
    encoderAttention: [
      ...[t5Attention("LocalSelfAttention", false)].flat(),
      ...[
        t5Attention(
          "TransientGlobalSelfAttention",
          false,
          "layer.0.TransientGlobalSelfAttention.global_input_layer_norm.weight",
        ),
      ].flat(),
    ],
  }),
  t5("switch_transformers", { feedForward: switchFeedForward, axes: switchAxes }),
  { name: "nllb-moe", stacks: both(nllbMoe), outside: HEAD },
  { name: "moonshine", stacks: both(moonshine), outside: "proj_out.weight?" },
  { name: "t5gemma", stacks: both(t5gemma), outside: "lm_head.**" },
];
