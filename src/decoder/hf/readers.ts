// The table of all readers of Hugging Face checkpoints, by model_type. Holds nothing else.
import { BLOOM_READERS } from "./bloom.ts";
import { FALCON_READERS } from "./falcon.ts";
import { GPT_READERS } from "./gpt.ts";
import { GPT_OSS_READERS } from "./gpt-oss.ts";
import { LLAMA_READERS } from "./llama.ts";
import { MIXTURE_READERS } from "./mixture.ts";
import { NEOX_READERS } from "./neox.ts";
import { OPT_READERS } from "./opt.ts";
import type { HfReaders } from "./reader.ts";
import { STARCODER2_READERS } from "./starcoder2.ts";

export const HF_READERS: HfReaders = {
  ...LLAMA_READERS,
  ...BLOOM_READERS,
  ...FALCON_READERS,
  ...GPT_READERS,
  ...GPT_OSS_READERS,
  ...MIXTURE_READERS,
  ...NEOX_READERS,
  ...OPT_READERS,
  ...STARCODER2_READERS,
};
