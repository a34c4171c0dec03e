// Architectures that are not expanded, each with its reason (llama.cpp v0.5.0, read in source or measured). Data only.
import type { GgufRecords } from "../family.ts";

const UNTRIED = { refuse: "no model of it has been compared before and after in llama.cpp yet" };
const POST_NORM = {
  refuse: "it normalises the output of each block, so a copy with zeroed projections still changes it",
};
const DRAFT = { refuse: "it drafts for another model and names that model's blocks" };
const MIXED_STREAMS = { refuse: "its hyper-connections mix several streams, so the stream is not a sum of branches" };
const ENCODER_DECODER = { refuse: "its two stacks share one position bias, which only their first blocks hold" };

/** Measured: a source gives other logits token by token than in one batch, and ARWKV-7 changes with any block added. */
const INCONSISTENT = { refuse: "llama.cpp v0.5.0 does not agree with itself about it, so nothing can be proved" };

export const REFUSED_RECORDS: GgufRecords = {
  arwkv7: INCONSISTENT,
  baichuan: {
    refuse:
      "readers choose its position encoding by the block count: rotary with 32, ALiBi with 40, none with any other",
  },
  bert: POST_NORM,
  deepseek4: MIXED_STREAMS,
  dflash: DRAFT,
  eagle3: DRAFT,
  gemma3n: {
    refuse:
      "its AltUp and LAuReL paths are no sum of branches, and its key and value sharing starts at block 20 in every reader",
  },
  gemma4: {
    refuse:
      "it scales the whole stream in each block, its per-layer embeddings are as long as its blocks are many, and its last blocks share keys and values",
  },
  "gemma4-assistant": DRAFT,
  gptj: { refuse: "llama.cpp knows its name but cannot read it" },
  graniteswitch: { refuse: "adapters inside the file add to every output projection, token by token" },
  hrm_text: { refuse: "its block count must be the product of its stacks and cycles" },
  "jina-bert-v2": POST_NORM,
  "jina-bert-v3": POST_NORM,
  "kimi-k3": { refuse: "its attention residual joins blocks at every multiple of attn_res.block_size" },
  minicpm3: { refuse: "readers scale every branch by the block count, and no key says otherwise" },
  "minimax-01": {
    refuse: "its decay follows from the position of a block in the stack, and its residual is normalised",
  },
  "nomic-bert": POST_NORM,
  "nomic-bert-moe": POST_NORM,
  pockettts: UNTRIED,
  qwen4exp: MIXED_STREAMS,
  rwkv7: INCONSISTENT,
  t5: ENCODER_DECODER,
  t5encoder: ENCODER_DECODER,
  "wavtokenizer-dec": { refuse: "it is an audio decoder of convolutions and has no stack of like blocks" },
};
