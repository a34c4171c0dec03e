// What a checkpoint means, whichever dialect it speaks. The only way from a checkpoint to an architecture.
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import type { Architecture } from "./architecture.ts";
import { understandGguf } from "./gguf/understand.ts";
import { understandHf } from "./hf/understand.ts";

export interface UnderstandOptions {
  /** Stack to expand where a model has several ("encoder", "decoder", "vision"); the record's first by default. */
  readonly stack?: string;
}

/** Throws "unsupported" for what is not known well enough to keep exact, "damaged" where names and settings contradict. */
export function understand(checkpoint: Checkpoint, options: UnderstandOptions = {}): Architecture {
  return checkpoint.config.dialect === "gguf" ? understandGguf(checkpoint) : understandHf(checkpoint, options);
}
