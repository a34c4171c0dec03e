// One HTTP client: keep-alive connections, redirects that lose the token, tries with back-off. Never sends a token to another host.
import type http from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { ExpandError, throwIfAborted } from "../errors.ts";
import { VERSION } from "../version.ts";
import { bodyPieces, type Cargo, Connections, discard } from "./connection.ts";
import { isFault, isPassing, isPassingFault, refused, shownUrl, unreachable } from "./failure.ts";
import type { HubSettings } from "./settings.ts";

/** How often and how long. Times in milliseconds. */
export interface Patience {
  /** Tries without any progress between them, of a host that has answered before. */
  readonly tries: number;
  /** The same, of a host that never answered. */
  readonly firstTries: number;
  /** Before the second try; doubled for each further one. */
  readonly firstWait: number;
  readonly longestWait: number;
  /** Without a byte, a connection counts as dead. */
  readonly silence: number;
}

/** A broken connection gets a minute to come back. */
export const PATIENCE: Patience = { tries: 8, firstTries: 4, firstWait: 500, longestWait: 30_000, silence: 30_000 };
/** A Retry-After beyond this is reported instead of waited for, in milliseconds. */
const LONGEST_RETRY_AFTER = 120_000;
/** Redirects in a row: the Hub needs one or two. */
const MOST_REDIRECTS = 5;
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

export type { Cargo } from "./connection.ts";

export class HubClient {
  readonly settings: HubSettings;
  readonly patience: Patience;
  readonly #connections: Connections;
  readonly #signal: AbortSignal;
  /** Hosts that have answered. */
  readonly #met = new Set<string>();
  /** Bytes of bodies received so far. */
  received = 0;

  constructor(settings: HubSettings, signal?: AbortSignal, patience: Patience = PATIENCE) {
    this.settings = settings;
    this.patience = patience;
    this.#connections = new Connections(patience.silence, signal);
    this.#signal = this.#connections.signal;
  }

  /** Ends what is under way, too. */
  close(): void {
    this.#connections.close();
  }

  /** JSON at a path of the endpoint or at an address, with the headers of its answer. `what` is named in errors. */
  async json(
    where: string,
    what: string,
  ): Promise<{ readonly value: unknown; readonly headers: http.IncomingHttpHeaders }> {
    const url = new URL(where, `${this.settings.endpoint}/`);
    return this.persist(url, what, async () => {
      const answer = await this.get(url, {}, what);
      const text = (await this.bytes(answer)).toString("utf8");
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

  /** Tries `work` until it succeeds, fails for good, or has failed too often in a row. */
  async persist<Result>(url: URL, what: string, work: () => Promise<Result>): Promise<Result> {
    const attempts = this.attempts(url, what);
    for (;;) {
      throwIfAborted(this.#signal);
      try {
        return await work();
      } catch (error) {
        await attempts.failed(error);
      }
    }
  }

  /** For work that gets somewhere between its failures. */
  attempts(url: URL, what: string): Attempts {
    let failures = 0;
    return {
      succeeded: () => {
        failures = 0;
      },
      failed: async (error) => {
        throwIfAborted(this.#signal);
        failures++;
        const where = (error instanceof Error && faultsAt.get(error)) || url;
        const hasMet = this.#met.has(where.host);
        if (!(error instanceof PassingRefusal) && !isPassingFault(error, hasMet)) {
          throw isFault(error) ? unreachable(error, where, failures) : error;
        }
        const pause = this.#pause(error, failures);
        const limit = hasMet ? this.patience.tries : Math.min(this.patience.firstTries, this.patience.tries);
        if (failures >= limit || pause > LONGEST_RETRY_AFTER) {
          throw error instanceof PassingRefusal ? error.refusal(what, failures) : unreachable(error, where, failures);
        }
        await this.#rest(pause);
      },
    };
  }

  /** One try, through redirects. Throws PassingRefusal, ExpandError, or the fault of a connection. */
  async get(url: URL, headers: http.OutgoingHttpHeaders, what: string): Promise<Answer> {
    const way: http.IncomingHttpHeaders[] = [];
    for (let at = url; way.length <= MOST_REDIRECTS; ) {
      const body = await this.#ask(at, "GET", headers);
      const { statusCode: status = 0, headers: got } = body;
      const location = [301, 302, 303, 307, 308].includes(status) ? got.location : undefined;
      if (location === undefined) return this.#judge({ status, headers: got, url: at, way, body }, what);
      discard(body);
      way.push(got);
      at = redirected(at, location);
    }
    throw new ExpandError("network", `sends from one address to the next, ${MOST_REDIRECTS} times and more`, {
      at: shownUrl(url),
    });
  }

  /**
   * One try that carries something. Follows no redirect: a body goes where it was meant to go. `accepted` are statuses that are
   * answers too, besides those of success. Throws as `get` does.
   */
  async send(
    method: string,
    url: URL,
    headers: http.OutgoingHttpHeaders,
    cargo: Cargo | undefined,
    what: string,
    accepted: readonly number[] = [],
  ): Promise<Answer> {
    const body = await this.#ask(url, method, headers, cargo);
    const answer: Answer = { status: body.statusCode ?? 0, headers: body.headers, url, way: [], body };
    return accepted.includes(answer.status) ? answer : this.#judge(answer, what);
  }

  /** The body of an answer in pieces. Throws a passing fault when the connection falls silent or breaks. */
  async *pieces(answer: Answer): AsyncGenerator<Uint8Array, void, void> {
    try {
      for await (const piece of bodyPieces(answer.body)) {
        this.received += piece.length;
        yield piece;
      }
    } catch (error) {
      throw faultAt(answer.url, error);
    }
  }

  #judge(answer: Answer, what: string): Answer {
    const { status, headers, url } = answer;
    if (status >= 200 && status < 300) return answer;
    discard(answer.body);
    const { token, endpoint } = this.settings;
    const refusal = { status, headers, url, token, endpoint };
    const make = (asked: string, tries?: number): ExpandError => refused({ ...refusal, what: asked, tries });
    if (isPassing(status)) throw new PassingRefusal(make, retryAfter(headers["retry-after"]));
    throw make(what);
  }

  /** The whole body, which must be short. */
  async bytes(answer: Answer): Promise<Buffer> {
    const pieces: Uint8Array[] = [];
    let bytes = 0;
    for await (const piece of this.pieces(answer)) {
      bytes += piece.length;
      if (bytes > MAX_JSON_BYTES) {
        throw new ExpandError("network", `answered with more than ${MAX_JSON_BYTES} bytes`, {
          at: shownUrl(answer.url),
        });
      }
      pieces.push(piece);
    }
    return Buffer.concat(pieces);
  }

  async #ask(
    url: URL,
    method: string,
    headers: http.OutgoingHttpHeaders,
    cargo?: Cargo,
  ): Promise<http.IncomingMessage> {
    const { token, endpoint } = this.settings;
    const own = token !== undefined && url.origin === new URL(endpoint).origin;
    const all = {
      "user-agent": `expand-checkpoint/${VERSION}`,
      ...(own ? { authorization: `Bearer ${token}` } : {}),
      ...headers,
    };
    const body = await this.#connections.ask(url, { method, headers: all, cargo }).catch((error: unknown) => {
      throw faultAt(url, error);
    });
    this.#met.add(url.host);
    return body;
  }

  #pause(error: unknown, failures: number): number {
    const asked = error instanceof PassingRefusal ? error.after : 0;
    const doubled = Math.min(this.patience.longestWait, this.patience.firstWait * 2 ** (failures - 1));
    // Up to a quarter more, so that many clients do not come back at once.
    return Math.max(asked, doubled * (1 + Math.random() / 4));
  }

  async #rest(milliseconds: number): Promise<void> {
    await sleep(milliseconds, undefined, { signal: this.#signal }).catch(() => undefined);
    throwIfAborted(this.#signal);
  }
}

/** Where a fault came about, which may be at the end of a redirect. */
const faultsAt = new WeakMap<object, URL>();

function faultAt(url: URL, error: unknown): unknown {
  if (error instanceof Error) faultsAt.set(error, url);
  return error;
}

/** Tries of one piece of work. */
export interface Attempts {
  /** The work got somewhere: earlier failures no longer count. */
  succeeded(): void;
  /** Waits before the next try, or throws what the user is told. */
  failed(error: unknown): Promise<void>;
}

/** A refusal that may be gone with the next try. */
export class PassingRefusal extends Error {
  readonly refusal: (what: string, tries?: number) => ExpandError;
  /** Milliseconds that the server asked to wait. */
  readonly after: number;

  constructor(refusal: (what: string, tries?: number) => ExpandError, after: number) {
    super("refused for now");
    this.refusal = refusal;
    this.after = after;
  }
}

/** Where a redirect leads. Its text may hold a signature: no error repeats it. */
function redirected(from: URL, location: string): URL {
  const to = URL.canParse(location, from.href) ? new URL(location, from) : undefined;
  const at = shownUrl(from);
  if (to === undefined) throw new ExpandError("network", "sends to something that is no address", { at });
  if (to.protocol !== "https:" && to.protocol !== from.protocol) {
    throw new ExpandError("network", `sends to an address without encryption (${to.protocol}//${to.host})`, {
      at,
      fix: "Check HF_ENDPOINT, and who stands between this machine and the Hub.",
    });
  }
  return to;
}

/** Seconds, or a date (RFC 9110 10.2.3), in milliseconds from now. */
function retryAfter(header: string | undefined): number {
  if (header === undefined) return 0;
  const milliseconds = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Number.isFinite(milliseconds) ? Math.max(0, milliseconds) : 0;
}
