// One run of a source's bytes, taken in order, in pieces of the reader's size. Asks a source that streams once for the whole run.
import { ExpandError } from "../errors.ts";
import type { ByteSource } from "./source.ts";

export class SourceStream {
  readonly #source: ByteSource;
  readonly #pieces: AsyncIterator<Uint8Array> | undefined;
  readonly #end: number;
  #at: number;
  #rest: Uint8Array = new Uint8Array(0);

  /** Bytes [from, end) of the source. Nothing is asked for before the first `fill`. */
  constructor(source: ByteSource, from: number, end: number) {
    this.#source = source;
    this.#pieces = source.stream?.(from, end - from)[Symbol.asyncIterator]();
    this.#at = from;
    this.#end = end;
  }

  /** True when the next byte of the run is `from` of that source. */
  continues(source: ByteSource, from: number): boolean {
    return source === this.#source && from === this.#at && from < this.#end;
  }

  async fill(target: Uint8Array): Promise<void> {
    if (this.#pieces === undefined) target.set(await this.#source.read(this.#at, target.length));
    else await this.#take(this.#pieces, target);
    this.#at += target.length;
  }

  async close(): Promise<void> {
    await this.#pieces?.return?.();
  }

  async #take(pieces: AsyncIterator<Uint8Array>, target: Uint8Array): Promise<void> {
    for (let done = 0; done < target.length; ) {
      if (this.#rest.length === 0) {
        const next = await pieces.next();
        if (next.done === true)
          throw new ExpandError("bug", "a stream ended before its run", { at: this.#source.name });
        this.#rest = next.value;
      }
      const piece = this.#rest.subarray(0, target.length - done);
      target.set(piece, done);
      this.#rest = this.#rest.subarray(piece.length);
      done += piece.length;
    }
  }
}
