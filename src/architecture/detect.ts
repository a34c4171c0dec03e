// What a checkpoint means, whichever dialect it speaks. The only way from a checkpoint to an architecture.
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError } from "../errors.ts";
import type { Architecture } from "./architecture.ts";
import { understandGguf } from "./gguf/understand.ts";
import { understandHf } from "./hf/understand.ts";

export interface UnderstandOptions {
  /** Stack to expand where a model has several ("encoder", "decoder", "vision"); the record's first by default. */
  readonly stack?: string;
}

/** Throws "unsupported" for what is not known well enough to keep exact, "damaged" where names and settings contradict. */
export function understand(checkpoint: Checkpoint, options: UnderstandOptions = {}): Architecture {
  switch (checkpoint.config.dialect) {
    case "gguf":
      return understandGguf(checkpoint);
    case "hf":
      return understandHf(checkpoint, options);
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
