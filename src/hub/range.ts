// A file of the Hub as a byte source: ranges, resumed at the byte where a connection broke. Never mixes bytes of two versions of a file.
import { ExpandError } from "../errors.ts";
import type { ByteSource } from "../tensor/source.ts";
import { shownUrl } from "./failure.ts";
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
    let at = offset;
    let before = at;
    while (at < end) {
      let pieces: AsyncGenerator<Uint8Array, void, void> | undefined;
      const next = async (): Promise<Uint8Array> => {
        pieces ??= this.#pieces(at, end);
        const piece = await pieces.next().catch((error: unknown) => {
          pieces = undefined;
          this.#location = undefined;
          throw error;
        });
        if (!piece.done) return piece.value;
        pieces = undefined;
        throw new CutShort();
      };
      try {
        while (at < end) {
          const piece = await this.#client.persist(this.#resolve, this.#name, next, () => at > before);
          before = at;
          at += piece.length;
          yield piece;
        }
      } finally {
        await pieces?.return();
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

  async #open(from: number, end: number): Promise<Answer> {
    const known = this.#location !== undefined && Date.now() < this.#location.until ? this.#location.url : undefined;
    const answer = await this.#client.get(
      known ?? this.#resolve,
      { range: `bytes=${from}-${end - 1}`, "accept-encoding": "identity" },
      this.#name,
    );
    try {
      this.#check(answer, from);
    } catch (error) {
      answer.body.destroy();
      throw error;
    }
    if (known === undefined && answer.url.href !== this.#resolve.href) {
      this.#location = { url: answer.url, until: Date.now() + LOCATION_AGE };
    }
    return answer;
  }

  /** The right bytes of the right version, or an error. */
  #check(answer: Answer, from: number): void {
    const { size, etag } = this.#file;
    // The Hub's own answers name the version; those of its storage have an ETag of the storage's making.
    const linked = [...answer.way, answer.headers].flatMap((headers) => bare(headers["x-linked-etag"]) ?? []);
    const direct = answer.way.length === 0 && answer.url.href === this.#resolve.href;
    const own = linked.length > 0 || !direct ? linked : [bare(answer.headers.etag) ?? etag];
    if (own.some((each) => each !== etag)) throw this.#changed();
    const stored = bare(answer.headers.etag);
    const known = this.#seen.get(answer.url.host);
    if (stored !== undefined && known !== undefined && stored !== known) throw this.#changed();
    if (stored !== undefined) this.#seen.set(answer.url.host, stored);
    if (answer.status === 200 && from === 0 && Number(answer.headers["content-length"] ?? size) === size) return;
    const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(answer.headers["content-range"] ?? "");
    if (answer.status === 206 && Number(range?.[1]) === from) {
      if (range?.[2] === "*" || Number(range?.[2]) === size) return;
      throw this.#changed();
    }
    throw new ExpandError(
      "network",
      `was asked for bytes from ${from}, but did not answer with that range (${answer.status})`,
      {
        at: shownUrl(answer.url),
        fix: "Check HF_ENDPOINT: the server does not serve ranges.",
      },
    );
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

/** The body ended before the range did. */
class CutShort extends Error {
  readonly code = "ECONNRESET";

  constructor() {
    super("the answer ended too early");
  }
}

/** Without quotes, and without the mark of a weak tag. */
function bare(header: string | string[] | undefined): string | undefined {
  return typeof header === "string" ? header.replace(/^W\//, "").replaceAll('"', "") : undefined;
}
