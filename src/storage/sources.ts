// The sources of one job, opened read-only on first use. Never lets bytes of a file through that changed since it was planned.
import fs from "node:fs";
import { ExpandError } from "../errors.ts";
import { type ByteSource, fileSource, readFully } from "../tensor/source.ts";
import { SourceStream } from "../tensor/stream.ts";
import { sourceFailure } from "./failure.ts";
import type { JobSource } from "./job.ts";

export class OpenSources {
  readonly #sources: readonly JobSource[];
  readonly #descriptors = new Map<number, number>();
  #stream: SourceStream | undefined;

  constructor(sources: readonly JobSource[]) {
    this.#sources = sources;
  }

  /**
   * Fills `target` from byte `from` of source `index`; the promise, if any, must be awaited. `end` is where the run ends that this
   * read is part of: a source that streams is asked for all of it at once.
   */
  read(index: number, from: number, target: Uint8Array, end: number): Promise<void> | undefined {
    const source = this.#source(index);
    if ("source" in source) return this.#receive(source.source, from, target, end);
    const fd = this.#descriptors.get(index) ?? this.#open(index, source.path);
    try {
      readFully(fd, target, from, source.name);
    } catch (error) {
      // Cut short under our hands is a change, not damage.
      checkIdentity(source);
      throw sourceFailure(error, source.name);
    }
    return undefined;
  }

  /** A descriptor of the file behind a source, until `close`; undefined when it is no file. */
  descriptor(index: number): number | undefined {
    const source = this.#source(index);
    if ("source" in source) return undefined;
    return this.#descriptors.get(index) ?? this.#open(index, source.path);
  }

  /** Throws "input" when a source that was read is no longer the file that was planned with. */
  checkUnchanged(): void {
    for (const index of this.#descriptors.keys()) checkIdentity(this.#source(index));
  }

  async close(): Promise<void> {
    await this.#stream?.close();
    for (const fd of this.#descriptors.values()) fs.closeSync(fd);
    this.#descriptors.clear();
  }

  async #receive(source: ByteSource, from: number, target: Uint8Array, end: number): Promise<void> {
    if (this.#stream?.continues(source, from) !== true) {
      await this.#stream?.close();
      this.#stream = new SourceStream(source, from, end);
    }
    await this.#stream.fill(target);
  }

  #open(index: number, path: string): number {
    const source = this.#source(index);
    try {
      const fd = fs.openSync(path, "r");
      this.#descriptors.set(index, fd);
      checkIdentity(source);
      return fd;
    } catch (error) {
      throw sourceFailure(error, source.name);
    }
  }

  #source(index: number): JobSource {
    const source = this.#sources[index];
    if (source === undefined) throw new ExpandError("bug", `the job has no source ${index}`);
    return source;
  }
}

/** Throws "input" when the file behind a source has another size, time or inode than when it was planned with. */
export function checkIdentity(source: JobSource): void {
  if (!("path" in source) || fileSource(source.path, source.name).identity === source.identity) return;
  throw new ExpandError("input", "changed while it was being read", {
    at: source.name,
    fix: "Run again when nothing else writes to this file.",
  });
}
