// A model that reads windows, however it is run.
import type { Norms } from "./norms.ts";
import type { Reading } from "./reading.ts";
import type { Window } from "./window.ts";

export interface Runner {
  readonly blocks: number;
  /** Token ids are below it. */
  readonly vocabulary: number;
  /** Tokens of a sequence that the model was made for, where it says so. */
  readonly context: number | undefined;
  /** Windows of `length` tokens that are read together. */
  together(length: number): number;
  /** Reads some windows of equal length, and yields how much of that is done, from 0 to 1. */
  read(windows: readonly Window[], norms: Norms): AsyncGenerator<number, Reading, void>;
  close(): Promise<void>;
}
