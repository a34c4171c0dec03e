// Architectures with attention and a dense feed-forward network in every block, all blocks alike (llama.cpp v0.5.0). Data only.
import type { GgufRecords } from "../family.ts";
import { deepstackFirst } from "../rules/particular.ts";
import { ATTENTION, DENSE, EXPERTS, LATENT, MTP, POST_NORMS, QK_NORM } from "./stems.ts";

const PLAIN = { stems: [ATTENTION, DENSE] };
const NORMED = { stems: [ATTENTION, QK_NORM, DENSE] };
/** RMSNorm on the output of each branch. */
const BEHIND = { attention: "post_attention_norm", mlp: "post_ffw_norm" };

export const DENSE_RECORDS: GgufRecords = {
  apertus: NORMED,
  arcee: PLAIN,
  bitnet: { stems: [ATTENTION, DENSE, "attn_sub_norm ffn_sub_norm"] },
  bloom: PLAIN,
  chameleon: NORMED,
  chatglm: PLAIN,
  codeshell: PLAIN,
  cogvlm: { stems: [ATTENTION, DENSE, "vis_attn_qkv vis_attn_output vis_gate vis_up vis_down"] },
  "command-r": NORMED,
  // Nemotron's searched blocks: attention, its replacement by one matrix, or the network may be missing.
  deci: { stems: [ATTENTION, DENSE], singleBranch: true },
  dream: PLAIN,
  ernie4_5: PLAIN,
  exaone: PLAIN,
  exaone4: {
    stems: [ATTENTION, QK_NORM, DENSE, POST_NORMS, MTP],
    outputNorms: BEHIND,
    counts: { of: [64], why: "readers switch the sliding window and half of the position encoding on" },
  },
  eurobert: PLAIN,
  falcon: { stems: [ATTENTION, DENSE, "attn_norm_2"] },
  gemma: PLAIN,
  glm4: { stems: [ATTENTION, DENSE, POST_NORMS, MTP], outputNorms: BEHIND },
  gpt2: PLAIN,
  gptneox: PLAIN,
  "hunyuan-dense": NORMED,
  hunyuan_vl: NORMED,
  internlm2: PLAIN,
  jais: PLAIN,
  jais2: PLAIN,
  llada: PLAIN,
  "llama-embed": { stems: [ATTENTION, DENSE, EXPERTS] },
  maincoder: NORMED,
  mpt: { stems: [ATTENTION, QK_NORM, DENSE, "ffn.act"] },
  nanbeige: PLAIN,
  nemotron: PLAIN,
  "neo-bert": { stems: [ATTENTION, DENSE], globals: "enc.output_norm" },
  olmo: PLAIN,
  openelm: NORMED,
  orion: PLAIN,
  paddleocr: PLAIN,
  "pangu-embedded": PLAIN,
  phi2: PLAIN,
  // llama.cpp switches its sliding window off.
  phi3: PLAIN,
  plamo: PLAIN,
  plm: { stems: [LATENT, DENSE] },
  qwen: PLAIN,
  qwen2: PLAIN,
  qwen2vl: PLAIN,
  qwen3: NORMED,
  qwen3tts: { ...NORMED, handles: ["n_deepstack_layers"], rules: [deepstackFirst] },
  qwen3vl: { ...NORMED, handles: ["n_deepstack_layers"], rules: [deepstackFirst] },
  // Its loader knows experts, its graph does not.
  refact: PLAIN,
  // post_attention_norm stands before the network here.
  seed_oss: { stems: [ATTENTION, DENSE, "post_attention_norm"] },
  stablelm: NORMED,
  starcoder: PLAIN,
  starcoder2: PLAIN,
  talkie: { stems: [ATTENTION, DENSE, "attn_q_norm layer_output_scale"] },
  xverse: PLAIN,
};
