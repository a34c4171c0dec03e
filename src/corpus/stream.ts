// Documents of several sources as one stream of token rows: sources by their shares, documents one behind the other, rows of one length.
// Its whole state is a few numbers, from which it continues exactly.
import { ExpandError } from "../errors.ts";
import { type DocumentRef, IGNORED, type Row } from "./batch.ts";
import type { Document } from "./document.ts";
import type { DocumentReader, Position } from "./reader.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface Share {
  readonly reader: DocumentReader;
  /** Of the tokens; only their ratios count. */
  readonly weight: number;
}

/** The document that the next row begins with, where the last one did not end with a document. */
export interface OpenDocument {
  readonly source: number;
  readonly at: Position;
  /** Tokens of it that were given out. */
  readonly given: number;
}

export interface StreamState {
  /** By source. */
  readonly positions: readonly Position[];
  /** Tokens drawn of each source. */
  readonly drawn: readonly number[];
  readonly open?: OpenDocument;
}

interface Tokens extends DocumentRef {
  readonly ids: readonly number[];
}

export class RowStream {
  readonly #shares: readonly Share[];
  readonly #tokenizer: Tokenizer;
  readonly #context: number;
  #drawn: number[];
  #open: (OpenDocument & { readonly tokens: Tokens }) | undefined;

  constructor(shares: readonly Share[], tokenizer: Tokenizer, context: number) {
    this.#shares = shares;
    this.#tokenizer = tokenizer;
    this.#context = context;
    this.#drawn = shares.map(() => 0);
  }

  get state(): StreamState {
    const positions = this.#shares.map(({ reader }) => reader.position);
    const drawn = [...this.#drawn];
    if (this.#open === undefined) return { positions, drawn };
    const { source, at, given } = this.#open;
    return { positions, drawn, open: { source, at, given } };
  }

  async restore(state: StreamState): Promise<void> {
    this.#drawn = this.#shares.map((_, source) => state.drawn[source] ?? 0);
    this.#open = undefined;
    if (state.open !== undefined) {
      const { source, at } = state.open;
      const reader = this.#shares[source]?.reader;
      await reader?.seek(at);
      const document = await reader?.next();
      if (document === undefined)
        throw new ExpandError("damaged", `the cursor names source ${source}, which is not there`);
      this.#open = { ...state.open, tokens: this.#encode(document) };
    }
    for (const [source, { reader }] of this.#shares.entries()) {
      const position = state.positions[source];
      if (position !== undefined && !isSame(position, reader.position)) await reader.seek(position);
    }
  }

  /** The next row; a shorter one behind the last document, and then undefined. */
  async row(): Promise<Row | undefined> {
    const ids: number[] = [];
    const labels: number[] = [];
    const documents: DocumentRef[] = [];
    while (ids.length < this.#context) {
      this.#open ??= await this.#draw();
      if (this.#open === undefined) break;
      const { tokens, given } = this.#open;
      const to = Math.min(given + this.#context - ids.length, tokens.ids.length);
      documents.push({ file: tokens.file, place: tokens.place });
      for (let at = given; at < to; at++) {
        ids.push(tokens.ids[at] ?? 0);
        labels.push(tokens.ids[at + 1] ?? IGNORED);
      }
      this.#open = to < tokens.ids.length ? { ...this.#open, given: to } : undefined;
    }
    return ids.length === 0 ? undefined : { ids: Int32Array.from(ids), labels: Int32Array.from(labels), documents };
  }

  async close(): Promise<void> {
    for (const { reader } of this.#shares) await reader.close();
  }

  /** A document of the source that is furthest behind its share, so that shares are off by no more than a document. */
  async #draw(): Promise<(OpenDocument & { readonly tokens: Tokens }) | undefined> {
    const source = this.#furthestBehind();
    const reader = this.#shares[source]?.reader;
    const first = reader?.position.epoch ?? 0;
    for (;;) {
      const document = await reader?.next();
      if (reader === undefined || document === undefined) return undefined;
      const tokens = this.#encode(document);
      const { epoch, part, document: behind } = reader.position;
      if (tokens.ids.length > 0) {
        this.#drawn[source] = (this.#drawn[source] ?? 0) + tokens.ids.length;
        return { source, at: { epoch, part, document: behind - 1 }, given: 0, tokens };
      }
      // Text of which a tokenizer leaves nothing, once through: it would be read for ever.
      if (epoch > first + 1)
        throw new ExpandError("input", "holds no text", { at: document.file, fix: "Give a file with text." });
    }
  }

  #furthestBehind(): number {
    let [source, least] = [0, Number.POSITIVE_INFINITY];
    for (const [at, { weight }] of this.#shares.entries()) {
      const progress = (this.#drawn[at] ?? 0) / weight;
      if (progress < least) [source, least] = [at, progress];
    }
    return source;
  }

  #encode(document: Document): Tokens {
    const { file, place } = document;
    return { ids: encodeDocument(this.#tokenizer, document), file, place };
  }
}

/** The text's tokens between those that begin and end a text, where the tokenizer has them; none for a whole text of none. */
export function encodeDocument(tokenizer: Tokenizer, { text, begins, ends, file, place }: Document): readonly number[] {
  const ids = tokenizer.encode(text, `${file} (${place})`);
  if (ids.length === 0 && begins === ends) return ids;
  if (begins && tokenizer.beginOfText !== undefined) ids.unshift(tokenizer.beginOfText);
  if (ends && tokenizer.endOfText !== undefined) ids.push(tokenizer.endOfText);
  return ids;
}

function isSame(first: Position, second: Position): boolean {
  return first.epoch === second.epoch && first.part === second.part && first.document === second.document;
}
