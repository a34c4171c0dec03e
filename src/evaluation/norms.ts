// How large the residual stream is behind each block, and how much of it that block added. Adds up; compares nothing.

/** Root mean squares over the finite values of one corpus. */
export interface BlockNorm {
  /** Of the state behind the block. */
  readonly state: number;
  /** Of what the block added: its output less its input. Exactly 0 for a copy that has not learned. */
  readonly added: number;
}

export interface CorpusNorms {
  /** Tokens that were looked at. */
  readonly tokens: number;
  /** Of the state that enters the first block. */
  readonly embedding: number;
  readonly blocks: readonly BlockNorm[];
}

interface Sum {
  squares: number;
  count: number;
}

export class Norms {
  readonly #corpora: readonly {
    tokens: number;
    readonly embedding: Sum;
    readonly state: Sum[];
    readonly added: Sum[];
  }[];

  constructor(corpora: number, blocks: number) {
    const sums = (): Sum[] => Array.from({ length: blocks }, zero);
    this.#corpora = Array.from({ length: corpora }, () => ({
      tokens: 0,
      embedding: zero(),
      state: sums(),
      added: sums(),
    }));
  }

  enter(corpus: number, state: Float32Array, tokens: number): void {
    const sums = this.#corpora[corpus];
    if (sums === undefined) return;
    sums.tokens += tokens;
    add(sums.embedding, state);
  }

  block(corpus: number, at: number, input: Float32Array, output: Float32Array): void {
    const [state, added] = [this.#corpora[corpus]?.state[at], this.#corpora[corpus]?.added[at]];
    if (state === undefined || added === undefined) return;
    add(state, output);
    add(added, output, input);
  }

  /** Undefined for a corpus that nothing was looked at of. */
  of(corpus: number): CorpusNorms | undefined {
    const sums = this.#corpora[corpus];
    if (sums === undefined || sums.tokens === 0) return undefined;
    const blocks = sums.state.map((state, at) => ({ state: root(state), added: root(sums.added[at] ?? zero()) }));
    return { tokens: sums.tokens, embedding: root(sums.embedding), blocks };
  }
}

function zero(): Sum {
  return { squares: 0, count: 0 };
}

function add(sum: Sum, values: Float32Array, less?: Float32Array): void {
  let [squares, count] = [0, 0];
  for (let at = 0; at < values.length; at++) {
    const value = (values[at] ?? 0) - (less?.[at] ?? 0);
    const square = value * value;
    if (!(square < Number.POSITIVE_INFINITY)) continue;
    squares += square;
    count++;
  }
  sum.squares += squares;
  sum.count += count;
}

function root({ squares, count }: Sum): number {
  return count === 0 ? 0 : Math.sqrt(squares / count);
}
