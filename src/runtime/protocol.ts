// What the calling thread and the thread of the runtime say to each other. Data only: all of it must survive a structured clone.
import type { ValueInfo, Values } from "./values.ts";

export type Device = "cpu" | "cuda";
export type Optimization = "disabled" | "basic" | "extended" | "all";

export interface EngineOptions {
  readonly device: Device;
  /** Threads inside an operator; absent: onnxruntime's own choice, the number of cores. */
  readonly threads?: number;
  readonly optimization: Optimization;
  /** Which of several CUDA devices; absent: the first. */
  readonly deviceId?: number;
  /** File URL of the onnxruntime-node module. */
  readonly module: string;
}

/** How one model is opened. All by onnxruntime's own names and defaults unless given. */
export interface SessionSettings {
  /** Where external data lies. */
  readonly folder?: string;
  /** No node may run on the CPU when the device is another. */
  readonly strict?: boolean;
  /** Optimizers that are left out, such as "ConstantFolding". */
  readonly without?: readonly string[];
  /**
   * Where the values of a run lie. planned, the default: in one piece, laid out after the first run, which stays beside what the first run
   * took. pooled: in pieces that are kept for the next run. returned: in memory that is given back at once.
   */
  readonly memory?: "planned" | "pooled" | "returned";
  /** Writes what onnxruntime has made of the model to this file. */
  readonly optimizedPath?: string;
}

/** `to` numbers sessions and held values; the caller chooses the numbers. */
export type Request =
  | { readonly kind: "start" }
  | {
      readonly kind: "open";
      readonly to: number;
      readonly model: Uint8Array | string;
      readonly settings: SessionSettings;
    }
  | {
      readonly kind: "run";
      readonly to: number;
      readonly feeds: Values;
      readonly held: readonly number[];
      readonly wanted?: readonly string[];
    }
  | { readonly kind: "close"; readonly to: number }
  | { readonly kind: "hold"; readonly to: number; readonly values: Values }
  | { readonly kind: "release"; readonly to: number };

export type Reply =
  | { readonly kind: "done" }
  | { readonly kind: "opened"; readonly inputs: readonly ValueInfo[]; readonly outputs: readonly ValueInfo[] }
  | { readonly kind: "values"; readonly values: Values }
  /** What onnxruntime says, in its words. */
  | { readonly kind: "failed"; readonly message: string };
