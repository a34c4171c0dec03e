// Text files as batches of token ids: mixed, packed, shuffled, repeated, and continued exactly from any cursor. Holds a window of rows in
// memory, never a file.
import { ExpandError, throwIfAborted } from "../errors.ts";
import { type Batch, batchOf, type Row } from "./batch.ts";
import { type Cursor, checkCursor, START } from "./cursor.ts";
import { fileDigest, valueDigest } from "./digest.ts";
import { documentsOf, type TextFile } from "./document.ts";
import { openFiles } from "./files.ts";
import { DocumentReader } from "./reader.ts";
import { mixed, shuffle } from "./shuffle.ts";
import { encodeDocument, RowStream } from "./stream.ts";
import type { Tokenizer } from "./tokenizer.ts";

export type { Batch, DocumentRef } from "./batch.ts";
export type { Cursor } from "./cursor.ts";

/** Tokens of the rows that are shuffled with one another: some 1 MB. */
const WINDOW_TOKENS = 2 ** 17;
/** Batches of a window at least, where batches are large. */
const WINDOW_BATCHES = 4;

export interface CorpusSource {
  /** A .txt, .jsonl or .parquet file, or a directory of them. */
  readonly path: string;
  /**
   * Share of the tokens, against the other sources' weights. Where no source has one, all files are one pool and an epoch has every document
   * once. Where any has one, the others weigh 1, each source has epochs of its own, and without `repeat` the corpus ends with the first source
   * that does.
   */
  readonly weight?: number;
  /** Of .jsonl and .parquet files. Default: "text", else the only one that holds text. */
  readonly field?: string;
}

export interface CorpusOptions {
  readonly tokenizer: Tokenizer;
  /** Rows. */
  readonly batch: number;
  /** Tokens of a row. */
  readonly context: number;
  /** A whole number from 0 to 2^53 - 1. */
  readonly seed: number;
  readonly shuffle: boolean;
  readonly repeat: boolean;
  readonly signal?: AbortSignal;
}

export interface CorpusCount {
  readonly documents: number;
  /** Of an epoch: begins and ends of texts are counted. With weights, until the first source ends. */
  readonly tokens: number;
}

export interface Corpus {
  /** Each batch, and where to continue behind it. Throws "input" when the cursor is of another corpus. */
  batches(from?: Cursor): AsyncGenerator<{ readonly batch: Batch; readonly after: Cursor }>;
  /** Identity of the files' content, the tokenizer and the options; a resumed run must have the same. */
  readonly digest: string;
  readonly files: readonly { readonly name: string; readonly bytes: number }[];
  /** Tokenizes everything once. */
  count(): Promise<CorpusCount>;
}

interface OpenSource {
  readonly name: string;
  readonly weight: number;
  readonly files: readonly TextFile[];
}

/** Reads the beginnings of the files, and their content for the digest. Throws "input" for a source that holds nothing but white space. */
export async function openCorpus(sources: readonly CorpusSource[], options: CorpusOptions): Promise<Corpus> {
  checkOptions(sources, options);
  const opened: OpenSource[] = [];
  for (const { path, weight, field } of sources)
    opened.push({ name: path, weight: weight ?? 1, files: await openFiles(path, field) });
  const isMixture = sources.some(({ weight }) => weight !== undefined);
  const pooled = isMixture ? opened : [pool(opened)];
  for (const source of pooled) await refuseBlank(source, options);
  const digest = await digestOf(pooled, options);
  return {
    digest,
    files: pooled.flatMap(({ files }) => files.map(({ source }) => ({ name: source.name, bytes: source.size }))),
    batches: (from) => batches(pooled, options, digest, from),
    count: () => count(pooled, options),
  };
}

function pool(sources: readonly OpenSource[]): OpenSource {
  const name = sources.map(({ name }) => name).join(", ");
  return { name, weight: 1, files: sources.flatMap(({ files }) => files) };
}

/** Reads the beginning of every file, so that what cannot be read is found before anything is begun; and on until there is more than white space. */
async function refuseBlank({ name, files }: OpenSource, { tokenizer, signal }: CorpusOptions): Promise<void> {
  let isBlank = true;
  for (const file of files) {
    for await (const document of documentsOf(file)) {
      throwIfAborted(signal);
      if (isBlank && document.text.trim() === "") continue;
      if (isBlank) encodeDocument(tokenizer, document);
      isBlank = false;
      break;
    }
  }
  if (isBlank) throw new ExpandError("input", "holds no text", { at: name, fix: "Give a file with text." });
}

function checkOptions(sources: readonly CorpusSource[], { batch, context, seed }: CorpusOptions): void {
  if (sources.length === 0) throw new ExpandError("usage", "no corpus was given", { fix: "Give --corpus FILE." });
  for (const [name, value] of Object.entries({ batch, context })) {
    if (!Number.isSafeInteger(value) || value < 1)
      throw new ExpandError("usage", `${name} must be a whole number from 1 up, not ${value}`, {
        fix: `Give --${name} 1 or more.`,
      });
  }
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new ExpandError("usage", `seed must be a whole number from 0 up, not ${seed}`, {
      fix: "Give --seed 0 or more.",
    });
  for (const { path, weight } of sources) {
    if (weight !== undefined && !(Number.isFinite(weight) && weight > 0))
      throw new ExpandError("usage", `weight must be above 0, not ${weight}`, {
        at: path,
        fix: "Give FILE=weight, such as code.jsonl=0.8.",
      });
  }
}

async function digestOf(sources: readonly OpenSource[], options: CorpusOptions): Promise<string> {
  const { tokenizer, batch, context, seed, shuffle, repeat } = options;
  const contents = [];
  for (const { weight, files } of sources) {
    const digests = [];
    for (const { source, field } of files) {
      throwIfAborted(options.signal);
      digests.push([await fileDigest(source), field ?? null]);
    }
    contents.push({ weight, files: digests });
  }
  return valueDigest({ version: 1, contents, tokenizer: tokenizer.digest, batch, context, seed, shuffle, repeat });
}

function streamOf(
  sources: readonly OpenSource[],
  { tokenizer, context, seed, shuffle, repeat }: CorpusOptions,
): RowStream {
  const shares = sources.map(({ name, weight, files }, at) => ({
    weight,
    reader: new DocumentReader(name, files, { seed: mixed(seed, at), shuffle, repeat }),
  }));
  return new RowStream(shares, tokenizer, context);
}

async function* batches(
  sources: readonly OpenSource[],
  options: CorpusOptions,
  digest: string,
  from: Cursor | undefined,
): AsyncGenerator<{ readonly batch: Batch; readonly after: Cursor }> {
  if (from !== undefined) checkCursor(from, digest, sources.length);
  const { batch, context, signal } = options;
  const padding = options.tokenizer.endOfText ?? 0;
  const stream = streamOf(sources, options);
  const length = windowRows(sources, options);
  let { window, taken, start } = from ?? { ...START, digest };
  if (start !== undefined) await stream.restore(start);
  try {
    for (; ; window++, taken = 0) {
      start = stream.state;
      const rows = await windowOf(stream, options, window, length);
      const total = Math.ceil(rows.length / batch);
      for (; taken < total; ) {
        throwIfAborted(signal);
        const chosen = rows.slice(taken * batch, (taken + 1) * batch);
        taken++;
        const after =
          taken < total
            ? { digest, window, taken, start }
            : { digest, window: window + 1, taken: 0, start: stream.state };
        yield { batch: batchOf(chosen, batch, context, padding), after };
      }
      if (rows.length < length) return;
    }
  } finally {
    await stream.close();
  }
}

/** Rows that are shuffled with one another. */
async function windowOf(
  stream: RowStream,
  options: CorpusOptions,
  window: number,
  length: number,
): Promise<readonly Row[]> {
  const rows: Row[] = [];
  while (rows.length < length) {
    throwIfAborted(options.signal);
    const row = await stream.row();
    if (row === undefined) break;
    rows.push(row);
  }
  if (options.shuffle) shuffle(rows, mixed(options.seed, window, rows.length));
  return rows;
}

/** A small corpus is not shuffled beyond its epochs: it has no more tokens than bytes, or not many. */
function windowRows(sources: readonly OpenSource[], { batch, context, shuffle }: CorpusOptions): number {
  if (!shuffle) return batch;
  const bytes = sources.flatMap(({ files }) => files).reduce((sum, { source }) => sum + source.size, 0);
  return batch * Math.max(WINDOW_BATCHES, Math.floor(Math.min(WINDOW_TOKENS, bytes) / (batch * context)));
}

async function count(sources: readonly OpenSource[], { tokenizer, signal }: CorpusOptions): Promise<CorpusCount> {
  let documents = 0;
  /** Tokens of the whole mixture when each source ends. */
  let tokens = Number.POSITIVE_INFINITY;
  const weights = sources.reduce((sum, { weight }) => sum + weight, 0);
  for (const { name, weight, files } of sources) {
    const reader = new DocumentReader(name, files, { seed: 0, shuffle: false, repeat: false });
    let own = 0;
    for (let found = await reader.next(); found !== undefined; found = await reader.next()) {
      throwIfAborted(signal);
      own += encodeDocument(tokenizer, found).length;
      if (found.ends) documents++;
    }
    tokens = Math.min(tokens, Math.round((own / weight) * weights));
  }
  return { documents, tokens };
}
