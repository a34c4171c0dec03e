// A file of the Hub as a byte source: ranges, resumed at the byte where a connection broke. Never mixes bytes of two versions of a file.
import { ExpandError } from "../errors.ts";
import type { ByteSource } from "../tensor/source.ts";
import { discard, HungUp } from "./connection.ts";
import type { Answer, HubClient } from "./http.ts";

/** A file as the Hub's listing describes it. */
export interface RemoteFile {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** SHA-256 of a large file, git id of a small one: what its ETag must say. */
  readonly etag: string;
}

/** Milliseconds that the address of a file's storage is used again; the Hub signs it for an hour. */
const LOCATION_AGE = 600_000;

export function remoteSource(client: HubClient, file: RemoteFile, resolve: URL, name: string): ByteSource {
  const remote = new RemoteRange(client, file, resolve, name);
  return {
    name,
    size: file.size,
    identity: `hub:${file.etag}:${file.size}`,
    ...(/^[0-9a-f]{64}$/.test(file.etag) ? { sha256: file.etag } : {}),
    read: (offset, length) => remote.read(offset, length),
    stream: (offset, length) => remote.stream(offset, length),
  };
}

class RemoteRange {
  readonly #client: HubClient;
  readonly #file: RemoteFile;
  readonly #resolve: URL;
  readonly #name: string;
  #location: { readonly url: URL; readonly until: number } | undefined;
  /** ETag that the storage gave first, by its host. */
  readonly #seen = new Map<string, string>();

  constructor(client: HubClient, file: RemoteFile, resolve: URL, name: string) {
    this.#client = client;
    this.#file = file;
    this.#resolve = resolve;
    this.#name = name;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    this.#checkRange(offset, length);
    const target = new Uint8Array(length);
    let done = 0;
    for await (const piece of this.stream(offset, length)) {
      target.set(piece, done);
      done += piece.length;
    }
    return target;
  }

  /** Exactly `length` bytes, in pieces. */
  async *stream(offset: number, length: number): AsyncGenerator<Uint8Array, void, void> {
    this.#checkRange(offset, length);
    const end = offset + length;
    const attempts = this.#client.attempts(this.#resolve, this.#name);
    for (let at = offset; at < end; ) {
      try {
        for await (const piece of this.#pieces(at, end)) {
          attempts.succeeded();
          at += piece.length;
          yield piece;
        }
        if (at < end) throw new HungUp("the answer ended before the range did");
      } catch (error) {
        this.#location = undefined;
        await attempts.failed(error);
      }
    }
  }

  async *#pieces(from: number, end: number): AsyncGenerator<Uint8Array, void, void> {
    const answer = await this.#open(from, end);
    let left = end - from;
    for await (const piece of this.#client.pieces(answer)) {
      // A server that ignores the end of a range may send more.
      yield piece.length > left ? piece.subarray(0, left) : piece;
      left -= Math.min(left, piece.length);
      if (left === 0) return;
    }
  }

  /** An answer whose body starts at `from` and is of the right version. */
  async #open(from: number, end: number): Promise<Answer> {
    const known = this.#location;
    if (known !== undefined && Date.now() < known.until) {
      try {
        return await this.#ask(known.url, from, end);
      } catch (error) {
        // A signed address may end before its time: the Hub is asked for another one.
        if (!(error instanceof ExpandError)) throw error;
        this.#location = undefined;
      }
    }
    const answer = await this.#ask(this.#resolve, from, end);
    if (answer.url.href !== this.#resolve.href) this.#location = { url: answer.url, until: Date.now() + LOCATION_AGE };
    return answer;
  }

  async #ask(url: URL, from: number, end: number): Promise<Answer> {
    const range = `bytes=${from}-${end - 1}`;
    const answer = await this.#client.get(url, { range, "accept-encoding": "identity" }, this.#name);
    try {
      this.#checkVersion(answer, url === this.#resolve);
      this.#checkPlace(answer, from);
    } catch (error) {
      discard(answer.body);
      throw error;
    }
    return answer;
  }

  /** The Hub's own answers name the version; those of its storage have an ETag of the storage's making, which must stay the same. */
  #checkVersion({ way, headers, url }: Answer, fromHub: boolean): void {
    const linked = [...way, headers].flatMap((each) => bare(each["x-linked-etag"]) ?? []);
    const own = url.origin === this.#resolve.origin ? bare(headers.etag) : undefined;
    const named = linked.length > 0 ? linked : own === undefined ? [] : [own];
    if (named.some((each) => each !== this.#file.etag)) throw this.#changed();
    if (fromHub && named.length === 0) throw this.#unfit("the server does not say which version of the file it sends");
    const stored = bare(headers.etag) ?? "";
    const seen = this.#seen.get(url.host);
    if (seen !== undefined && stored !== seen) throw this.#changed();
    this.#seen.set(url.host, stored);
  }

  /** The range that was asked for, or all of the file where that starts with it. */
  #checkPlace({ status, headers }: Answer, from: number): void {
    const { size } = this.#file;
    const encoding = headers["content-encoding"] ?? "identity";
    if (encoding !== "identity") throw this.#unfit(`the server sends the file packed (${encoding})`);
    if (status === 200 && from === 0 && Number(headers["content-length"]) === size) return;
    const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(headers["content-range"] ?? "");
    if (status !== 206 || Number(range?.[1]) !== from) {
      throw this.#unfit(`the server was asked for bytes from ${from}, and sends something else (${status})`);
    }
    if (range?.[2] !== "*" && Number(range?.[2]) !== size) throw this.#changed();
  }

  #unfit(message: string): ExpandError {
    return new ExpandError("network", message, {
      at: this.#name,
      fix: "Check HF_ENDPOINT, and who stands between this machine and the Hub.",
    });
  }

  #changed(): ExpandError {
    return new ExpandError("network", "changed on the Hub while it was being read", {
      at: this.#name,
      fix: "Run again; the new version is then read from its start.",
    });
  }

  #checkRange(offset: number, length: number): void {
    if (offset >= 0 && length >= 0 && offset + length <= this.#file.size) return;
    throw new ExpandError(
      "damaged",
      `bytes ${offset} to ${offset + length} were asked for, but the file has ${this.#file.size}`,
      {
        at: this.#name,
        fix: "Ask the repository's owner: the file is cut short.",
      },
    );
  }
}

/** Without quotes, and without the mark of a weak tag. */
function bare(header: string | string[] | undefined): string | undefined {
  return typeof header === "string" ? header.replace(/^W\//, "").replaceAll('"', "") : undefined;
}
