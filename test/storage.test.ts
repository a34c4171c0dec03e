// The copy engine: plans become files, byte for byte, or a refusal; kills and full disks are in flows/faults.test.ts.
import { createHash } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import t from "tap";
import { ExpandError } from "../src/errors.ts";
import { finish, type RunEvent } from "../src/events.ts";
import { Control } from "../src/storage/control.ts";
import { copyFile } from "../src/storage/copy.ts";
import { outputFailure, sourceFailure } from "../src/storage/failure.ts";
import type { FilePlan, Segment, WrittenFile } from "../src/storage/file-plan.ts";
import { copyJob } from "../src/storage/job.ts";
import { checkFreeSpace, claimOutput, freeSpaceNeeded, isInside } from "../src/storage/output.ts";
import { CHUNK } from "../src/storage/sink.ts";
import type { WriteOptions } from "../src/storage/write.ts";
import { type ByteSource, fileSource, memorySource } from "../src/tensor/source.ts";
import { transpiledWriteFiles } from "./transpiled.ts";

const MIB = 1024 * 1024;
const OPTIONS: WriteOptions = { key: "k", hash: true, sparse: true, resume: true, link: false };
const writeFiles = await transpiledWriteFiles(t.testdir({}));
const none = (): readonly FilePlan[] => [];

/** Bytes that no shift or swap maps onto themselves. */
function noise(length: number, seed: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(length / 4));
  let state = seed * 2654435761 + 1;
  for (let at = 0; at < words.length; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    words[at] = state ^ (state >>> 15);
  }
  return new Uint8Array(words.buffer, 0, length);
}

type Part =
  | Uint8Array
  | { readonly source: ByteSource; readonly from: number; readonly length: number }
  | { readonly pattern: number[]; readonly length: number };

function plan(name: string, parts: readonly Part[]): FilePlan {
  let to = 0;
  const segments = parts.map((part): Segment => {
    const start = to;
    to += part.length;
    if (part instanceof Uint8Array) return { kind: "bytes", to: start, data: part };
    if ("pattern" in part)
      return { kind: "fill", to: start, length: part.length, pattern: Uint8Array.from(part.pattern) };
    return { kind: "copy", to: start, ...part };
  });
  return { name, size: to, segments };
}

async function expected(file: FilePlan): Promise<Buffer> {
  const out = Buffer.alloc(file.size);
  for (const segment of file.segments) {
    if (segment.kind === "bytes") out.set(segment.data, segment.to);
    else if (segment.kind === "copy") out.set(await segment.source.read(segment.from, segment.length), segment.to);
    else out.fill(segment.pattern, segment.to, segment.to + segment.length);
  }
  return out;
}

function write(
  directory: string,
  files: readonly FilePlan[],
  options: Partial<WriteOptions> = {},
  finals: Parameters<typeof writeFiles>[2] = none,
  onEvent?: (event: RunEvent) => void,
): Promise<readonly WrittenFile[]> {
  return finish(writeFiles(directory, files, finals, { ...OPTIONS, ...options }), onEvent);
}

function failure(run: Promise<unknown>): Promise<ExpandError> {
  return run.then(
    () => Promise.reject(new Error("it did not fail")),
    (error) => error,
  );
}

/** Several MiB of every kind of segment, small and large, aligned and not. */
function everyKind(directory: string): FilePlan[] {
  fs.mkdirSync(directory, { recursive: true });
  fs.writeFileSync(path.join(directory, "a"), noise(5 * MIB + 13, 1));
  fs.writeFileSync(path.join(directory, "b"), noise(777, 2));
  const a = fileSource(path.join(directory, "a"));
  const b = fileSource(path.join(directory, "b"));
  const memory = memorySource("memory", noise(2 * MIB + 5, 3));
  return [
    plan("big.bin", [
      noise(1000, 4),
      { source: a, from: 5, length: MIB },
      { source: a, from: 5 + MIB, length: 2 * MIB + 1 },
      { pattern: [0], length: 3 * MIB + 77 },
      { pattern: [0, 0], length: 100 },
      { source: b, from: 1, length: 700 },
      { pattern: [1, 2, 3], length: 3 * 500_000 },
      { source: a, from: 5, length: MIB },
      { pattern: [0], length: 70_001 },
    ]),
    plan("nested/deep/small.bin", [{ source: b, from: 0, length: 777 }, noise(3, 5)]),
    plan("memory.bin", [
      { source: memory, from: 2, length: 2 * MIB },
      { pattern: [0], length: 9 },
    ]),
    plan("hole.bin", [{ pattern: [0, 0, 0, 0], length: 8 * MIB }]),
    plan("whole.bin", [{ source: a, from: 0, length: 5 * MIB + 13 }]),
    plan("empty.bin", []),
  ];
}

const MODES: readonly (readonly [string, Partial<WriteOptions>])[] = [
  ["with hashes and holes", {}],
  ["without hashes", { hash: false }],
  ["without holes", { sparse: false }],
  ["with hard links", { link: true }],
  ["with hard links and no hashes", { link: true, hash: false }],
  ["past the page cache", { direct: true }],
  ["past the page cache, without holes", { direct: true, sparse: false }],
];

for (const [title, options] of MODES) {
  t.test(`files of every kind of segment come out byte for byte, ${title}`, async (t) => {
    const home = t.testdir();
    const files = everyKind(path.join(home, "in"));
    const out = path.join(home, "out");
    const index = plan("index.json", [Buffer.from("{}")]);
    let seen: readonly WrittenFile[] = [];
    const events: RunEvent[] = [];
    const written = await write(
      out,
      files,
      options,
      (shards) => {
        seen = shards;
        return [index];
      },
      (event) => events.push(event),
    );
    for (const [at, file] of [...files, index].entries()) {
      const bytes = await expected(file);
      t.ok(fs.readFileSync(path.join(out, file.name)).equals(bytes), file.name);
      const sha256 = options.hash === false ? {} : { sha256: createHash("sha256").update(bytes).digest("hex") };
      t.strictSame(written[at], { name: file.name, size: file.size, ...sha256, resumed: false });
    }
    t.strictSame(seen, written.slice(0, -1), "the final files are made of what was written");
    const names = [...files, index].map((file) => file.name.split("/")[0]);
    t.strictSame(fs.readdirSync(out).sort(), names.sort(), "nothing else remains");
    const total = files.reduce((sum, file) => sum + file.size, 0);
    const bytes = events.filter((event) => event.kind === "bytes" && event.total === total).at(-1);
    t.strictSame(bytes, { kind: "bytes", done: total, total }, "progress ends at its total");
  });
}

t.test("a source that streams is asked once for each run, in pieces of any size, and comes out whole", async (t) => {
  const out = t.testdir();
  const data = noise(5 * MIB, 7);
  const asked: string[] = [];
  let open = 0;
  const source: ByteSource = {
    ...memorySource("remote", data),
    stream: async function* (offset, length) {
      asked.push(`${offset}+${length}`);
      open++;
      try {
        for (let at = offset; at < offset + length; at += 70_001) {
          yield data.subarray(at, Math.min(at + 70_001, offset + length));
        }
      } finally {
        open--;
      }
    },
  };
  const files = ["a", "b"].map((name) =>
    plan(name, [
      { source, from: 3, length: 2 * MIB },
      { pattern: [0], length: 9 },
      { source, from: 4 * MIB, length: MIB },
    ]),
  );
  await write(out, files);
  for (const file of files) t.ok(fs.readFileSync(path.join(out, file.name)).equals(await expected(file)), file.name);
  const runs = [`3+${2 * MIB}`, `${4 * MIB}+${MIB}`];
  t.strictSame(asked.toSorted(), [...runs, ...runs].toSorted());
  t.equal(open, 0, "every stream was closed");
});

t.test("files from 64 MiB go past the page cache by themselves, smaller ones and --no-direct through it", async (t) => {
  const flag = fs.constants.O_DIRECT;
  const cases = [
    { size: 64 * MIB, options: {}, past: flag !== undefined },
    { size: 64 * MIB, options: { direct: false }, past: false },
    { size: 64 * MIB - 1, options: {}, past: false },
  ];
  for (const { size, options, past } of cases) {
    const out = t.testdir();
    const file = plan("f", [noise(4097, 1), { pattern: [7], length: size - 4097 }]);
    const notes: RunEvent[] = [];
    const opened = t.capture(fs, "openSync", fs.openSync);
    await write(out, [file], options, none, (event) => event.kind === "note" && notes.push(event));
    opened.restore();
    const flags = opened().map(({ args }) => args[1]);
    t.equal(
      flags.some((each) => typeof each === "number" && flag !== undefined && (each & flag) !== 0),
      past,
    );
    t.ok(fs.readFileSync(path.join(out, "f")).equals(await expected(file)), `${size} bytes, whole`);
    t.strictSame(notes, [], "nothing that the user did not ask for is remarked upon");
  }
});

const DIRECT = fs.constants.O_DIRECT;
const NO_DIRECT: readonly (readonly [string, () => () => void])[] = [
  ...["EINVAL", "ENOTSUP"].map((code): [string, () => () => void] => [
    `a file system that answers ${code}`,
    () => {
      const { openSync } = fs;
      fs.openSync = (file, flags, mode) => {
        if (typeof flags === "number" && (flags & (DIRECT ?? 0)) !== 0) throw Object.assign(new Error(code), { code });
        return openSync(file, flags, mode);
      };
      return () => Object.assign(fs, { openSync });
    },
  ]),
  [
    "a limit on virtual memory, under which no page-aligned memory is to be had,",
    () => {
      const wasm: { Memory: unknown } = Reflect.get(globalThis, "WebAssembly");
      const { Memory } = wasm;
      wasm.Memory = class {
        constructor() {
          throw new RangeError("WebAssembly.Memory(): could not allocate memory");
        }
      };
      return () => Object.assign(wasm, { Memory });
    },
  ],
];

for (const [title, forbid] of NO_DIRECT) {
  t.test(`${title} is written to through the page cache, with a note where it was asked for`, async (t) => {
    const out = t.testdir();
    const file = plan("f", [noise(4097, 1), { pattern: [7], length: MIB }]);
    const notes: RunEvent[] = [];
    const allow = forbid();
    try {
      await write(out, [file], { direct: true }, none, (event) => event.kind === "note" && notes.push(event));
    } finally {
      allow();
    }
    t.ok(fs.readFileSync(path.join(out, "f")).equals(await expected(file)));
    const text =
      "No direct writes to the output's file system are possible here; wrote through the page cache instead.";
    t.strictSame(notes, DIRECT === undefined ? [] : [{ kind: "note", level: "warning", text }]);
  });
}

const SPARSE = ((): boolean => {
  const file = path.join(os.tmpdir(), `expand-checkpoint-${process.pid}`);
  fs.writeFileSync(file, "");
  fs.truncateSync(file, 4 * MIB);
  const { blocks } = fs.statSync(file);
  fs.rmSync(file);
  return blocks * 512 < MIB;
})();

t.test("runs of zeros are holes unless the caller forbids them", { skip: !SPARSE && "no holes here" }, async (t) => {
  const out = t.testdir();
  const file = plan("f", [noise(4096, 1), { pattern: [0], length: 4 * MIB }, noise(4096, 2)]);
  const blocks = async (options: Partial<WriteOptions>): Promise<number> => {
    await write(out, [file], options);
    return fs.statSync(path.join(out, "f")).blocks * 512;
  };
  t.ok((await blocks({})) < MIB);
  t.ok((await blocks({ direct: true })) < MIB, "also past the page cache");
  t.ok((await blocks({ sparse: false })) >= 4 * MIB);
  t.equal(freeSpaceNeeded([file], { sparse: true, link: false }), 8192);
  t.equal(freeSpaceNeeded([file], { sparse: false, link: false }), 8192 + 4 * MIB);
});

t.test("a hard link is made only of a file that goes out unchanged, through symbolic links too", async (t) => {
  const home = t.testdir({ blob: "weights" });
  fs.symlinkSync("blob", path.join(home, "elsewhere"));
  const source = fileSource(path.join(home, "elsewhere"));
  const whole = plan("whole", [
    { source, from: 0, length: 3 },
    { source, from: 3, length: 4 },
  ]);
  const cut = plan("cut", [{ source, from: 0, length: 6 }]);
  await write(path.join(home, "out"), [whole, cut], { link: true });
  const inode = (name: string): number => fs.lstatSync(path.join(home, name)).ino;
  t.equal(inode("out/whole"), inode("blob"));
  t.not(inode("out/cut"), inode("blob"));
  t.equal(freeSpaceNeeded([whole, cut], { sparse: true, link: true }), 6);
});

/** A directory on another file system than the repository's, or undefined. */
const ELSEWHERE = ["/dev/shm", os.tmpdir()].find(
  (directory) => fs.existsSync(directory) && fs.statSync(directory).dev !== fs.statSync(".").dev,
);

const alone = ELSEWHERE === undefined && "no second file system here";
t.test("where hard links are impossible, the file is copied and a note says so once", { skip: alone }, async (t) => {
  const elsewhere = fs.mkdtempSync(path.join(ELSEWHERE ?? "", "expand-checkpoint-"));
  t.teardown(() => fs.rmSync(elsewhere, { recursive: true }));
  const home = t.testdir({ a: "one", b: "two" });
  const files = ["a", "b"].map((name) =>
    plan(name, [{ source: fileSource(path.join(home, name)), from: 0, length: 3 }]),
  );
  const notes: RunEvent[] = [];
  await write(path.join(elsewhere, "out"), files, { link: true }, none, (event) => {
    if (event.kind === "note") notes.push(event);
  });
  t.equal(fs.readFileSync(path.join(elsewhere, "out/b"), "utf8"), "two");
  t.strictSame(notes, [
    { kind: "note", level: "warning", text: "Hard links to the source cannot be made here (EXDEV); copied instead." },
  ]);
});

t.test("where ranges can be cloned, only their unaligned ends are written", async (t) => {
  const home = t.testdir();
  const a = path.join(home, "a");
  fs.writeFileSync(a, noise(3 * MIB, 1));
  const source = fileSource(a);
  const file = plan("out", [
    noise(1000, 2),
    { source, from: 5 * 4096 + 1000, length: MIB },
    { pattern: [0], length: 10_000 },
    { source, from: 77, length: MIB },
  ]);
  const clones: number[][] = [];
  const cloneRange = (from: number, at: number, to: number, start: number, length: number): boolean => {
    clones.push([at, start, length]);
    const bytes = Buffer.alloc(length);
    fs.readSync(from, bytes, 0, length, at);
    return fs.writeSync(to, bytes, 0, length, start) === length;
  };
  const refuse = (): boolean => false;
  const bytes = await expected(file);
  for (const hash of [true, false]) {
    for (const [name, range] of Object.entries({ cloned: cloneRange, refused: refuse })) {
      const job = copyJob(file, path.join(home, name), { ...OPTIONS, hash, clone: true });
      const control = new Control();
      const outcome = await copyFile(job, {
        control,
        buffer: new Uint8Array(CHUNK),
        yields: false,
        cloneRange: range,
      });
      t.ok(fs.readFileSync(job.path).equals(bytes), `${name}, hash ${hash}`);
      t.equal(control.done, file.size);
      if (hash) t.equal(outcome.sha256, createHash("sha256").update(bytes).digest("hex"));
      fs.rmSync(job.path);
    }
  }
  // The second copy's ends have different phases, so it can share nothing.
  const aligned = [6 * 4096, 4096, MIB - 4096];
  t.strictSame(clones, [aligned, aligned]);
  t.equal(freeSpaceNeeded([file], { sparse: true, link: false, clone: true }), 1000);
});

t.test("plans that contradict themselves are refused before a byte is written", async (t) => {
  const home = t.testdir();
  const source = memorySource("m", noise(10, 1));
  const cases: readonly (readonly [FilePlan, string])[] = [
    [plan("../f", []), 'the file name "../f" leads out of the output directory'],
    [plan("a/../../f", []), 'the file name "a/../../f" leads out of the output directory'],
    [plan("/etc/f", []), 'the file name "/etc/f" leads out of the output directory'],
    [plan("C:f", []), 'the file name "C:f" leads out of the output directory'],
    [plan("a\\f", []), 'the file name "a\\\\f" leads out of the output directory'],
    [plan("a//f", []), 'the file name "a//f" leads out of the output directory'],
    [plan("", []), 'the file name "" leads out of the output directory'],
    [{ ...plan("f", [noise(4, 1)]), size: 5 }, "f: its segments should touch at byte 5, but they end at byte 4"],
    [
      { name: "f", size: 9, segments: [{ kind: "copy", to: 1, length: 8, source, from: 0 }] },
      "f: its segments should touch at byte 1, but they end at byte 0",
    ],
    [plan("f", [{ source, from: 3, length: 8 }]), "m: bytes up to 11 are planned to be copied, but there are 10"],
    [plan("f", [{ pattern: [1, 2], length: 3 }]), "a fill of 3 bytes does not repeat a pattern of 2 bytes"],
  ];
  for (const [file, message] of cases) {
    const error = await failure(write(path.join(home, "out"), [file]));
    t.match(error, { tag: "bug", message });
    t.notOk(fs.existsSync(path.join(home, "out")));
  }
  const twice = await failure(write(path.join(home, "out"), [plan("f", []), plan("f", [])]));
  t.match(twice, { tag: "bug", message: "the file f is planned twice" });
});

t.test("a source that changed since it was planned is refused", async (t) => {
  const home = t.testdir();
  const file = path.join(home, "a");
  fs.writeFileSync(file, noise(2 * MIB, 1));
  const message = `${file}: changed while it was being read`;
  const fix = "Run again when nothing else writes to this file.";
  for (const link of [false, true]) {
    const before = plan("out", [{ source: fileSource(file), from: 0, length: 2 * MIB }]);
    fs.utimesSync(file, 1, link ? 2 : 3);
    t.match(await failure(write(path.join(home, "out"), [before], { link })), { tag: "input", message, fix });
    t.strictSame(fs.readdirSync(home), ["a"]);
  }
  const touched = (change: () => void): FilePlan => {
    const read = async (): Promise<Uint8Array> => {
      change();
      return new Uint8Array(1);
    };
    const source = fileSource(file);
    const first = { source, from: 0, length: 1000 };
    return plan("out", [
      first,
      { source: { ...memorySource("m", new Uint8Array(1)), read }, from: 0, length: 1 },
      first,
    ]);
  };
  for (const change of [() => fs.utimesSync(file, 1, 4), () => fs.truncateSync(file, 10)]) {
    const error = await failure(write(path.join(home, "out"), [touched(change)]));
    t.match(error, { tag: "input", message, fix });
    t.strictSame(fs.readdirSync(home), ["a"]);
  }
});

t.test("a source that is gone or cannot be read stops the run with its name", async (t) => {
  const home = t.testdir({ a: "0123456789" });
  const file = path.join(home, "a");
  const short = plan("out", [{ source: fileSource(file), from: 0, length: 10 }]);
  fs.rmSync(file);
  t.match(await failure(write(path.join(home, "out"), [short])), {
    tag: "input",
    message: `${file}: cannot be read (ENOENT)`,
    fix: "Check the disk that holds this file, and its permissions.",
  });
  const broken = { ...memorySource("m", noise(9, 1)), read: () => Promise.reject(new ExpandError("network", "gone")) };
  const remote = plan("out", [{ source: broken, from: 0, length: 9 }]);
  t.match(await failure(write(path.join(home, "out"), [remote])), { tag: "network", message: "gone" });
  t.strictSame(fs.readdirSync(home), []);
});

t.test("an output directory that cannot be made is an output error", async (t) => {
  const home = t.testdir({ file: "" });
  const out = path.join(home, "file", "out");
  t.match(await failure(write(out, [plan("f", [])])), {
    tag: "output",
    exitCode: 4,
    message: `${out}: cannot be written (ENOTDIR)`,
    fix: "Check the disk that holds the output directory, then run the same command again.",
  });
});

/** Small files, so that they are written one after the other: the run is interrupted while `at` is being written. */
function interruptible(at: number): { readonly files: FilePlan[]; readonly signal: AbortSignal } {
  const controller = new AbortController();
  const read = async (): Promise<Uint8Array> => {
    controller.abort();
    return noise(100, 9);
  };
  const files = [0, 1, 2, 3].map((index) => {
    const source = index === at ? { ...memorySource("m", noise(100, 9)), read } : memorySource("m", noise(100, 9));
    return plan(`f${index}`, [noise(1000, index), { source, from: 0, length: 100 }, noise(10, index)]);
  });
  return { files, signal: controller.signal };
}

for (const at of [0, 1, 2, 3]) {
  t.test(
    `a run interrupted in file ${at + 1} of 4 leaves the finished ones, and the next run goes on from there`,
    async (t) => {
      const out = path.join(t.testdir(), "out");
      const { files, signal } = interruptible(at);
      const error = await failure(write(out, files, { signal }));
      t.match(error, { tag: "interrupted", exitCode: 130, message: "interrupted" });
      const finished = files.slice(0, at).map((file) => file.name);
      if (at === 0) {
        t.notOk(fs.existsSync(out), "a directory that was made for nothing goes again");
        return;
      }
      t.strictSame(fs.readdirSync(out), [".f0.partial", ...finished]);
      t.strictSame(fs.readdirSync(path.join(out, ".f0.partial")), ["journal.jsonl"]);
      claimOutput(out, ["f0", "f1", "f2", "f3"], { key: "k", resume: true, force: false, alone: true });
      const written = await write(out, files);
      t.strictSame(
        written.map((file) => file.resumed),
        files.map((_, index) => index < at),
      );
      for (const [index, file] of files.entries()) {
        const bytes = await expected(file);
        t.ok(fs.readFileSync(path.join(out, file.name)).equals(bytes));
        t.equal(written[index]?.sha256, createHash("sha256").update(bytes).digest("hex"));
      }
      t.strictSame(fs.readdirSync(out), ["f0", "f1", "f2", "f3"]);
    },
  );
}

const DISTRUSTED: readonly (readonly [string, Partial<WriteOptions>, (out: string) => void, number])[] = [
  ["nothing happened in between", {}, () => {}, 3],
  ["the plan or the sources are others", { key: "other" }, () => {}, 0],
  ["resuming is turned off", { resume: false }, () => {}, 0],
  [
    "hashes are wanted that were not made",
    { hash: true },
    (out) => edit(out, (lines) => lines.replaceAll("sha256", "x")),
    0,
  ],
  ["the last line of the journal is torn", {}, (out) => edit(out, (lines) => lines.slice(0, -30)), 2],
  ["a line in the middle is torn", {}, (out) => edit(out, (lines) => lines.replace('"name":"f1"', '"name')), 1],
  ["a line is no record", {}, (out) => edit(out, (lines) => lines.replace(/.*\n/, "null\n")), 0],
  ["the journal is gone", {}, (out) => fs.rmSync(path.join(out, ".f0.partial"), { recursive: true }), 0],
  ["a finished file is gone", {}, (out) => fs.rmSync(path.join(out, "f1")), 2],
  ["a finished file is shorter", {}, (out) => fs.truncateSync(path.join(out, "f1"), 5), 2],
  ["a finished file was touched", {}, (out) => fs.utimesSync(path.join(out, "f1"), 1, 1), 2],
  ["a killed run left half a file", {}, (out) => fs.writeFileSync(path.join(out, ".f0.partial/1-2"), "half"), 3],
  [
    "a journal was being rewritten",
    {},
    (out) => fs.writeFileSync(path.join(out, ".f0.partial/journal.jsonl.new"), "{"),
    3,
  ],
];

function edit(out: string, change: (lines: string) => string): void {
  const journal = path.join(out, ".f0.partial/journal.jsonl");
  fs.writeFileSync(journal, change(fs.readFileSync(journal, "utf8")));
}

for (const [title, options, meanwhile, kept] of DISTRUSTED) {
  t.test(`a later run keeps ${kept} of 3 finished files when ${title}`, async (t) => {
    const out = path.join(t.testdir(), "out");
    const { files, signal } = interruptible(3);
    await failure(write(out, files, { signal }));
    meanwhile(out);
    const written = await write(out, files, options);
    t.equal(written.filter((file) => file.resumed).length, kept);
    for (const file of files) t.ok(fs.readFileSync(path.join(out, file.name)).equals(await expected(file)));
    t.strictSame(fs.readdirSync(out), ["f0", "f1", "f2", "f3"]);
  });
}

t.test("a run interrupted among its last files knows them as its own", async (t) => {
  const out = path.join(t.testdir(), "out");
  const { files } = interruptible(-1);
  const blocked = plan("z", [noise(5, 5)]);
  const finals = (): FilePlan[] => [plan("y", [noise(4, 4)]), blocked];
  fs.mkdirSync(path.join(out, "z"), { recursive: true });
  const error = await failure(write(out, files, {}, finals));
  t.match(error, { tag: "output", message: "z: cannot be written (EISDIR)" });
  t.strictSame(fs.readdirSync(out), [".f0.partial", "f0", "f1", "f2", "f3", "y", "z"]);
  fs.rmdirSync(path.join(out, "z"));
  const names = [...files, ...finals()].map((file) => file.name);
  claimOutput(out, names, { key: "k", resume: true, force: false, alone: true });
  const written = await write(out, files, {}, finals);
  t.strictSame(
    written.map((file) => file.resumed),
    [true, true, true, true, false, false],
  );
  t.strictSame(fs.readdirSync(out), names);
});

t.test("two runs to different files of one directory do not disturb each other", async (t) => {
  const out = t.testdir({ "mine.gguf": "mine" });
  const { files, signal } = interruptible(1);
  const [first, second] = [files.slice(0, 2), [plan("other.gguf", [noise(50, 1)])]];
  await failure(write(out, first, { signal }));
  claimOutput(out, ["other.gguf"], { key: "k", resume: true, force: false, alone: false });
  await write(out, second);
  const written = await write(out, first);
  t.strictSame(
    written.map((file) => file.resumed),
    [true, false],
  );
  t.strictSame(fs.readdirSync(out), ["f0", "f1", "mine.gguf", "other.gguf"]);
  t.equal(fs.readFileSync(path.join(out, "mine.gguf"), "utf8"), "mine");
});

t.test("a consumer that stops listening stops the run, and nothing unfinished stays", async (t) => {
  const home = t.testdir();
  const endless = plan("f", [{ pattern: [0], length: 2 ** 40 }]);
  for await (const event of writeFiles(path.join(home, "out"), [endless], none, OPTIONS)) {
    if (event.kind === "bytes" && event.done > 0) break;
  }
  t.strictSame(fs.readdirSync(home), []);
});

t.test("a run that was interrupted before it began writes nothing", async (t) => {
  const home = t.testdir();
  const signal = AbortSignal.abort();
  t.match(await failure(write(path.join(home, "out"), [plan("f", [])], { signal })), { tag: "interrupted" });
  t.strictSame(fs.readdirSync(home), []);
});

t.test("an output is claimed only where it replaces and mixes with nothing of the user's", async (t) => {
  const home = t.testdir({
    empty: {},
    file: "",
    full: { a: "", b: "", c: "", d: "" },
    stale: {
      ".x.partial": { "journal.jsonl": "", "1-2": "half" },
      ".y.partial": { "journal.jsonl.new": "" },
      ".z.partial": {},
    },
    "not-ours": { ".x.partial": { notes: "" } },
  });
  const options = { key: "k", resume: true, force: false, alone: true };
  const claim = (name: string, change = {}): void =>
    claimOutput(path.join(home, name), ["a", "z"], { ...options, ...change });
  claim("absent");
  claim("empty");
  claim("stale");
  t.strictSame(fs.readdirSync(path.join(home, "stale")), [], "what a killed run left is removed");
  claim("full", { force: true });
  t.strictSame(fs.readdirSync(path.join(home, "full")), ["a", "b", "c", "d"], "force removes nothing");
  const fix = "Choose another output, or pass --force to replace files of the same names.";
  const at = (name: string): string => path.join(home, name);
  t.throws(() => claim("full"), { tag: "output", message: `${at("full")}: already holds a, b, c and 1 more`, fix });
  t.throws(() => claim("full", { alone: false }), { tag: "output", message: `${at("full")}: already holds a`, fix });
  t.throws(() => claim("not-ours"), { tag: "output", message: `${at("not-ours")}: already holds .x.partial`, fix });
  t.throws(() => claim("file"), {
    tag: "output",
    message: `${at("file")}: is not a directory`,
    fix: "Choose another output directory.",
  });
});

t.test("an output inside the source is seen through symbolic links and missing directories", async (t) => {
  const home = t.testdir({ source: { sub: {} }, "source-2": {} });
  fs.symlinkSync("source/sub", path.join(home, "link"));
  const cases: readonly (readonly [string, boolean])[] = [
    ["source", true],
    ["source/", true],
    ["source/sub/not/there", true],
    ["source/..name", true],
    ["link/out", true],
    ["source-2", false],
    [".", false],
    ["source/../out", false],
    ["out", false],
  ];
  for (const [child, inside] of cases) t.equal(isInside(`${home}/${child}`, path.join(home, "source")), inside, child);
});

t.test("a disk that is too small is refused before the start, with both numbers", async (t) => {
  const home = t.testdir();
  const { bavail, bsize } = fs.statfsSync(home);
  checkFreeSpace(path.join(home, "not/there"), 1);
  const huge = plan("f", [{ pattern: [1], length: 2 ** 52 }]);
  const error = await failure(write(path.join(home, "out"), [huge]));
  t.match(error, { tag: "disk-full", exitCode: 4 });
  const numbers = /^(.*): 4503599627370496 bytes are needed, but the disk has ([0-9]+) free$/.exec(error.message);
  t.equal(numbers?.[1], path.join(home, "out"));
  t.ok(Math.abs(Number(numbers?.[2]) - bavail * bsize) < 2 ** 33, "about what statfs said a moment ago");
  t.equal(error.fix, `Free ${2 ** 52 - Number(numbers?.[2])} bytes, or choose an output on another disk.`);
  t.strictSame(fs.readdirSync(home), []);
});

const REFUSALS: readonly (readonly [string, string, string, string])[] = [
  [
    "ENOSPC",
    "disk-full",
    "f: the disk is full (ENOSPC); nothing half-written was kept",
    "Free some space and run the same command again; finished files are kept.",
  ],
  [
    "EDQUOT",
    "disk-full",
    "f: the disk is full (EDQUOT); nothing half-written was kept",
    "Free some space and run the same command again; finished files are kept.",
  ],
  ["EROFS", "output", "f: cannot be written (EROFS)", "Choose an output directory on a disk that can be written."],
  ["EACCES", "output", "f: cannot be written (EACCES)", "Check the permissions of the output directory."],
  ["EPERM", "output", "f: cannot be written (EPERM)", "Check the permissions of the output directory."],
  [
    "EFBIG",
    "output",
    "f: cannot be written (EFBIG)",
    "Choose a smaller --shard-size; this file system cannot hold a file of this size.",
  ],
  [
    "ENOENT",
    "output",
    "f: cannot be written (ENOENT)",
    "Check that no other run writes to the same output, then run the same command again.",
  ],
  [
    "EIO",
    "output",
    "f: cannot be written (EIO)",
    "Check the disk that holds the output directory, then run the same command again.",
  ],
];

t.test("what the system refuses becomes an error that says what to do", async (t) => {
  for (const [code, tag, message, fix] of REFUSALS) {
    const cause = Object.assign(new Error("from the system"), { code });
    t.match(outputFailure(cause, "f"), { tag, message, fix, cause, exitCode: 4 });
  }
  const cause = Object.assign(new Error("from the system"), { code: "EIO" });
  const fix = "Check the disk that holds this file, and its permissions.";
  t.match(sourceFailure(cause, "f"), { tag: "input", message: "f: cannot be read (EIO)", fix, cause });
  const bug = new TypeError("x");
  t.equal(outputFailure(bug, "f"), bug);
  t.equal(sourceFailure(bug, "f"), bug);
});
