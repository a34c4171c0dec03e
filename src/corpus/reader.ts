// The documents of one source, epoch after epoch, in file order or in an order of its parts that a seed decides; from any position.
import { ExpandError } from "../errors.ts";
import type { Document, TextFile } from "./document.ts";
import { mixed, permuted } from "./shuffle.ts";

/** The next document to be read. */
export interface Position {
  readonly epoch: number;
  /** In the order of the epoch. */
  readonly part: number;
  /** In the part. */
  readonly document: number;
}

export interface ReaderOptions {
  readonly seed: number;
  readonly shuffle: boolean;
  /** Whether another epoch follows the last document. */
  readonly repeat: boolean;
}

export const BEGINNING: Position = { epoch: 0, part: 0, document: 0 };

export class DocumentReader {
  readonly #name: string;
  readonly #files: readonly TextFile[];
  /** Parts of all files before each, and of all. */
  readonly #before: readonly number[];
  readonly #options: ReaderOptions;
  #position: Position = BEGINNING;
  #documents: AsyncIterator<Document> | undefined;
  /** Whether this epoch had a document; one that has none would be read for ever. */
  #isEmpty = true;

  constructor(name: string, files: readonly TextFile[], options: ReaderOptions) {
    this.#name = name;
    this.#files = files;
    this.#options = options;
    const before = [0];
    for (const { parts } of files) before.push((before.at(-1) ?? 0) + parts);
    this.#before = before;
  }

  get position(): Position {
    return this.#position;
  }

  get parts(): number {
    return this.#before.at(-1) ?? 0;
  }

  async seek(position: Position): Promise<void> {
    await this.close();
    this.#isEmpty = position.part === 0 && position.document === 0;
    this.#position = { ...position, document: 0 };
    while (this.#position.document < position.document) {
      const found = await this.#nextInPart();
      if (found !== undefined) continue;
      throw new ExpandError(
        "damaged",
        `has ${this.#position.document} documents in part ${position.part}, not ${position.document}`,
        {
          at: this.#name,
          fix: "Start again from the beginning.",
        },
      );
    }
  }

  /** Undefined behind the last document, where epochs do not repeat. Throws "input" when the source holds no text at all. */
  async next(): Promise<Document | undefined> {
    for (;;) {
      if (this.#position.part >= this.parts) {
        if (this.#isEmpty)
          throw new ExpandError("input", "holds no text", { at: this.#name, fix: "Give a file with text." });
        if (!this.#options.repeat) return undefined;
        this.#position = { epoch: this.#position.epoch + 1, part: 0, document: 0 };
        this.#isEmpty = true;
      }
      const found = await this.#nextInPart();
      if (found !== undefined) {
        this.#isEmpty = false;
        return found;
      }
      await this.close();
      this.#position = { ...this.#position, part: this.#position.part + 1, document: 0 };
    }
  }

  async close(): Promise<void> {
    const documents = this.#documents;
    this.#documents = undefined;
    await documents?.return?.();
  }

  async #nextInPart(): Promise<Document | undefined> {
    this.#documents ??= this.#open();
    const { done, value } = await this.#documents.next();
    if (done === true) return undefined;
    this.#position = { ...this.#position, document: this.#position.document + 1 };
    return value;
  }

  #open(): AsyncIterator<Document> {
    const { epoch, part } = this.#position;
    const { seed, shuffle } = this.#options;
    const at = shuffle ? permuted(part, this.parts, mixed(seed, epoch)) : part;
    const file = this.#fileOf(at);
    const opened = this.#files[file];
    if (opened === undefined)
      throw new ExpandError("bug", `part ${at} of ${this.parts} is in no file`, { at: this.#name });
    return opened.documents(at - (this.#before[file] ?? 0))[Symbol.asyncIterator]();
  }

  /** The last file that has no more than `part` parts before it. */
  #fileOf(part: number): number {
    let [low, high] = [0, this.#files.length - 1];
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((this.#before[middle] ?? 0) <= part) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
