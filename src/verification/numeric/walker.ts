// One side of a comparison as something that advances block by block, however it is run.

/** A hidden state [batch, length, hidden], or logits, for each sitting. */
export type State = readonly Float32Array[];

export interface Walker {
  /** "BEFORE" or "AFTER"; for errors. */
  readonly name: string;
  readonly blocks: number;
  /** The state that enters the first block. */
  enter(): Promise<State>;
  /** The state behind block `at`, which `state` enters. */
  advance(at: number, state: State): Promise<State>;
  /** Stored bytes that `advance` reads: a measure of the work. */
  cost(at: number): number;
  /** Logits [batch, length, to - from] of some rows of the vocabulary, for the state behind the last block. */
  logits(state: State, from: number, to: number): Promise<State>;
}
