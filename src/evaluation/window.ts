// A stretch of a corpus that a model reads at once, and how many bytes of text it predicts. Runs no model.
import { IGNORED } from "../corpus/batch.ts";

/** Tokens that stand in no relation to other windows: each is read from position 0 on. */
export interface Window {
  /** Number of its corpus. */
  readonly corpus: number;
  /** [context]. */
  readonly ids: Int32Array;
  /** [context]: the token to be predicted at each position; IGNORED where it is of another document, or none. */
  readonly labels: Int32Array;
  /** Numbers of its documents within the corpus, in order: each but the last ends with an ignored label. */
  readonly documents: readonly number[];
}

/** The document of each position; undefined behind the last one. */
export function* documentsIn({ labels, documents }: Window): Generator<number | undefined> {
  let at = 0;
  for (const label of labels) {
    yield documents[at];
    if (label === IGNORED) at++;
  }
}

/** Positions with a token to be predicted. */
export function countedIn({ labels }: Window): number {
  let count = 0;
  for (const label of labels) if (label !== IGNORED) count++;
  return count;
}

/** What bytes are counted with: a tokenizer, as far as this needs one. */
export interface Decoder {
  readonly beginOfText: number | undefined;
  readonly endOfText: number | undefined;
  decode(ids: readonly number[]): string;
}

/**
 * UTF-8 bytes of the text that the counted labels stand for; marks of a document's ends stand for none. Each run of labels is decoded behind
 * the token before it, since what a token's text is may depend on it. Where a window cuts a character in two, it is off by up to 3 bytes.
 */
export function bytesIn({ ids, labels }: Window, tokenizer: Decoder): number {
  const bytes = (tokens: readonly number[]): number => Buffer.byteLength(tokenizer.decode(tokens));
  const isText = (id: number): boolean => id !== tokenizer.beginOfText && id !== tokenizer.endOfText;
  let sum = 0;
  for (let at = 0; at < labels.length; ) {
    if (labels[at] === IGNORED) {
      at++;
      continue;
    }
    const first = [ids[at] ?? 0].filter(isText);
    const run: number[] = [];
    for (; at < labels.length && labels[at] !== IGNORED; at++) run.push(labels[at] ?? 0);
    sum += bytes([...first, ...run.filter(isText)]) - (first.length === 0 ? 0 : bytes(first));
  }
  return sum;
}
