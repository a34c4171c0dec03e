// What every layout of a training step takes and gives. Types only.
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import type { Batch } from "../../corpus/batch.ts";
import type { Device } from "../../runtime/protocol.ts";
import type { Shape } from "../../tensor/dtype.ts";
import type { Adam } from "../optimizer/adamw.ts";
import type { ScaleState } from "../optimizer/scale.ts";

/**
 * host: the graph gives gradients, AdamW runs here (default on the CPU). graph: AdamW in the graph, its state in and out at every step.
 * loop: several steps and their micro-batches in Loops, so that state stays on the device (default on CUDA). offload: block by block, for
 * models larger than memory.
 */
export type Layout = "host" | "graph" | "loop" | "offload";

export interface TrainerOptions {
  readonly checkpoint: Checkpoint;
  /** Names of tensors; all others are frozen. */
  readonly trainable: ReadonlySet<string>;
  /** Sequences of one forward pass, their tokens, and forward passes of one step. */
  readonly batch: number;
  readonly context: number;
  readonly accumulate: number;
  readonly layout: Layout;
  /** Steps of one run of the layout "loop"; 1 unless given. */
  readonly loopSteps?: number;
  /** Keep block inputs only, and compute the rest again in the backward pass. */
  readonly checkpointing: boolean;
  /** Of products of matrices; weights, state, norms and losses are f32. */
  readonly dtype: "f32" | "f16" | "bf16";
  readonly adam: Adam;
  /** Largest global norm of gradients. */
  readonly clip?: number;
  readonly device: Device;
  readonly deviceId?: number;
  readonly threads?: number;
  /** Scratch, for weights that onnxruntime cannot read where they lie. Made when it is needed, never removed. */
  readonly folder: string;
  /** Stops between two steps. */
  readonly signal?: AbortSignal;
}

/** One optimizer step. */
export interface StepResult {
  /** Mean over the counted tokens of all micro-batches, before the update. */
  readonly loss: number;
  /** Tokens whose label is not ignored. */
  readonly tokens: number;
  /** Global norm of the gradients, before clipping. */
  readonly norm: number;
  /** True when loss and gradients are finite; otherwise the step changed no weight. */
  readonly finite: boolean;
  /** Not finite, under f16: the loss scale was too high and is now lower. */
  readonly skipped: boolean;
  /** The loss scale of this step; f16 only. */
  readonly scale?: number;
  /** When not finite: the trainable tensors whose gradients are not, in the checkpoint's order; none where already the loss is not. */
  readonly bad?: readonly string[];
}

/** Where a forward pass first gives values that are not finite. */
export interface Fault {
  /** Tensors that are read there. */
  readonly tensors: readonly string[];
  /** The first of them that holds such a value itself. */
  readonly broken?: string;
}

export interface TrainerState {
  /** Updates made; skipped steps are not counted. */
  readonly step: number;
  readonly scale?: ScaleState;
  /** f32 by tensor name: the weights, their first and second moments. */
  readonly weights: ReadonlyMap<string, Float32Array>;
  readonly m: ReadonlyMap<string, Float32Array>;
  readonly v: ReadonlyMap<string, Float32Array>;
}

export interface Trainer {
  readonly parameters: readonly { readonly name: string; readonly shape: Shape }[];
  /** One result a step; `steps[i]` holds `accumulate` batches, `rates[i]` its learning rate. After a step that is not finite (and not skipped) no further one is made. */
  run(steps: readonly (readonly Batch[])[], rates: readonly number[]): Promise<readonly StepResult[]>;
  /** Sum of losses and number of counted tokens, with the weights of now. */
  loss(batch: Batch): Promise<{ readonly sum: number; readonly tokens: number }>;
  /** Runs a forward pass again, on the weights of now. Undefined when it is finite throughout, or cannot be cut to be looked into. */
  trace(batches: readonly Batch[]): Promise<Fault | undefined>;
  /** The trainer's own arrays: read them before the next call. */
  state(): Promise<TrainerState>;
  /** Copies a state in. Throws "input" when it is of other tensors. */
  load(state: TrainerState): Promise<void>;
  close(): Promise<void>;
}

/** Of the batches of one step, each position weighted alike. */
export interface Gradients {
  /** Losses added up, not weighted. */
  readonly loss: number;
  /** By the input of the part. */
  readonly byInput: ReadonlyMap<string, Float32Array>;
}

export interface GradientSource {
  gradients(batches: readonly Batch[], weight: number): Promise<Gradients>;
  /** Sum of losses, with the weights of now; absent: the whole forward graph gives it. */
  loss?(batch: Batch): Promise<number>;
}
