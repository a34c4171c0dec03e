// Reading from the Hub over a bad network: each fault at each request, and many at once. Right bytes, or one clear error.
import t, { type Test } from "tap";
import { ExpandError } from "../../src/errors.ts";
import type { Patience } from "../../src/hub/http.ts";
import { openRepository } from "../../src/hub/repository.ts";
import { type Fault, type HubDouble, type LogEntry, random, seededFaults, startHub } from "./double.ts";

const QUICK: Patience = { tries: 5, firstTries: 5, firstWait: 1, longestWait: 8, silence: 250 };
/** Of one reading without faults. */
const REQUESTS = 8;
const next = random(7);
const MODEL = Uint8Array.from({ length: 400_000 }, () => Math.floor(next() * 256));
const CONFIG = JSON.stringify({ hidden_size: 64, words: "x".repeat(3000) });

/** What is read, in this order: a header, a bit further on, a long run, a small file. */
const PARTS: readonly (readonly [string, number, number])[] = [
  ["model.gguf", 0, 16],
  ["model.gguf", 1000, 5000],
  ["model.gguf", 8192, 380_000],
  ["config.json", 0, CONFIG.length],
];

async function start(): Promise<HubDouble> {
  const hub = await startHub({ pageSize: 2 });
  hub.add("owner/model", { "model.gguf": MODEL, "config.json": CONFIG, "README.md": "# hello" });
  return hub;
}

/** Everything in PARTS as one run of bytes, or the error. */
async function attempt(hub: HubDouble): Promise<unknown> {
  hub.log.length = 0;
  try {
    const settings = { endpoint: hub.url, token: hub.readToken, cache: "/nonexistent", offline: false };
    const repository = await openRepository({ repo: "owner/model", revision: "main" }, settings, undefined, QUICK);
    try {
      const pieces: Uint8Array[] = [];
      for (const [name, from, length] of PARTS) {
        const source = repository.source(name);
        if (length < 10_000) pieces.push(await source.read(from, length));
        else for await (const piece of source.stream?.(from, length) ?? []) pieces.push(piece);
      }
      return Buffer.concat(pieces);
    } finally {
      repository.close();
    }
  } catch (error) {
    return error;
  }
}

const WHOLE = Buffer.concat(
  PARTS.map(([name, from, length]) =>
    Buffer.from(name === "model.gguf" ? MODEL : Buffer.from(CONFIG)).subarray(from, from + length),
  ),
);

/** Faults that one more try mends, wherever they come. */
const PASSING: readonly Fault[] = [
  { kind: "reset" },
  { kind: "silent" },
  { kind: "upgrade" },
  { kind: "lost" },
  { kind: "reset-after-headers" },
  { kind: "reset-midway", at: 0.3 },
  { kind: "closed-midway", at: 0.6 },
  { kind: "stalled", at: 0.5 },
  { kind: "stalled", at: 0 },
  { kind: "short", at: 0.4 },
  { kind: "hang-up" },
  { kind: "status", status: 500 },
  { kind: "status", status: 502 },
  { kind: "status", status: 503, retryAfter: "0" },
  { kind: "status", status: 429, retryAfter: "Thu, 01 Jan 2026 00:00:00 GMT" },
  { kind: "status", status: 408 },
];

/** Without those that cost their time in silence, but for one. */
const BRISK = PASSING.filter(({ kind, at }) => kind !== "silent" && at !== 0);

/** Faults that no try mends, or that look like an answer, and the requests at which they end a reading. At 5 and 6 the address of the
 * storage is known already, and the Hub is asked for another one. */
const LASTING: readonly (Fault & { readonly refusedAt: readonly number[] })[] = [
  { kind: "changed", refusedAt: [0, 1, 2, 3, 7] },
  { kind: "login", refusedAt: [0, 1, 2, 3, 4, 7] },
  { kind: "ends-early", at: 0.5, refusedAt: [0, 1, 2] },
  { kind: "ignore-range", refusedAt: [] },
  { kind: "shifted", refusedAt: [4, 7] },
  { kind: "gzip", refusedAt: [0, 1, 2, 4, 7] },
  { kind: "status", status: 400, refusedAt: [0, 1, 2, 3, 4, 7] },
  { kind: "status", status: 403, refusedAt: [0, 1, 2, 3, 4, 7] },
  { kind: "status", status: 404, code: "EntryNotFound", refusedAt: [0, 1, 2, 3, 4, 7] },
  { kind: "status", status: 412, refusedAt: [0, 1, 2, 3, 4, 7] },
  { kind: "status", status: 416, refusedAt: [0, 1, 2, 3, 4, 7] },
  { kind: "status", status: 429, retryAfter: "3600", refusedAt: [0, 1, 2, 3, 4, 5, 6, 7] },
];

const named = ({ kind, status, retryAfter }: Fault): string => [kind, status, retryAfter].filter(Boolean).join(" ");

function isRight(got: unknown): boolean {
  return got instanceof Uint8Array && WHOLE.equals(got);
}

/** True for an error that a user can read: one line that says what it is about, and what to do. */
function isClear(error: unknown): boolean {
  return (
    error instanceof ExpandError && error.tag === "network" && error.fix !== undefined && !error.message.includes("\n")
  );
}

t.test("a reading without a fault asks eight times", async (t) => {
  const hub = await start();
  t.teardown(() => hub.close());
  t.ok(isRight(await attempt(hub)));
  t.same(
    hub.log.map(({ host, path }) => `${host} ${path.replace(/[0-9a-f]{40,}/, "ID").replace(/[?].*/, "")}`),
    [
      "hub /api/models/owner/model/revision/main",
      "hub /api/models/owner/model/tree/ID",
      "hub /api/models/owner/model/tree/ID",
      "hub /owner/model/resolve/ID/model.gguf",
      "storage /objects/ID",
      "storage /objects/ID",
      "storage /objects/ID",
      "hub /owner/model/resolve/ID/config.json",
    ],
  );
});

t.test("a fault that passes is mended at every request of a reading", async (t) => {
  await onFourHubs(t, PASSING, async (hub, fault) => {
    for (let index = 0; index < REQUESTS; index++) {
      hub.inject = once(index, fault);
      const got = await attempt(hub);
      t.ok(isRight(got), `${named(fault)} at request ${index}: ${String(got).slice(0, 200)}`);
    }
  });
});

t.test("a fault that lasts ends a reading with one clear error, or does no harm", async (t) => {
  await onFourHubs(t, LASTING, async (hub, { refusedAt, ...fault }) => {
    const refused: number[] = [];
    for (let index = 0; index < REQUESTS; index++) {
      // The first bytes that a storage ever gives cannot be told from others by an ETag of its own making.
      if (fault.kind === "changed" && index === 4) continue;
      hub.inject = once(index, fault);
      const got = await attempt(hub);
      t.ok(isRight(got) || isClear(got), `${named(fault)} at request ${index}: ${String(got).slice(0, 200)}`);
      if (!isRight(got)) refused.push(index);
    }
    t.same(refused, refusedAt, `requests at which "${named(fault)}" ends the reading`);
  });
});

t.test("100 readings through many faults at once end in the right bytes or in one clear error", async (t) => {
  const lasting = LASTING.filter(({ kind }) => kind !== "changed");
  let right = 0;
  const seeds = Array.from({ length: 100 }, (_, index) => index + 1);
  await onFourHubs(t, seeds, async (hub, seed) => {
    hub.inject = seededFaults(seed, seed % 2 === 0 ? BRISK : [...BRISK, ...lasting], { rate: 0.25 });
    const got = await attempt(hub);
    if (isRight(got)) right++;
    t.ok(isRight(got) || isClear(got), `seed ${seed}: ${String(got).slice(0, 200)}`);
  });
  t.ok(right >= 40, `${right} of them came through`);
});

t.test("a connection that breaks again and again is no failure as long as each try gets further", async (t) => {
  const hub = await start();
  t.teardown(() => hub.close());
  hub.inject = ({ range }) => {
    const [, from = 0, to = 0] = (/^bytes=(\d+)-(\d+)$/.exec(range ?? "") ?? []).map(Number);
    return to - from > 100 ? { kind: "reset-midway", at: 0.2 } : undefined;
  };
  t.ok(isRight(await attempt(hub)));
  t.ok(hub.log.length > 5 * QUICK.tries, `${hub.log.length} requests`);
});

t.test("a server that fails for ever is given up after as many tries as were allowed, progress or not", async (t) => {
  const hub = await start();
  t.teardown(() => hub.close());
  hub.inject = ({ host }) => (host === "storage" ? { kind: "status", status: 503 } : undefined);
  const refused = await attempt(hub);
  t.equal(
    (refused as Error).message,
    `owner/model/model.gguf: the storage at ${new URL(hub.storageUrl).host} refuses (503, 5 times: injected fault)`,
  );
  t.equal(hub.log.filter(({ host }) => host === "storage").length, 5);

  let passed = 0;
  hub.inject = ({ host, range }: LogEntry) => {
    if (host !== "storage" || range?.startsWith("bytes=8192-") !== true)
      return passed > 0 && host === "storage" ? { kind: "reset" } : undefined;
    passed++;
    return passed === 1 ? { kind: "reset-midway", at: 0.5 } : { kind: "reset" };
  };
  const broken = await attempt(hub);
  t.ok(isClear(broken), String(broken));
  t.match(String((broken as Error).message), /the connection failed \(ECONNRESET, 5 times\)$/);
  t.ok(hub.log.length < 20, `${hub.log.length} requests`);
});

/** Does some work for each case; four at a time, because most of it is waiting. */
async function onFourHubs<Case>(t: Test, cases: readonly Case[], work: (hub: HubDouble, one: Case) => Promise<void>) {
  const left = [...cases];
  const one = async (): Promise<void> => {
    const hub = await start();
    t.teardown(() => hub.close());
    for (let next = left.shift(); next !== undefined; next = left.shift()) await work(hub, next);
  };
  await Promise.all([one(), one(), one(), one()]);
}

/** The fault at one request, by its place in the order of arrival. */
function once(index: number, fault: Fault): (asked: LogEntry) => Fault | undefined {
  return (asked) => (asked.index === index ? fault : undefined);
}
