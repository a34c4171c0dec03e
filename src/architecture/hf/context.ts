// What is known of the stack that grows, once a checkpoint has been understood. Data only.
import type { Axis } from "./axis.ts";
import type { Stack } from "./family.ts";
import type { Settings } from "./settings.ts";

/** What the engine knows about the stack that grows. */
export interface StackContext {
  readonly stack: Stack;
  readonly axes: readonly Axis[];
  readonly settings: Settings;
  readonly count: number;
  readonly tail: number;
  /** Why a block cannot be copied, by its index. */
  readonly locked: ReadonlyMap<number, string>;
}
