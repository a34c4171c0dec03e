// One request over kept connections, and its body in pieces. Knows no tokens, no redirects and no second tries.
import { setMaxListeners } from "node:events";
import http from "node:http";
import https from "node:https";
import type { Readable } from "node:stream";

/** Connections at a time to one host. */
const CONNECTIONS = 8;
/** Bytes of a body that nobody wants which are read, so that its connection can be kept. */
const WORTH_READING = 65_536;

/** What a request carries. Each try reads it from its start. */
export interface Cargo {
  /** Bytes. */
  readonly size: number;
  readonly stream: () => Readable;
}

export interface Outgoing {
  readonly method: string;
  readonly headers: http.OutgoingHttpHeaders;
  readonly cargo?: Cargo | undefined;
}

export class Connections {
  readonly #agents = {
    http: new http.Agent({ keepAlive: true, maxSockets: CONNECTIONS }),
    https: new https.Agent({ keepAlive: true, maxSockets: CONNECTIONS }),
  };
  readonly #closing = new AbortController();
  readonly #silence: number;
  /** Fires when the caller's own does, and when the connections are closed. */
  readonly signal: AbortSignal;

  /** Without a byte for `silence` milliseconds, a connection counts as dead. */
  constructor(silence: number, signal?: AbortSignal) {
    this.#silence = silence;
    this.signal = signal === undefined ? this.#closing.signal : AbortSignal.any([signal, this.#closing.signal]);
    // Each request listens to it, and many may wait for a connection.
    setMaxListeners(0, this.signal);
  }

  close(): void {
    this.#closing.abort();
    for (const agent of Object.values(this.#agents)) agent.destroy();
  }

  /** The answer's headers; its body is still to come. Throws the fault of a connection. */
  async ask(url: URL, outgoing: Outgoing): Promise<http.IncomingMessage> {
    for (let stale = 0; ; stale++) {
      if (this.signal.aborted) throw new HungUp("ended by a signal");
      const request = this.#start(url, outgoing);
      try {
        return await answerTo(request);
      } catch (error) {
        // A kept connection that the server had closed already: another one is taken, at most each of them once.
        const isStale = request.reusedSocket && isReset(error) && outgoing.cargo === undefined;
        if (!isStale || stale >= CONNECTIONS) throw error;
      }
    }
  }

  #start(url: URL, { method, headers, cargo }: Outgoing): http.ClientRequest {
    const isSecure = url.protocol === "https:";
    const request = (isSecure ? https : http).request(url, {
      method,
      agent: isSecure ? this.#agents.https : this.#agents.http,
      headers: { ...headers, ...(cargo === undefined ? {} : { "content-length": cargo.size }) },
      // Covers the making of the connection too, unlike request.setTimeout.
      timeout: this.#silence,
    });
    request.on("timeout", () => request.destroy(new Silence(this.#silence)));
    this.#endWithSignal(request);
    if (cargo === undefined) request.end();
    else load(request, cargo);
    return request;
  }

  /**
   * Destroys it without an error of its own, unlike the option `signal`: Node passes that error to a connection that is just being
   * kept, where nobody listens for it, and the process ends.
   */
  #endWithSignal(request: http.ClientRequest): void {
    const end = (): void => {
      request.destroy();
    };
    this.signal.addEventListener("abort", end);
    request.once("close", () => this.signal.removeEventListener("abort", end));
  }
}

/** The body in pieces. A connection whose answer came to its end is kept for the next request. */
export async function* bodyPieces(body: http.IncomingMessage): AsyncGenerator<Buffer, void, void> {
  try {
    // The usual iterator would close the connection of a body that is left right after its last piece.
    yield* body.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
  } finally {
    if (body.complete) body.resume();
    else body.destroy();
  }
}

/** Gets rid of a body. */
export function discard(body: http.IncomingMessage): void {
  if (Number(body.headers["content-length"] ?? Number.POSITIVE_INFINITY) <= WORTH_READING) body.resume();
  else body.destroy();
}

function answerTo(request: http.ClientRequest): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    request.on("response", resolve).on("error", reject);
    // An answer of another protocol ends without either.
    request.on("close", () => reject(new HungUp("the connection was closed without an answer")));
  });
}

/** Sends the body. One that the server does not want to the end is not sent to the end. */
function load(request: http.ClientRequest, cargo: Cargo): void {
  const stream = cargo.stream();
  stream.on("error", (error) => request.destroy(error));
  request.on("close", () => stream.destroy());
  request.on("response", (answer: http.IncomingMessage) => {
    if (!request.writableFinished) answer.on("close", () => request.destroy());
  });
  stream.pipe(request);
}

function isReset(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ECONNRESET" || error.code === "EPIPE");
}

/** The connection ended too early. */
export class HungUp extends Error {
  readonly code = "ECONNRESET";
}

/** A connection without a byte for too long. */
class Silence extends Error {
  readonly code = "ETIMEDOUT";

  constructor(milliseconds: number) {
    super(`no byte for ${milliseconds / 1000} s`);
  }
}
