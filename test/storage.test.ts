// The copy engine: plans become files, byte for byte, or a refusal; kills and full disks are in flows/faults.test.ts.
import { createHash } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import t from "tap";
import { ExpandError } from "../src/errors.ts";
import { finish, type RunEvent } from "../src/events.ts";
import type { FilePlan, Segment, WrittenFile } from "../src/storage/file-plan.ts";
import { freeSpaceNeeded } from "../src/storage/output.ts";
import { type WriteOptions, writeFiles } from "../src/storage/write.ts";
import { type ByteSource, fileSource, memorySource } from "../src/tensor/source.ts";

const MIB = 1024 * 1024;
const OPTIONS: WriteOptions = { key: "k", hash: true, sparse: true, resume: true, link: false };
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

t.test("where hard links are impossible, the file is copied and a note says so once", async (t) => {
  if (ELSEWHERE === undefined) {
    t.skip("no second file system here");
    return;
  }
  const elsewhere = fs.mkdtempSync(path.join(ELSEWHERE, "expand-checkpoint-"));
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
