// Corpora as windows, by one tokenizer: always in the same order, so that every model reads the same.
import { setImmediate } from "node:timers/promises";
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
    const read = await readCorpus(tokenizer, corpus, sources, options);
    if (read.windows.length === 0) {
      const fix = "Name a file with at least two tokens of text.";
      throw new ExpandError("input", "has no token that could be predicted", { at: `corpus ${name}`, fix });
    }
    for (const window of read.windows) windows.push(window);
    bytes.push(read.bytes);
  }
  return { tokenizer: tokenizer.digest, windows, bytes };
}

async function readCorpus(
  tokenizer: Tokenizer,
  number: number,
  sources: readonly CorpusSource[],
  { context, tokens, seed, signal }: TextOptions,
): Promise<{ readonly windows: readonly Window[]; readonly bytes: number }> {
  const order = { seed: seed ?? 0, shuffle: seed !== undefined, repeat: false, ...(signal && { signal }) };
  const corpus = await openCorpus(sources, { tokenizer, batch: 1, context, ...order });
  const windows: Window[] = [];
  let [counted, bytes] = [0, 0];
  for await (const { batch } of corpus.batches()) {
    // What comes of memory alone lets no signal in.
    await setImmediate();
    throwIfAborted(signal);
    const ids = Int32Array.from(batch.ids, Number);
    const window = { corpus: number, ids, labels: Int32Array.from(batch.labels, Number) };
    const own = countedIn(window);
    if (own === 0) continue;
    windows.push(window);
    bytes += bytesIn(window, tokenizer);
    counted += own;
    if (counted >= tokens) break;
  }
  return { windows, bytes };
}
