// One HTTP client: keep-alive connections, redirects that lose the token, tries with back-off. Never sends a token to another host.
import http from "node:http";
import https from "node:https";
import { setTimeout as sleep } from "node:timers/promises";
import { ExpandError, throwIfAborted } from "../errors.ts";
import { VERSION } from "../version.ts";
import { isPassing, isPassingFault, refused, shownUrl, unreachable } from "./failure.ts";
import type { HubSettings } from "./settings.ts";

/** How often and how long. Times in milliseconds. */
export interface Patience {
  /** Tries without any progress between them. */
  readonly tries: number;
  /** Before the second try; doubled for each further one. */
  readonly firstWait: number;
  readonly longestWait: number;
  /** Without a byte, a connection counts as dead. */
  readonly silence: number;
}

export const PATIENCE: Patience = { tries: 6, firstWait: 500, longestWait: 30_000, silence: 30_000 };
/** A Retry-After beyond this is reported instead of waited for, in milliseconds. */
const LONGEST_RETRY_AFTER = 120_000;
/** Redirects in a row: the Hub needs one or two. */
const MOST_REDIRECTS = 5;
/** Connections at a time. */
const CONNECTIONS = 8;
/** Bytes of an answer that is parsed as JSON. A page of a listing has some 200 KB. */
const MAX_JSON_BYTES = 64_000_000;

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  /** Of the last redirect. */
  readonly url: URL;
  /** Headers of the answers on the way here, first one first. */
  readonly way: readonly http.IncomingHttpHeaders[];
  readonly body: http.IncomingMessage;
}

export class HubClient {
  readonly settings: HubSettings;
  readonly patience: Patience;
  readonly #signal: AbortSignal | undefined;
  readonly #agents = {
    "http:": new http.Agent({ keepAlive: true, maxSockets: CONNECTIONS }),
    "https:": new https.Agent({ keepAlive: true, maxSockets: CONNECTIONS }),
  };
  /** Bytes of bodies received so far. */
  received = 0;

  constructor(settings: HubSettings, signal?: AbortSignal, patience: Patience = PATIENCE) {
    this.settings = settings;
    this.patience = patience;
    this.#signal = signal;
  }

  close(): void {
    for (const agent of Object.values(this.#agents)) agent.destroy();
  }

  /** JSON at a path of the endpoint or at an address, with the headers of its answer. `what` is named in errors. */
  async json(
    where: string,
    what: string,
  ): Promise<{ readonly value: unknown; readonly headers: http.IncomingHttpHeaders }> {
    const url = new URL(where, `${this.settings.endpoint}/`);
    return this.persist(url, what, async () => {
      const answer = await this.get(url, {}, what);
      const text = await this.#text(answer);
      try {
        return { value: JSON.parse(text) as unknown, headers: answer.headers };
      } catch (error) {
        throw new ExpandError("network", "did not answer with JSON", {
          at: shownUrl(url),
          fix: "Check HF_ENDPOINT.",
          cause: error,
        });
      }
    });
  }

  /** Tries `work` until it succeeds, fails for good, or has failed too often in a row; `progress` tells whether a try got anywhere. */
  async persist<Result>(
    url: URL,
    what: string,
    work: () => Promise<Result>,
    progress: () => boolean = () => false,
  ): Promise<Result> {
    for (let failures = 0; ; ) {
      throwIfAborted(this.#signal);
      try {
        return await work();
      } catch (error) {
        throwIfAborted(this.#signal);
        failures = progress() ? 1 : failures + 1;
        const passing = error instanceof PassingRefusal || isPassingFault(error);
        if (!passing) throw error instanceof ExpandError ? error : unreachable(error, url, failures);
        const pause = this.#pause(error, failures);
        if (failures >= this.patience.tries || pause > LONGEST_RETRY_AFTER) {
          throw error instanceof PassingRefusal ? error.refusal(what) : unreachable(error, url, failures);
        }
        await this.#rest(pause);
      }
    }
  }

  /** One try, through redirects. Throws PassingRefusal, ExpandError, or the fault of a connection. */
  async get(url: URL, headers: http.OutgoingHttpHeaders, what: string): Promise<Answer> {
    const way: http.IncomingHttpHeaders[] = [];
    for (let at = url; way.length <= MOST_REDIRECTS; ) {
      const body = await this.#ask(at, headers);
      const { statusCode: status = 0, headers: got } = body;
      const location = [301, 302, 303, 307, 308].includes(status) ? got.location : undefined;
      if (location === undefined) return this.#judge({ status, headers: got, url: at, way, body }, what);
      body.resume();
      way.push(got);
      at = new URL(location, at);
    }
    throw new ExpandError("network", `sends from one address to the next, ${MOST_REDIRECTS} times and more`, {
      at: shownUrl(url),
    });
  }

  /** The body of an answer in pieces. Throws a passing fault when the connection falls silent or breaks. */
  async *pieces(answer: Answer): AsyncGenerator<Uint8Array, void, void> {
    try {
      for await (const piece of answer.body as AsyncIterable<Buffer>) {
        this.received += piece.length;
        yield piece;
      }
    } finally {
      answer.body.destroy();
    }
  }

  #judge(answer: Answer, what: string): Answer {
    const { status, headers, url } = answer;
    if (status >= 200 && status < 300) return answer;
    answer.body.resume();
    const { token, endpoint } = this.settings;
    const make = (asked: string): ExpandError =>
      refused({ status, headers, url, what: asked, hasToken: token !== undefined, endpoint });
    if (isPassing(status)) throw new PassingRefusal(make, retryAfter(headers["retry-after"]));
    throw make(what);
  }

  async #text(answer: Answer): Promise<string> {
    const pieces: Uint8Array[] = [];
    let bytes = 0;
    for await (const piece of this.pieces(answer)) {
      bytes += piece.length;
      if (bytes > MAX_JSON_BYTES) {
        throw new ExpandError("network", `answered with more than ${MAX_JSON_BYTES} bytes of JSON`, {
          at: shownUrl(answer.url),
        });
      }
      pieces.push(piece);
    }
    return Buffer.concat(pieces).toString("utf8");
  }

  #ask(url: URL, headers: http.OutgoingHttpHeaders): Promise<http.IncomingMessage> {
    const { protocol } = url;
    if (protocol !== "http:" && protocol !== "https:") {
      throw new ExpandError("network", `sends to an address of another kind (${protocol})`, { at: shownUrl(url) });
    }
    const { token, endpoint } = this.settings;
    const own = token !== undefined && url.origin === new URL(endpoint).origin;
    return new Promise((resolve, reject) => {
      const request = (protocol === "https:" ? https : http).request(url, {
        agent: this.#agents[protocol],
        headers: {
          "user-agent": `expand-checkpoint/${VERSION}`,
          ...headers,
          ...(own ? { authorization: `Bearer ${token}` } : {}),
        },
        ...(this.#signal === undefined ? {} : { signal: this.#signal }),
      });
      request.setTimeout(this.patience.silence, () => request.destroy(new Silence(this.patience.silence)));
      request.on("response", resolve).on("error", reject).end();
    });
  }

  #pause(error: unknown, failures: number): number {
    const asked = error instanceof PassingRefusal ? error.after : 0;
    const doubled = Math.min(this.patience.longestWait, this.patience.firstWait * 2 ** (failures - 1));
    // Up to a quarter more, so that many clients do not come back at once.
    return Math.max(asked, doubled * (1 + Math.random() / 4));
  }

  async #rest(milliseconds: number): Promise<void> {
    await sleep(milliseconds, undefined, this.#signal === undefined ? {} : { signal: this.#signal }).catch(
      () => undefined,
    );
    throwIfAborted(this.#signal);
  }
}

/** A refusal that may be gone with the next try. */
class PassingRefusal extends Error {
  readonly refusal: (what: string) => ExpandError;
  /** Milliseconds that the server asked to wait. */
  readonly after: number;

  constructor(refusal: (what: string) => ExpandError, after: number) {
    super("refused for now");
    this.refusal = refusal;
    this.after = after;
  }
}

/** A connection without a byte for too long. */
class Silence extends Error {
  readonly code = "ETIMEDOUT";

  constructor(milliseconds: number) {
    super(`no byte for ${milliseconds / 1000} s`);
  }
}

/** Seconds, or a date (RFC 9110 10.2.3), in milliseconds from now. */
function retryAfter(header: string | undefined): number {
  if (header === undefined) return 0;
  const milliseconds = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Number.isFinite(milliseconds) ? Math.max(0, milliseconds) : 0;
}
