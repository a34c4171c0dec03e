// Sends the content of files with @huggingface/hub, and keeps the lines of the commit back: nothing is visible before all is there.
import { ExpandError, throwIfAborted } from "../errors.ts";
import { misunderstood } from "./failure.ts";
import { HubClient, type Patience } from "./http.ts";
import { type CommitLine, commitLine } from "./publish-commit.ts";
import { blobOf, type PublishFile, sha256Of } from "./publish-files.ts";
import { access, branchOf, type PublishTarget } from "./publish-target.ts";
import type { HubSettings } from "./settings.ts";
import type { Outgoing } from "./upload-fetch.ts";

/** Bytes of a batch that went through hashing and over the network, both from 0 to the size of the batch. */
export interface Meter {
  hashed: number;
  sent: number;
}

export interface ObjectsOptions {
  readonly settings: HubSettings;
  readonly patience: Patience;
  readonly target: PublishTarget;
  /** Commit that the new one will follow. */
  readonly parent: string;
  readonly signal: AbortSignal | undefined;
}

/** Batches that are asked for anew because an address of the storage no longer worked. Addresses live for some hours. */
const BATCH_TRIES = 3;

/**
 * Sends what is not there yet; gives the lines that will commit the files. Throws "input" when a file is not what it must be, "network",
 * "interrupted".
 */
export async function sendObjects(
  files: readonly PublishFile[],
  options: ObjectsOptions,
  meter: Meter,
): Promise<readonly CommitLine[]> {
  for (let tries = 1; ; tries++) {
    meter.hashed = 0;
    meter.sent = 0;
    const trial = new Trial(files, options, meter);
    try {
      return await trial.run();
    } catch (error) {
      throwIfAborted(options.signal);
      if (!trial.reachedStorage || tries === BATCH_TRIES || !isRefusal(error)) {
        throw misunderstood(error, options.target.repo);
      }
    }
  }
}

/** A storage that says no: its address may have grown old, or a lost answer hid that the object is there. */
function isRefusal(error: unknown): boolean {
  return error instanceof ExpandError && error.tag === "network" && error.cause === undefined;
}

class Trial {
  readonly #files: readonly PublishFile[];
  readonly #options: ObjectsOptions;
  readonly #meter: Meter;
  #lines: readonly CommitLine[] = [];
  reachedStorage = false;

  constructor(files: readonly PublishFile[], options: ObjectsOptions, meter: Meter) {
    this.#files = files;
    this.#options = options;
    this.#meter = meter;
  }

  async run(): Promise<readonly CommitLine[]> {
    const { settings, patience, target, parent, signal } = this.#options;
    // Its own client: when one part of a file fails, the others that are on their way end with it.
    const controller = new AbortController();
    const stop = (): void => controller.abort();
    signal?.addEventListener("abort", stop);
    if (signal?.aborted) stop();
    const client = new HubClient(settings, controller.signal, patience);
    const meter = this.#meter;
    try {
      const { commitIter } = await import("@huggingface/hub");
      const events = commitIter({
        repo: target.repo,
        title: "",
        operations: this.#files.map((file) => ({ operation: "addOrUpdate", path: file.name, content: blobOf(file) })),
        branch: branchOf(target),
        parentCommit: parent,
        isPullRequest: target.pullRequest === true,
        useXet: settings.xet !== false,
        abortSignal: controller.signal,
        ...access(client, target.repo, {
          before: (request) => this.#look(request),
          sent: (bytes) => {
            meter.sent += bytes;
          },
        }),
      });
      const progress = new Progress(this.#files, meter);
      for await (const event of events) if (event.event === "fileProgress") progress.add(event);
      return this.#lines;
    } finally {
      signal?.removeEventListener("abort", stop);
      stop();
      client.close();
    }
  }

  /** Checks digests before content goes out, and answers the commit in the Hub's place. */
  #look({ method, url, body }: Outgoing): Response | undefined {
    if (method !== "POST" || typeof body !== "string") {
      if (method === "PUT") this.reachedStorage = true;
      return undefined;
    }
    if (url.pathname.endsWith("/info/lfs/objects/batch")) {
      const { objects } = JSON.parse(body) as { readonly objects: readonly { oid: string; size: number }[] };
      this.#check(objects.map(({ oid, size }) => ({ digest: oid, size })));
    }
    if (!url.pathname.includes(`/api/models/${this.#options.target.repo}/commit/`)) return undefined;
    const [, ...lines] = body.split("\n");
    this.#lines = lines.map(commitLine);
    this.#check(lines.map((line, at) => ({ digest: digestOf(line), path: this.#lines[at]?.path ?? "" })));
    return Response.json({ commitOid: "", commitUrl: "", hookOutput: "" });
  }

  /** Digests with what else is known of their files. */
  #check(found: readonly { readonly digest: string; readonly path?: string; readonly size?: number }[]): void {
    const expected = new Set(this.#files.map(({ sha256 }) => sha256));
    const wrong = found.filter(({ digest }) => !expected.has(digest));
    if (wrong.length === 0) return;
    const names = this.#files.filter(({ name, size, sha256 }) =>
      wrong.some(
        (each) => each.path === name || (each.size === size && found.every(({ digest }) => digest !== sha256)),
      ),
    );
    throw new ExpandError("input", "is not the file that was proved: its SHA-256 is another one than the manifest's", {
      at: names.map(({ name }) => name).join(", "),
      fix: "Verify the checkpoint again, or write it again.",
    });
  }
}

function digestOf(line: string): string {
  const { key, value } = JSON.parse(line) as { readonly key: string; readonly value: Readonly<Record<string, string>> };
  return key === "lfsFile" ? (value.oid ?? "") : sha256Of(Buffer.from(value.content ?? "", "base64"));
}

/** The library's own progress: of hashing always, of sending only at the ends and, through Xet, in between. */
class Progress {
  readonly #sizes: ReadonlyMap<string, number>;
  readonly #shares = new Map<string, number>();
  readonly #meter: Meter;

  constructor(files: readonly PublishFile[], meter: Meter) {
    this.#sizes = new Map(files.map(({ name, size }) => [name, size]));
    this.#meter = meter;
  }

  add({ path, progress, state }: { readonly path: string; readonly progress: number; readonly state: string }): void {
    this.#shares.set(`${state} ${path}`, progress);
    let [hashed, sent] = [0, 0];
    for (const [path, size] of this.#sizes) {
      hashed += size * (this.#shares.get(`hashing ${path}`) ?? 0);
      sent += size * (this.#shares.get(`uploading ${path}`) ?? 0);
    }
    this.#meter.hashed = hashed;
    this.#meter.sent = Math.max(this.#meter.sent, sent);
  }
}
