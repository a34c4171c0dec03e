// What the calling thread and the thread of the runtime say to each other. Data only: all of it must survive a structured clone.
import type { ValueInfo, Values } from "./values.ts";

export type Device = "cpu" | "cuda";
export type Optimization = "disabled" | "basic" | "extended" | "all";

export interface EngineOptions {
  readonly device: Device;
  /** Threads inside an operator; absent: onnxruntime's own choice, the number of cores. */
  readonly threads?: number;
  readonly optimization: Optimization;
  /** File URL of the onnxruntime-node module. */
  readonly module: string;
}

/** `to` numbers sessions and held values; the caller chooses the numbers. */
export type Request =
  | { readonly kind: "start" }
  | {
      readonly kind: "open";
      readonly to: number;
      readonly model: Uint8Array | string;
      readonly folder?: string;
      /** No node may run on the CPU when the device is another. */
      readonly strict?: boolean;
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
