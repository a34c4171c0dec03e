// What a checkpoint's tensors mean: which belong to which block, which write the residual stream, which settings depend on a
// block's index. Two implementations, hf/ and gguf/; everything above this folder sees only these types.
import type { JsonValue } from "../json.ts";
import type { TensorRef } from "../tensor/reference.ts";
import type { Layout, SourceIndex } from "./layout.ts";

/** One tensor of a copy that must hold a fixed value. `pattern` is repeated over the tensor's bytes. */
export interface FixedTensor {
  readonly tensor: string;
  readonly pattern: Uint8Array;
  /** The number the pattern stands for, for people: 0, -1 (a gain of 1+w), 1 (a scale of the stream). */
  readonly value: number;
}

export type FactorKind = "projection" | "norm-gain" | "layer-scale";

/** Tensors that together close a branch: with all of them at their value, the branch adds exactly 0. */
export interface Factor {
  readonly kind: FactorKind;
  readonly tensors: readonly FixedTensor[];
}

/**
 * One branch that writes the residual stream (attention, mlp, ...). `factors` stand in series: exactly one must be closed in a
 * copy. None closed: the copy is not identity. Two closed: their gradients are 0 for ever. `preferred` is the index to close by default.
 */
export interface Branch {
  readonly name: string;
  readonly factors: readonly Factor[];
  readonly preferred: number;
  /** Why `preferred` is the better start, as a clause for the plan. */
  readonly why: string;
}

export interface Block {
  readonly index: SourceIndex;
  /** "sliding_attention", "moe", "mamba/dense", ...: blocks of one kind have the same tensor names and behave alike. */
  readonly kind: string;
  /** Name inside the block (prefix removed) to full tensor name, in checkpoint order. */
  readonly tensors: ReadonlyMap<string, string>;
  readonly branches: readonly Branch[];
  /** Tensors that must hold another fixed value in a copy, whichever factor is closed (a scale of the stream must be 1). */
  readonly fixed: readonly FixedTensor[];
  /** Names in `tensors` that are buffers, not weights: never trainable, never zeroed. */
  readonly buffers: ReadonlySet<string>;
}

/** One setting that changes with the block count or order. `before` absent: the key is new; `after` absent: the key is removed. */
export interface ConfigEdit {
  /** "config.json", "generation_config.json", ... or "metadata" for GGUF. */
  readonly document: string;
  /** Keys joined by dots for JSON documents; the key itself for GGUF. */
  readonly path: string;
  readonly before?: JsonValue;
  readonly after?: JsonValue;
  /** GGUF only: the value type to write, "u32", "[bool]", ... The type of an existing key never changes unless this says so. */
  readonly type?: string;
}

/** What an expanded layout requires of the settings. Warnings name readers that would misread the result. */
export interface Adaptation {
  readonly edits: readonly ConfigEdit[];
  readonly warnings: readonly string[];
  /** Tensors outside of the blocks that hold a slice for every block, with the slices of this layout; absent when there are none. */
  readonly resliced?: ReadonlyMap<string, TensorRef>;
}

/** The meaning of one opened checkpoint. Every tensor is in exactly one of `blocks`, `tail`, `outside`. */
export interface Architecture {
  /** Record that claimed it: "llama", "qwen3_moe", ... */
  readonly family: string;
  /** What the file calls itself: config.json model_type, GGUF general.architecture. */
  readonly modelType: string;
  /** Which stack of blocks is expanded: "text", "decoder", "encoder", ... */
  readonly stack: string;
  /** Stacks that could be chosen instead. */
  readonly stacks: readonly string[];
  readonly blocks: readonly Block[];
  /** Blocks after the last one that are not part of the residual stack (multi-token prediction): stay last, renumbered, never copied. */
  readonly tail: readonly Block[];
  readonly outside: readonly string[];
  /** Blocks repeat their kinds with this period; 1 when every block may be copied alone. Whole periods keep the pattern in every reader. */
  readonly period: number;
  /** True when a layout that breaks the period can still be written down (an explicit list); `adapt` then warns. */
  readonly periodIsOptional: boolean;
  /** Names in blocks that stand for one of several uses of a tensor: the tensor's own name. Only graphs have any; copies get tensors of their own. */
  readonly aliases?: ReadonlyMap<string, string>;
  /** Worth telling the user in a plan. */
  readonly notes: readonly string[];
  /** The name that a block's tensor has at another index. `tensor` is a full name out of `blocks` or `tail`. */
  rename(tensor: string, to: number): string;
  /** Settings for this layout. Throws "plan" when the layout would silently change what an original computes, naming why and the way out. */
  adapt(layout: Layout): Adaptation;
}
