// The table of all readers of Hugging Face checkpoints, by model_type. Holds nothing else.
import { BLOOM_READERS } from "./bloom.ts";
import { COHERE_READERS } from "./cohere.ts";
import { FALCON_READERS } from "./falcon.ts";
import { GEMMA_READERS } from "./gemma.ts";
import { GPT_READERS } from "./gpt.ts";
import { GPT_OSS_READERS } from "./gpt-oss.ts";
import { GPT_RELATIVE_READERS } from "./gpt-relatives.ts";
import { LLAMA_READERS } from "./llama.ts";
import { MIXTURE_READERS } from "./mixture.ts";
import { MIXTURE_RELATIVE_READERS } from "./mixture-relatives.ts";
import { NEOX_READERS } from "./neox.ts";
import { OLMO_READERS } from "./olmo.ts";
import { OPT_READERS } from "./opt.ts";
import { PHI3_READERS } from "./phi3.ts";
import { QWEN_READERS } from "./qwen.ts";
import type { HfReaders } from "./reader.ts";
import { SQUARED_READERS } from "./squared.ts";
import { STARCODER2_READERS } from "./starcoder2.ts";

export const HF_READERS: HfReaders = {
  ...LLAMA_READERS,
  ...QWEN_READERS,
  ...GEMMA_READERS,
  ...PHI3_READERS,
  ...OLMO_READERS,
  ...COHERE_READERS,
  ...BLOOM_READERS,
  ...FALCON_READERS,
  ...GPT_READERS,
  ...GPT_OSS_READERS,
  ...MIXTURE_READERS,
  ...NEOX_READERS,
  ...OPT_READERS,
  ...STARCODER2_READERS,
  ...GPT_RELATIVE_READERS,
  ...MIXTURE_RELATIVE_READERS,
  ...SQUARED_READERS,
};
