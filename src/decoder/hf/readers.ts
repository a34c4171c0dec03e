// The table of all readers of Hugging Face checkpoints, by model_type. Holds nothing else.
import { LLAMA_READERS } from "./llama.ts";
import type { HfReaders } from "./reader.ts";

export const HF_READERS: HfReaders = { ...LLAMA_READERS };
