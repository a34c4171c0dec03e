// A file, or a part of one, as the Blob that @huggingface/hub wants. Never holds more of it than one read; notices that it changed.
import fs from "node:fs";
import { Readable } from "node:stream";
import { ExpandError } from "../errors.ts";

/** Bytes per read. Blobs of fs.openAsBlob read 64 KiB at a time, which costs more than the hashing. */
const READ = 1 << 20;

/** A file as it was when its sending began. */
export interface BlobFile {
  /** Path on this machine. */
  readonly path: string;
  readonly size: number;
  readonly mtimeMs: number;
}

export class FileBlob extends Blob {
  override readonly size: number;
  readonly #file: BlobFile;
  readonly #start: number;

  constructor(file: BlobFile, start = 0, end = file.size) {
    super([]);
    this.#file = file;
    this.#start = start;
    this.size = end - start;
  }

  /** Of bytes from `start` to before `end`; neither may be negative. */
  override slice(start = 0, end = this.size): FileBlob {
    const from = this.#start + Math.min(start, this.size);
    return new FileBlob(this.#file, from, Math.max(from, this.#start + Math.min(end, this.size)));
  }

  /** The bytes, once. Fails with "input" when the file is no longer what it was. */
  read(): Readable {
    return Readable.from(this.#pieces(), { objectMode: false, highWaterMark: READ });
  }

  override stream(): ReturnType<Blob["stream"]> {
    return Readable.toWeb(this.read()) as ReturnType<Blob["stream"]>;
  }

  override async arrayBuffer(): Promise<ArrayBuffer> {
    const target = new Uint8Array(this.size);
    let done = 0;
    for await (const piece of this.#pieces()) {
      target.set(piece, done);
      done += piece.length;
    }
    return target.buffer;
  }

  override async text(): Promise<string> {
    return Buffer.from(await this.arrayBuffer()).toString("utf8");
  }

  async *#pieces(): AsyncGenerator<Uint8Array, void, void> {
    const { path, size, mtimeMs } = this.#file;
    const handle = await fs.promises.open(path, "r").catch((error: unknown) => {
      throw new ExpandError("input", "cannot be read any more", { at: path, cause: error });
    });
    try {
      const stat = await handle.stat();
      if (stat.size !== size || stat.mtimeMs !== mtimeMs) throw changed(path);
      const end = this.#start + this.size;
      for (let at = this.#start; at < end; ) {
        const buffer = Buffer.allocUnsafeSlow(Math.min(READ, end - at));
        const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
        if (bytesRead === 0) throw changed(path);
        yield buffer.subarray(0, bytesRead);
        at += bytesRead;
      }
    } finally {
      await handle.close();
    }
  }
}

function changed(path: string): ExpandError {
  return new ExpandError("input", "changed while it was being sent", {
    at: path,
    fix: "Run again when nothing else writes to this file.",
  });
}
