// What can go wrong between a client and the Hub double, and how an answer is delivered with or without it.
import type http from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { type Content, inverted, random, slice, text, whole } from "./content.ts";

export type FaultKind =
  | "reset" // the connection is reset before anything is read or done
  | "silent" // never an answer
  | "status" // refused with `status`, nothing done
  | "upgrade" // 101, as from a confused proxy
  | "garbage" // an answer that is no HTTP, with a signed address in it
  | "redirect" // to `location`
  | "login" // 200 and a page of HTML, as from a hotel's network
  | "lost" // done, but the connection is reset before the answer
  | "reset-after-headers" // done; the headers come, the body does not
  | "reset-midway" // done; the body breaks at `at`
  | "closed-midway" // the same, closed politely
  | "stalled" // the same, but the connection stays open and silent
  | "short" // a range that ends at `at` of what was asked, and says so
  | "ends-early" // a body without length that ends at `at`, as if that were all
  | "changed" // another version of the file: other bytes, other ETag
  | "weak" // the right answer, with weak ETags
  | "untagged" // the right answer, without any ETag
  | "ignore-range" // 200 and the whole file
  | "shifted" // a range that starts elsewhere, and says so
  | "gzip" // an encoding that nobody asked for
  | "hang-up"; // a good answer; then the connection, kept alive, is closed without a word

export interface Fault {
  readonly kind: FaultKind;
  readonly method?: string;
  readonly host?: "hub" | "storage";
  /** Against path and query. */
  readonly path?: RegExp;
  /** Requests that it spoils; 1 when left out. */
  times?: number;
  /** Matching requests that pass before. */
  skip?: number;
  /** Of "status". */
  readonly status?: number;
  readonly code?: string;
  readonly message?: string;
  readonly retryAfter?: string;
  /** Of "redirect". */
  readonly location?: string;
  /** Part of the body that comes through, from 0 to 1; a half when left out. */
  readonly at?: number;
}

/** The answer to one request, not yet sent. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Content;
}

export interface Asked {
  readonly method: string;
  readonly host: "hub" | "storage";
  /** With its query. */
  readonly path: string;
}

/** The first fault of the list that the request uses up. */
export function pickFault(faults: readonly Fault[], asked: Asked): Fault | undefined {
  for (const fault of faults) {
    if (fault.method !== undefined && fault.method !== asked.method) continue;
    if (fault.host !== undefined && fault.host !== asked.host) continue;
    if (fault.path !== undefined && !fault.path.test(asked.path)) continue;
    if ((fault.times ?? 1) <= 0) continue;
    if ((fault.skip ?? 0) > 0) {
      fault.skip = (fault.skip ?? 0) - 1;
      continue;
    }
    fault.times = (fault.times ?? 1) - 1;
    return fault;
  }
  return undefined;
}

/** Spoils requests at random, always the same ones for the same seed: each with the chance `rate`, `most` in all. */
export function seededFaults(
  seed: number,
  kinds: readonly Fault[],
  { rate = 0.4, most = Number.POSITIVE_INFINITY }: { readonly rate?: number; readonly most?: number } = {},
): (asked: Asked) => Fault | undefined {
  const next = random(seed);
  let used = 0;
  return () => {
    const [hit, which, at] = [next(), next(), next()];
    const fault = kinds[Math.floor(which * kinds.length)];
    if (fault === undefined || hit >= rate || used >= most) return undefined;
    used++;
    return { at, ...fault };
  };
}

/** Sends an answer, spoiled as the fault says. */
export async function deliver(response: http.ServerResponse, answer: Answer, fault: Fault | undefined): Promise<void> {
  const { status, headers, body } = await spoiled(answer, fault);
  const part = Math.floor(body.size * (fault?.at ?? 0.5));
  const length = { "Content-Length": String(body.size) };
  const isHead = response.req.method === "HEAD";
  switch (fault?.kind) {
    case "lost":
      response.socket?.resetAndDestroy();
      return;
    case "reset-after-headers":
    case "reset-midway":
      response.writeHead(status, { ...headers, ...length }).flushHeaders();
      if (fault.kind === "reset-midway") await write(response, body, part);
      await sleep(5);
      response.socket?.resetAndDestroy();
      return;
    case "closed-midway":
      response.writeHead(status, { ...headers, ...length }).flushHeaders();
      await write(response, body, part);
      response.socket?.end();
      return;
    case "stalled":
      response.writeHead(status, { ...headers, ...length }).flushHeaders();
      await write(response, body, part);
      return;
    case "ends-early":
      response.writeHead(status, headers).flushHeaders();
      await write(response, body, part);
      response.end();
      return;
    default:
      response.writeHead(status, status === 304 || status === 204 ? headers : { ...headers, ...length });
      if (!isHead) await write(response, body, body.size);
      response.end();
      if (fault?.kind === "hang-up") response.once("finish", () => setTimeout(() => response.socket?.destroy(), 5));
  }
}

async function spoiled(answer: Answer, fault: Fault | undefined): Promise<Answer> {
  const { status, headers, body } = answer;
  if (fault?.kind === "changed") {
    const other = Object.entries(headers).map(([name, value]) => [
      name,
      /^(?:x-linked-)?etag$/i.test(name) ? value.replace(/[0-9a-f]/, (digit) => (digit === "0" ? "1" : "0")) : value,
    ]);
    return { status, headers: Object.fromEntries(other), body: inverted(body) };
  }
  if (fault?.kind === "weak" || fault?.kind === "untagged") {
    const isTag = (name: string): boolean => /^(?:x-linked-)?etag$/i.test(name);
    const kept = Object.entries(headers).filter(([name]) => fault.kind === "weak" || !isTag(name));
    return {
      status,
      headers: Object.fromEntries(kept.map(([name, value]) => [name, isTag(name) ? `W/${value}` : value])),
      body,
    };
  }
  if (fault?.kind === "gzip") {
    const packed = gzipSync(await whole(body));
    return {
      status,
      headers: { ...headers, "Content-Encoding": "gzip" },
      body: { size: packed.length, read: (a, b) => [packed.subarray(a, b)] },
    };
  }
  if (fault?.kind !== "short") return answer;
  const range = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(headers["Content-Range"] ?? "");
  if (range === null) return answer;
  // At least one byte: a range cannot be empty.
  const kept = Math.max(1, Math.floor(body.size * (fault.at ?? 0.5)));
  const from = Number(range[1]);
  return {
    status,
    headers: { ...headers, "Content-Range": `bytes ${from}-${from + kept - 1}/${range[3]}` },
    body: slice(body, 0, kept),
  };
}

/** What comes instead of doing anything; undefined when the request is to be done. */
export async function refuseAtOnce(response: http.ServerResponse, fault: Fault | undefined): Promise<boolean> {
  switch (fault?.kind) {
    case "reset":
      response.socket?.resetAndDestroy();
      return true;
    case "silent":
      response.req.resume();
      return true;
    case "upgrade":
      response.socket?.end("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n");
      return true;
    case "garbage":
      response.socket?.end(`HTTP/1.1 302 Found\r\nLocation: ${fault.location}\r\nno colon here\r\n\r\n`);
      return true;
    case "redirect": {
      response.req.resume();
      const headers = { Location: fault.location ?? "" };
      await deliver(response, { status: 302, headers, body: text("Found") }, undefined);
      return true;
    }
    case "login":
      response.req.resume();
      response.writeHead(200, { "Content-Type": "text/html" });
      response.end(`<html><body>Welcome to the hotel. Please log in.${" ".repeat(4096)}</body></html>`);
      return true;
    case "status":
      response.req.resume();
      await deliver(
        response,
        failure(fault.status ?? 500, fault.code, fault.message ?? "injected fault", fault.retryAfter),
        undefined,
      );
      return true;
    default:
      return false;
  }
}

export function failure(status: number, code: string | undefined, message: string, retryAfter?: string): Answer {
  return {
    status,
    headers: {
      "Content-Type": "application/json; charset=utf-8",
      ...(code === undefined ? {} : { "X-Error-Code": code }),
      "X-Error-Message": message,
      ...(retryAfter === undefined ? {} : { "Retry-After": retryAfter }),
    },
    body: text(JSON.stringify({ error: message })),
  };
}

async function write(response: http.ServerResponse, body: Content, end: number): Promise<void> {
  for await (const piece of body.read(0, end)) {
    if (response.destroyed) return;
    if (!response.write(piece)) await drained(response);
  }
}

function drained(response: http.ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off("drain", done).off("close", done);
      resolve();
    };
    response.on("drain", done).on("close", done);
  });
}
