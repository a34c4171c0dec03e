// The forward pass as a chain of small models, one step each, whose weights are inputs. Holds no weights and runs nothing.
import { ExpandError } from "../errors.ts";
import type { TensorRef } from "../tensor/reference.ts";
import type { DecoderSpec } from "./spec.ts";

/**
 * One step of the forward pass as a model of its own (opset 23, ai.onnx only, f32); its weights are graph inputs, so that one session
 * serves all stages with the same key.
 * embedding: "token_rows" [B,S,E] (rows of the table `rows`, gathered by the caller) and "position_ids" [B,S] int64 -> "hidden" [B,S,H].
 * block: "hidden" [B,S,H] and "position_ids" -> "hidden_out" [B,S,H]. Causal, without cache or padding.
 * head: "hidden", "rows" [v,E] (any run of rows of `rows`) and, where `rowBias` is given, "row_bias" [v] (the same run) -> "logits" [B,S,v].
 */
export interface Stage {
  readonly kind: "embedding" | "block" | "head";
  /** Of the block. */
  readonly index?: number;
  /** Stages with equal keys have equal models. */
  readonly key: string;
  /** A serialised ModelProto. */
  readonly model: Uint8Array;
  /** Graph input to tensor, to be decoded to f32. Shapes are those of the tensors. */
  readonly weights: ReadonlyMap<string, TensorRef>;
  /** The embedding table or the head matrix, [vocabulary, E]: never an input as a whole. */
  readonly rows?: TensorRef;
  /** The head's bias, [vocabulary]. */
  readonly rowBias?: TensorRef;
}

/** The embedding, every block in order, the head. Models are serialised when they are asked for, once for a key. */
export function stagesOf(_spec: DecoderSpec): readonly Stage[] {
  throw new ExpandError("bug", "stagesOf is not built yet");
}
