// Publishing files to a repository of the Hub: content first, in any number of calls, then one commit of everything. Leaves the
// repository as it was, or with all of the files; never replaces what somebody else committed meanwhile.
import { setTimeout as sleep } from "node:timers/promises";
import { throwIfAborted } from "../errors.ts";
import type { Run, RunOptions } from "../events.ts";
import { misunderstood } from "./failure.ts";
import { HubClient, PATIENCE, type Patience } from "./http.ts";
import { type CommitLine, type CommitWords, commitLines } from "./publish-commit.ts";
import { isSame, type PublishFile } from "./publish-files.ts";
import { type Meter, sendObjects } from "./publish-objects.ts";
import { branchOf, lookUp, makeReady, type PublishTarget, type TargetState } from "./publish-target.ts";
import type { HubSettings } from "./settings.ts";

export interface UploadOptions extends RunOptions {
  readonly target: PublishTarget;
  readonly settings: HubSettings;
  readonly patience?: Patience;
}

export interface PublishedFile {
  readonly name: string;
  readonly size: number;
  /** Against the repository as it was found. */
  readonly state: "new" | "changed" | "same";
}

export interface PublishReport {
  readonly repo: string;
  /** Page of what was published. */
  readonly url: string;
  readonly revision: string;
  /** Undefined where a dry run would make the repository, and its owner's setting decides. */
  readonly private: boolean | undefined;
  /** True when the repository was not there before. */
  readonly created: boolean;
  readonly files: readonly PublishedFile[];
  /** Paths that the repository had before, besides these, and still has. */
  readonly others: readonly string[];
  /** Bytes of the files that are not there as they are here. */
  readonly bytes: number;
  /** Absent from a dry run. The commit that was there already, when it had all files. */
  readonly commit?: string;
  readonly pullRequest?: string;
}

/** The Hub may think about a commit for a minute. */
const PUBLISH_PATIENCE: Patience = { ...PATIENCE, silence: 120_000 };
/** Files below this go together, in milliseconds-long requests; each larger one goes alone, so that a failure repeats only it. */
const ALONE = 8_000_000;
/** Files and bytes that go together. */
const MOST_FILES = 100;
const MOST_BYTES = 32_000_000;
/** Files on their way at once. Through Xet each takes up to 150 MB of memory. */
const AT_ONCE = 3;
const PROGRESS_EVERY_MS = 100;
/** How long an interrupted run waits for what is under way. */
const LAST_WAIT_MS = 500;

/** The repository as it stands. Changes nothing. Throws what `Upload.open` throws. */
export async function lookAt(options: UploadOptions): Promise<TargetState> {
  const client = clientOf(options);
  try {
    return await lookUp(client, options.target);
  } catch (error) {
    throwIfAborted(options.signal);
    throw misunderstood(error, options.target.repo);
  } finally {
    client.close();
  }
}

/** What publishing would do. Changes nothing. Throws what `Upload.open` throws. */
export async function previewUpload(options: UploadOptions, files: readonly PublishFile[]): Promise<PublishReport> {
  const found = await lookAt(options);
  return reportOf(
    options,
    found,
    files.map((file) => stateOf(file, found)),
  );
}

export class Upload {
  readonly #options: UploadOptions;
  readonly #client: HubClient;
  readonly #ready: TargetState & { readonly head: string };
  readonly #files: PublishedFile[] = [];
  readonly #lines: CommitLine[] = [];
  /** The repository as it was found. */
  readonly found: TargetState;

  private constructor(
    options: UploadOptions,
    client: HubClient,
    found: TargetState,
    ready: TargetState & { readonly head: string },
  ) {
    this.#options = options;
    this.#client = client;
    this.found = found;
    this.#ready = ready;
  }

  /**
   * Looks at the repository and makes it where there is none. `approve` may throw before anything is changed. Throws "network", and
   * "output" for a public repository where a private one is wanted.
   */
  static async open(options: UploadOptions, approve: (found: TargetState) => void = () => undefined): Promise<Upload> {
    const client = clientOf(options);
    try {
      const found = await lookUp(client, options.target);
      approve(found);
      const ready = await makeReady(client, options.target, found);
      return new Upload(options, client, found, ready);
    } catch (error) {
      client.close();
      throwIfAborted(options.signal);
      throw misunderstood(error, options.target.repo);
    }
  }

  /** Sends the content of files that are not there as they are here. They are not visible yet, and need not be kept afterwards. */
  async *send(files: readonly PublishFile[]): Run<void> {
    const missing = files.filter((file) => !isSame(file, this.#ready.files.get(file.name)));
    this.#files.push(...files.map((file) => stateOf(file, this.found)));
    const { settings, patience = PUBLISH_PATIENCE, target, signal } = this.#options;
    // When one file fails for good, the others end with it.
    const failed = new AbortController();
    const either = signal === undefined ? failed.signal : AbortSignal.any([signal, failed.signal]);
    const options = { settings, patience, target, parent: this.#ready.head, signal: either };
    const queue = batches(missing);
    const meters: Meter[] = [];
    const next = async (): Promise<void> => {
      for (let batch = queue.shift(); batch !== undefined; batch = queue.shift()) {
        const meter = { hashed: 0, sent: 0 };
        meters.push(meter);
        this.#lines.push(...(await sendObjects(batch, options, meter)));
        meter.hashed = meter.sent = sizeOf(batch);
      }
    };
    const crew = Array.from({ length: settings.xet === false ? AT_ONCE : 1 }, next);
    // Hashing and sending count half each.
    const done = (): number => meters.reduce((sum, { hashed, sent }) => sum + (hashed + sent) / 2, 0);
    const work = Promise.all(crew).catch((error: unknown) => {
      failed.abort();
      throw error;
    });
    yield* watch(work, signal, done, sizeOf(missing));
  }

  /** Makes everything that was sent visible. */
  async commit(words: CommitWords): Promise<PublishReport> {
    const { target, signal } = this.#options;
    const files = this.#files.toSorted((a, b) => (a.name < b.name ? -1 : 1));
    const report = reportOf(this.#options, this.found, files);
    const known = { ...report, private: this.#ready.private };
    if (this.#lines.length === 0) return { ...known, commit: this.#ready.head };
    const lines = [...this.#lines].sort((a, b) => (a.path < b.path ? -1 : 1));
    try {
      return { ...known, ...(await commitLines(this.#client, target, this.#ready.head, lines, words)) };
    } catch (error) {
      throwIfAborted(signal);
      throw error;
    }
  }

  close(): void {
    this.#client.close();
  }
}

function clientOf({ settings, signal, patience = PUBLISH_PATIENCE }: UploadOptions): HubClient {
  return new HubClient(settings, signal, patience);
}

function stateOf(file: PublishFile, found: TargetState): PublishedFile {
  const there = found.files.get(file.name);
  const state = there === undefined ? "new" : isSame(file, there) ? "same" : "changed";
  return { name: file.name, size: file.size, state };
}

function reportOf(
  { target, settings }: UploadOptions,
  found: TargetState,
  files: readonly PublishedFile[],
): PublishReport {
  const ours = new Set(files.map(({ name }) => name));
  const branch = branchOf(target);
  return {
    repo: target.repo,
    url: `${settings.endpoint}/${target.repo}${branch === "main" ? "" : `/tree/${encodeURIComponent(branch)}`}`,
    revision: branch,
    private: found.private,
    created: !found.exists,
    files,
    others: [...found.files.keys()].filter((name) => !ours.has(name)).sort(),
    bytes: sizeOf(files.filter(({ state }) => state !== "same")),
  };
}

function batches(files: readonly PublishFile[]): (readonly PublishFile[])[] {
  const small = files.filter(({ size }) => size < ALONE);
  const together: PublishFile[][] = [];
  for (const file of small) {
    const last = together.at(-1);
    if (last === undefined || last.length === MOST_FILES || sizeOf(last) + file.size > MOST_BYTES)
      together.push([file]);
    else last.push(file);
  }
  return [...together, ...files.filter(({ size }) => size >= ALONE).map((file) => [file])];
}

function sizeOf(files: readonly { readonly size: number }[]): number {
  return files.reduce((sum, { size }) => sum + size, 0);
}

/** Reports bytes ten times a second until the work ends, or the caller wants no more. */
async function* watch(
  work: Promise<unknown>,
  signal: AbortSignal | undefined,
  done: () => number,
  total: number,
): Run<void> {
  let resting = false;
  const rest = work.then(
    () => undefined,
    () => undefined,
  );
  void rest.then(() => {
    resting = true;
  });
  yield { kind: "phase", name: "upload" };
  while (!resting && !signal?.aborted) {
    await Promise.race([rest, sleep(PROGRESS_EVERY_MS, undefined, { ref: false })]);
    if (total > 0) yield { kind: "bytes", done: Math.round(done()), total };
  }
  if (signal?.aborted) await Promise.race([rest, sleep(LAST_WAIT_MS, undefined, { ref: false })]);
  throwIfAborted(signal);
  await work;
}
