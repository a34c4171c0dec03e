// Corpora as windows, by one tokenizer: always in the same order, so that every model reads the same.
import { setImmediate } from "node:timers/promises";
import { type DocumentRef, IGNORED, type Row } from "../corpus/batch.ts";
import type { CorpusSource } from "../corpus/corpus.ts";
import { openFiles } from "../corpus/files.ts";
import { DocumentReader } from "../corpus/reader.ts";
import { mixed } from "../corpus/shuffle.ts";
import { RowStream } from "../corpus/stream.ts";
import type { Tokenizer } from "../corpus/tokenizer.ts";
import { ExpandError, throwIfAborted } from "../errors.ts";
import { bytesIn, countedIn, type Window } from "./window.ts";

/** A text to be evaluated on. */
export interface NamedCorpus {
  readonly name: string;
  readonly sources: readonly Pick<CorpusSource, "path" | "field">[];
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
  /** Where each corpus ends at the latest: with the window that reaches so many tokens, or so many bytes of text (by corpus). */
  readonly until: { readonly tokens: number } | { readonly bytes: readonly number[] };
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
  for (const [number, corpus] of corpora.entries()) {
    const read = await readCorpus(tokenizer, number, corpus, options);
    if (read.windows.length === 0) {
      const fix = "Name a file with at least two tokens of text.";
      throw new ExpandError("input", "has no token that could be predicted", { at: `corpus ${corpus.name}`, fix });
    }
    for (const window of read.windows) windows.push(window);
    bytes.push(read.bytes);
  }
  return { tokenizer: tokenizer.digest, windows, bytes };
}

async function readCorpus(
  tokenizer: Tokenizer,
  number: number,
  { sources }: NamedCorpus,
  { context, until, seed, signal }: TextOptions,
): Promise<{ readonly windows: readonly Window[]; readonly bytes: number }> {
  const files = [];
  for (const { path, field } of sources) files.push(...(await openFiles(path, field)));
  const order = { seed: mixed(seed ?? 0, 0), shuffle: seed !== undefined, repeat: false };
  const reader = new DocumentReader(sources.map(({ path }) => path).join(", "), files, order);
  const rows = new RowStream([{ reader, weight: 1 }], tokenizer, context);
  const windows: Window[] = [];
  const known = new Map<string, number>();
  let [counted, bytes] = [0, 0];
  try {
    for (let row = await rows.row(); row !== undefined; row = await rows.row()) {
      // What comes of memory alone lets no signal in.
      await setImmediate();
      throwIfAborted(signal);
      const documents = row.documents.map((each) => numberOf(each, known));
      const window = { corpus: number, ...padded(row, context, tokenizer.endOfText ?? 0), documents };
      const own = countedIn(window);
      if (own === 0) continue;
      windows.push(window);
      bytes += bytesIn(window, tokenizer);
      counted += own;
      if ("tokens" in until ? counted >= until.tokens : bytes >= (until.bytes[number] ?? 0)) break;
    }
  } finally {
    await rows.close();
  }
  return { windows, bytes };
}

/** Of a document that is read in pieces, each piece has the place of all. */
function numberOf({ file, place }: DocumentRef, known: Map<string, number>): number {
  const key = `${file}\n${place}`;
  const number = known.get(key) ?? known.size;
  known.set(key, number);
  return number;
}

/** The last row of a corpus is shorter than the others. */
function padded({ ids, labels }: Row, context: number, padding: number): Pick<Window, "ids" | "labels"> {
  if (ids.length === context) return { ids, labels };
  const whole = { ids: new Int32Array(context).fill(padding), labels: new Int32Array(context).fill(IGNORED) };
  whole.ids.set(ids);
  whole.labels.set(labels);
  return whole;
}
