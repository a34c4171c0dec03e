// What a checkpoint means, whichever dialect it speaks. The only way from a checkpoint to an architecture.
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError } from "../errors.ts";
import type { Architecture } from "./architecture.ts";

export interface UnderstandOptions {
  /** Stack to expand where a model has several ("encoder", "decoder", "vision"); the record's first by default. */
  readonly stack?: string;
}

/**
 * Throws "unsupported" for what is not known well enough to keep exact, "damaged" where names and settings contradict. The records of
 * a dialect are loaded when they are needed.
 */
export async function understand(checkpoint: Checkpoint, options: UnderstandOptions = {}): Promise<Architecture> {
  switch (checkpoint.config.dialect) {
    case "gguf":
      return (await import("./gguf/understand.ts")).understandGguf(checkpoint);
    case "hf":
      return (await import("./hf/understand.ts")).understandHf(checkpoint, options);
    case "onnx":
      throw new ExpandError(
        "unsupported",
        "is an ONNX graph, whose blocks are found by structure and not by tensor names",
        {
          at: checkpoint.location,
          fix: "Give the safetensors, torch or GGUF checkpoint that it was made from.",
        },
      );
  }
}
