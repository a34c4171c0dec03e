// The fetch that @huggingface/hub is given: tries again by itself, streams from disk, counts what goes out. Never sends the Hub's token
// to another origin, follows no redirect with a body, and never lets the library see (and print) a refusal.
import { Readable, Transform } from "node:stream";
import { FileBlob } from "./file-blob.ts";
import type { Cargo, HubClient } from "./http.ts";

/** A request before it goes out. */
export interface Outgoing {
  readonly method: string;
  readonly url: URL;
  readonly body: unknown;
}

export interface UploadFetchOptions {
  /** Named in errors: "owner/name". */
  readonly what: string;
  /** Statuses that the caller wants to see, besides those of success. */
  readonly accepted?: readonly number[];
  /** Sees each request before it goes out; a response that it gives stands for the server's. May throw. */
  readonly before?: (request: Outgoing) => Response | undefined;
  /** Bytes of files on their way out; negative when a try failed and they must go again. */
  readonly sent?: (bytes: number) => void;
}

/** Throws ExpandError: "network" with what to do, "input" for a file that changed, "interrupted". */
export function uploadFetch(client: HubClient, options: UploadFetchOptions): typeof fetch {
  const { what, accepted = [], before } = options;
  return async (input, init = {}) => {
    const url = new URL(input instanceof Request ? input.url : input);
    const method = init.method ?? "GET";
    const early = before?.({ method, url, body: init.body });
    if (early !== undefined) return early;
    const headers = headersOf(new Headers(init.headers), client.settings.token);
    const load = await loadOf(init.body, options.sent);
    // The library asks the storage whether it has parts of a file, and takes 404 for an answer.
    const statuses = method === "GET" ? [...accepted, 404] : accepted;
    return client.persist(url, what, async () => {
      load.restart();
      const answer = await client.send(method, url, headers, load.cargo, what, statuses);
      const body = await client.bytes(answer);
      const { status } = answer;
      return new Response(body.length === 0 ? null : body, { status, headers: plain(answer.headers) });
    });
  };
}

/** The client adds the token by itself, where it may go. Tokens that a storage gave for itself stay. */
function headersOf(headers: Headers, token: string | undefined): Record<string, string> {
  if (headers.get("authorization") === `Bearer ${token}`) headers.delete("authorization");
  return Object.fromEntries(headers);
}

function plain(headers: Readonly<Record<string, string | string[] | undefined>>): [string, string][] {
  return Object.entries(headers).flatMap(([name, value]): [string, string][] =>
    value === undefined ? [] : [[name, Array.isArray(value) ? value.join(", ") : value]],
  );
}

interface Load {
  readonly cargo: Cargo | undefined;
  /** Before each try: takes back what the one before it counted. */
  readonly restart: () => void;
}

async function loadOf(body: unknown, sent: UploadFetchOptions["sent"]): Promise<Load> {
  if (body instanceof FileBlob) return fileLoad(body, sent);
  const data =
    body instanceof Blob
      ? new Uint8Array(await body.arrayBuffer())
      : body instanceof Uint8Array
        ? body
        : typeof body === "string"
          ? Buffer.from(body)
          : undefined;
  const restart = (): void => undefined;
  if (data === undefined) return { cargo: undefined, restart };
  return { cargo: { size: data.length, stream: () => Readable.from([data], { objectMode: false }) }, restart };
}

function fileLoad(body: FileBlob, sent: UploadFetchOptions["sent"]): Load {
  let counted = 0;
  const count = (bytes: number): void => {
    counted += bytes;
    sent?.(bytes);
  };
  const stream = (): Readable => {
    const source = body.read();
    const counter = new Transform({
      transform(piece: Uint8Array, _encoding, done) {
        count(piece.length);
        done(null, piece);
      },
    });
    source.on("error", (error) => counter.destroy(error));
    counter.on("close", () => source.destroy());
    return source.pipe(counter);
  };
  return { cargo: { size: body.size, stream }, restart: () => count(-counted) };
}
