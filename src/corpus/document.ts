// The faces between file formats and what reads them: a file in parts, a part in documents. Knows no format.
import type { ByteSource } from "../tensor/source.ts";
import type { DocumentRef } from "./batch.ts";

/** Text that is tokenized in one piece. */
export interface Document extends DocumentRef {
  readonly text: string;
  /** Whether a document begins and ends with it: false where a long one is read in pieces. */
  readonly begins: boolean;
  readonly ends: boolean;
}

/** A file that can be read from the start of any of its parts. */
export interface TextFile {
  readonly source: ByteSource;
  /** Which of a record's fields is the text, where there are any. */
  readonly field?: string;
  readonly parts: number;
  documents(part: number): AsyncIterable<Document>;
}

export async function* documentsOf(file: TextFile): AsyncGenerator<Document> {
  for (let part = 0; part < file.parts; part++) yield* file.documents(part);
}

/** UTF-16 units that are tokenized at once: bounds time, memory and stack where a tokenizer takes a text as one word. */
export const MAX_PIECE = 2 ** 16;

/** A text in pieces of at most MAX_PIECE, cut behind a line's end, else before a space, else between two characters. */
export function* pieces(text: string, ref: DocumentRef, begins = true, ends = true): Generator<Document> {
  for (let from = 0; from < text.length; ) {
    const to = pieceEnd(text, from);
    yield {
      ...ref,
      text: text.slice(from, to),
      begins: begins && from === 0,
      ends: ends && to === text.length,
    };
    from = to;
  }
}

function pieceEnd(text: string, from: number): number {
  const limit = from + MAX_PIECE;
  if (limit >= text.length) return text.length;
  const line = text.lastIndexOf("\n", limit - 1) + 1;
  if (line > from) return line;
  const space = text.lastIndexOf(" ", limit);
  if (space > from) return space;
  return isLowSurrogate(text.charCodeAt(limit)) ? limit - 1 : limit;
}

function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff;
}
