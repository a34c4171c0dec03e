// Kills, full disks and interruptions while files are being written: no reader ever sees a damaged file, and the next run finishes.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import t, { type Test } from "tap";
import type { ExpandError } from "../../src/errors.ts";
import { finish } from "../../src/events.ts";
import type { FilePlan } from "../../src/storage/file-plan.ts";
import { fileSource, memorySource } from "../../src/tensor/source.ts";
import { transpiledWriteFiles, transpileEngine } from "../transpiled.ts";

const MIB = 1024 * 1024;
/** More in CI: KILLS=100 npx tap -t 1200 test/flows/faults.test.ts */
const KILLS = Number(process.env.KILLS ?? 15);
t.setTimeout(60_000 + KILLS * 10_000);

/** Writes six files of 1.5 to 4 MiB from OUT's neighbour "source", two at a time, then an index, a manifest and a small file. */
const WRITER = `
import { finish } from "./events.js";
import { claimOutput } from "./storage/output.js";
import { writeFiles } from "./storage/write.js";
import { fileSource } from "./tensor/source.js";
const [source, out, ...flags] = process.argv.slice(2);
const shards = [0, 1, 2, 3, 4, 5].map((index) => {
  const length = (index + 1) * 2 ** 19 + index;
  const header = new TextEncoder().encode("header " + index);
  return { name: "shard-" + index, size: header.length + length + 2 ** 20, segments: [
    { kind: "bytes", to: 0, data: header },
    { kind: "copy", to: header.length, length, source: fileSource(source), from: index * 1000 },
    { kind: "fill", to: header.length + length, length: 2 ** 20, pattern: new Uint8Array(2) },
  ] };
});
const text = (name, content) => {
  const data = new TextEncoder().encode(content);
  return { name, size: data.length, segments: [{ kind: "bytes", to: 0, data }] };
};
const files = [...shards, text("tokenizer.json", "t")];
const finals = (written) => [text("index.json", "i"), text("manifest.json", JSON.stringify(written.map((f) => f.sha256)))];
claimOutput(out, [...files.map((f) => f.name), "index.json", "manifest.json"], { key: "k", resume: true, force: false, alone: true });
process.stdout.write("started");
const direct = flags.includes("direct");
await finish(writeFiles(out, files, finals, { key: "k", hash: true, sparse: true, resume: true, link: false, direct }));
`;

interface Ended {
  readonly code: number | null;
  readonly errors: string;
  readonly ms: number;
}

/** Runs the writer; kills it `delay` ms after it said that it started, if it is still there. */
function runWriter(home: string, flags: readonly string[], delay?: number): Promise<Ended> {
  const begun = performance.now();
  // tap's preloads, which NODE_OPTIONS brings, would cost more than the run.
  const command = ["-u", "NODE_OPTIONS", process.execPath, "engine/writer.js", "source", "out", ...flags];
  const child: ChildProcess = spawn("env", command, { cwd: home });
  let errors = "";
  let timer: NodeJS.Timeout | undefined;
  child.stdout?.on("data", () => {
    if (delay !== undefined) timer = setTimeout(() => child.kill("SIGKILL"), delay);
  });
  child.stderr?.on("data", (chunk: Buffer) => {
    errors += chunk.toString();
  });
  return new Promise((resolve) => {
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ code, errors, ms: performance.now() - begun });
    });
  });
}

function digests(directory: string): Map<string, string> {
  const names = fs.existsSync(directory) ? fs.readdirSync(directory).filter((name) => !name.startsWith(".")) : [];
  const digest = (name: string): string =>
    createHash("sha256")
      .update(fs.readFileSync(path.join(directory, name)))
      .digest("hex");
  return new Map(names.map((name) => [name, digest(name)]));
}

for (const flags of [[], ["direct"]]) {
  const kills = Math.ceil((KILLS * (flags.length === 0 ? 2 : 1)) / 3);
  t.test(
    `killed ${kills} times at random ${flags}, no file is ever damaged and the end is byte-identical`,
    async (t) => {
      t.setTimeout(60_000 + KILLS * 5_000);
      const home = t.testdir();
      transpileEngine(path.join(home, "engine"));
      fs.writeFileSync(path.join(home, "engine/writer.js"), WRITER);
      fs.writeFileSync(
        path.join(home, "source"),
        createHash("shake256", { outputLength: 8 * MIB })
          .update("s")
          .digest(),
      );
      const out = path.join(home, "out");
      const whole = await runWriter(home, flags);
      t.equal(whole.code, 0, whole.errors);
      const reference = digests(out);
      t.equal(reference.size, 9);
      fs.rmSync(out, { recursive: true });
      // The fastest complete run so far: the first one may have waited for a busy disk.
      let fastest = whole.ms;
      const counts = { killed: 0, completed: 0, resumedWith: [] as number[] };
      while (counts.killed < kills) {
        const run = await runWriter(home, flags, Math.random() * fastest);
        const found = digests(out);
        const damaged = [...found].filter(([name, digest]) => reference.get(name) !== digest);
        if (damaged.length > 0 || run.errors !== "")
          t.strictSame({ damaged, errors: run.errors }, { damaged: [], errors: "" });
        if (run.code === 0) {
          counts.completed++;
          fastest = Math.min(fastest, run.ms);
          t.strictSame(found, reference);
          t.strictSame(
            fs.readdirSync(out).filter((name) => name.startsWith(".")),
            [],
          );
        } else {
          counts.killed++;
          counts.resumedWith.push(found.size);
        }
        // A complete output is refused the next time, as it should be.
        const complete =
          found.size === reference.size && !fs.existsSync(path.join(out, ".shard-0.partial/journal.jsonl"));
        if (complete) fs.rmSync(out, { recursive: true });
      }
      t.comment(JSON.stringify({ fastest, ...counts }));
      const last = await runWriter(home, flags);
      t.equal(last.code, 0, last.errors);
      t.strictSame(digests(out), reference);
    },
  );
}

/** A file system of 8 MiB that is gone after the test, or why there is none. */
function smallDisk(): string | { readonly reason: string } {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "expand-checkpoint-disk-"));
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=8m", "none", directory], { stdio: "pipe" });
    return directory;
  } catch {
    fs.rmdirSync(directory);
    return { reason: "this user may not mount a small file system" };
  }
}

function copyOf(name: string, source: string, length: number): FilePlan {
  return { name, size: length, segments: [{ kind: "copy", to: 0, length, source: fileSource(source), from: 0 }] };
}

const OPTIONS = { key: "k", hash: true, sparse: true, resume: true, link: false, direct: false };
const none = (): readonly FilePlan[] => [];
const fails = (run: Promise<unknown>): Promise<ExpandError> =>
  run.then(
    () => Promise.reject(new Error("it did not fail")),
    (error) => error,
  );

const writeFiles = await transpiledWriteFiles(t.testdir({}));
const disk = smallDisk();
const noDisk = typeof disk === "string" ? false : disk.reason;

t.test("a disk that fills up leaves finished files only, and the next run finishes", { skip: noDisk }, async (t) => {
  const home = t.testdir();
  const mounted = disk as string;
  t.teardown(() => {
    execFileSync("umount", [mounted]);
    fs.rmdirSync(mounted);
  });
  const out = path.join(mounted, "out");
  const ballast = path.join(mounted, "ballast");
  fs.writeFileSync(
    path.join(home, "a"),
    createHash("shake256", { outputLength: 6 * MIB })
      .update("a")
      .digest(),
  );
  const source = path.join(home, "a");

  await t.test("what cannot fit is refused before the start", async (t) => {
    const error = await fails(
      finish(writeFiles(out, [copyOf("a", source, 6 * MIB), copyOf("b", source, 3 * MIB)], none, OPTIONS)),
    );
    t.match(error, {
      tag: "disk-full",
      exitCode: 4,
      message: `${out}: 9437184 bytes are needed, but the disk has 8388608 free`,
    });
    t.equal(error.fix, "Free 1048576 bytes, or choose an output on another disk.");
    t.strictSame(fs.readdirSync(mounted), []);
  });

  const check = async (t: Test, files: (full: boolean) => FilePlan[], options: typeof OPTIONS): Promise<void> => {
    const error = await fails(finish(writeFiles(out, files(true), none, options)));
    t.match(error, { tag: "disk-full", exitCode: 4, at: /^f[0-3]$/ });
    t.match(error.message, /^f[0-3]: the disk is full \(ENOSPC\); nothing half-written was kept$/);
    t.equal(error.fix, "Free some space and run the same command again; finished files are kept.");
    const finished = fs.existsSync(out) ? fs.readdirSync(out).filter((name) => !name.startsWith(".")) : [];
    const plans = files(false);
    for (const { name, size } of plans)
      if (finished.includes(name)) t.equal(fs.statSync(path.join(out, name)).size, size);
    if (finished.length > 0) t.strictSame(fs.readdirSync(path.join(out, ".first.partial")), ["journal.jsonl"]);
    fs.rmSync(ballast);
    const written = await finish(writeFiles(out, plans, none, options));
    const resumed = written.filter((file) => file.resumed).map((file) => file.name);
    t.strictSame(resumed.sort(), finished.sort());
    const bytes = fs.readFileSync(source);
    for (const { name, size } of plans.slice(1))
      t.ok(fs.readFileSync(path.join(out, name)).equals(bytes.subarray(0, size)), name);
    fs.rmSync(out, { recursive: true });
  };

  // The disk fills up while the first small file is read, after the check.
  const first = (fill: boolean): FilePlan => {
    const read = async (): Promise<Uint8Array> => {
      if (fill) fs.writeFileSync(ballast, new Uint8Array(6 * MIB));
      return new Uint8Array(10);
    };
    const source = { ...memorySource("m", new Uint8Array(10)), read };
    return { name: "first", size: 10, segments: [{ kind: "copy", to: 0, length: 10, source, from: 0 }] };
  };
  for (const direct of [false, true]) {
    await t.test(`small files that no longer fit stop the run, direct writes ${direct}`, (t) =>
      check(t, (fill) => [first(fill), ...[0, 1, 2, 3].map((at) => copyOf(`f${at}`, source, 900_000))], {
        ...OPTIONS,
        direct,
      }),
    );
    // The check expects a hard link, which costs nothing; another file system can have none, so the file is copied.
    await t.test(`a large file that does not fit stops the run, direct writes ${direct}`, (t) => {
      fs.writeFileSync(ballast, new Uint8Array(6 * MIB));
      return check(t, () => [first(false), copyOf("f0", source, 6 * MIB)], { ...OPTIONS, link: true, direct });
    });
  }
});

t.test("an interruption stops threads that copy without end", async (t) => {
  const home = t.testdir();
  const pattern = new Uint8Array([0]);
  const endless = ["a", "b"].map(
    (name): FilePlan => ({
      name,
      size: 2 ** 40,
      segments: [{ kind: "fill", to: 0, length: 2 ** 40, pattern }],
    }),
  );
  const controller = new AbortController();
  const error = await fails(
    finish(writeFiles(path.join(home, "out"), endless, none, { ...OPTIONS, signal: controller.signal }), (event) => {
      if (event.kind === "bytes" && event.done > 0) controller.abort();
    }),
  );
  t.match(error, { tag: "interrupted", exitCode: 130 });
  t.strictSame(fs.readdirSync(home), []);
});
