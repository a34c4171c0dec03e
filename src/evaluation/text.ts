// Corpora as windows, by one tokenizer: always in the same order, so that every model reads the same.
import { IGNORED } from "../corpus/batch.ts";
import { type CorpusSource, openCorpus } from "../corpus/corpus.ts";
import type { Tokenizer } from "../corpus/tokenizer.ts";
import { ExpandError, throwIfAborted } from "../errors.ts";
import { bytesIn, countedIn, type Window } from "./window.ts";

/** A text to be evaluated on. */
export interface NamedCorpus {
  readonly name: string;
  readonly sources: readonly CorpusSource[];
}

/** Corpora as one tokenizer has them. */
export interface Text {
  /** SHA-256 of the tokenizer. */
  readonly tokenizer: string;
  /** Of all corpora, one after the other. 8 bytes a token stay in memory. */
  readonly windows: readonly Window[];
  /** By corpus: UTF-8 bytes that the counted tokens stand for. */
  readonly bytes: readonly number[];
}

export interface TextOptions {
  /** Tokens of a window. */
  readonly context: number;
  /** Of each corpus at most; a window is never cut. */
  readonly tokens: number;
  /** Documents in a seeded order; absent: as they stand. */
  readonly seed?: number;
  readonly signal?: AbortSignal;
}

/** Throws "input" for a corpus in which no token can be predicted. */
export async function readText(
  tokenizer: Tokenizer,
  corpora: readonly NamedCorpus[],
  options: TextOptions,
): Promise<Text> {
  const windows: Window[] = [];
  const bytes: number[] = [];
  for (const [corpus, { name, sources }] of corpora.entries()) {
    const start = windows.length;
    windows.push(...(await readWindows(tokenizer, corpus, sources, options)));
    if (windows.length === start) {
      const fix = "Name a file with at least two tokens of text.";
      throw new ExpandError("input", "has no token that could be predicted", { at: `corpus ${name}`, fix });
    }
    bytes.push(windows.slice(start).reduce((sum, window) => sum + bytesIn(window, tokenizer), 0));
  }
  return { tokenizer: tokenizer.digest, windows, bytes };
}

async function readWindows(
  tokenizer: Tokenizer,
  number: number,
  sources: readonly CorpusSource[],
  { context, tokens, seed, signal }: TextOptions,
): Promise<readonly Window[]> {
  const order = { seed: seed ?? 0, shuffle: seed !== undefined, repeat: false, ...(signal && { signal }) };
  const corpus = await openCorpus(sources, { tokenizer, batch: 1, context, ...order });
  const windows: Window[] = [];
  let counted = 0;
  for await (const { batch } of corpus.batches()) {
    throwIfAborted(signal);
    const window = {
      corpus: number,
      ids: Int32Array.from(batch.ids, Number),
      labels: Int32Array.from(batch.labels, Number),
    };
    if (window.labels.every((label) => label === IGNORED)) continue;
    windows.push(window);
    counted += countedIn(window);
    if (counted >= tokens) break;
  }
  return windows;
}
