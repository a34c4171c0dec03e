// One part of a run in a process of its own, which ends itself by SIGKILL at the n-th thing it does to a file, half-done.
import fs from "node:fs";
import path from "node:path";
import { finish } from "../../src/events.ts";
import { Metrics } from "../../src/training/metrics.ts";
import { runSteps } from "../../src/training/run.ts";
import { readState } from "../../src/training/state.ts";
import { FakeTrainer, fakeCorpus, fakeRecipe } from "./fake.ts";

const [output = "", steps = "0", killAt = "0"] = process.argv.slice(2);
let done = 0;

/** True when this operation is the last one. */
function isLast(): boolean {
  return ++done === Number(killAt);
}

function die(): never {
  process.kill(process.pid, "SIGKILL");
  for (;;);
}

function half<Data extends string | NodeJS.ArrayBufferView>(data: Data): Data {
  if (typeof data === "string") return data.slice(0, data.length / 2) as Data;
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength / 2) as unknown as Data;
}

const { appendFileSync, writeFileSync, renameSync, rmSync } = fs;
const { open, rename } = fs.promises;
Object.assign(fs, {
  appendFileSync: (file: string, data: string) => {
    if (!isLast()) return appendFileSync(file, data);
    appendFileSync(file, half(data));
    die();
  },
  writeFileSync: (file: string, data: string) => {
    if (!isLast()) return writeFileSync(file, data);
    writeFileSync(file, half(data));
    die();
  },
  renameSync: (from: string, to: string) => (isLast() ? die() : renameSync(from, to)),
  rmSync: (file: string, options: object) => (isLast() ? die() : rmSync(file, options)),
});
Object.assign(fs.promises, {
  rename: async (from: string, to: string) => (isLast() ? die() : rename(from, to)),
  open: async (file: string, flags: string) => {
    if (isLast()) die();
    const handle = await open(file, flags);
    const { writeFile, sync } = handle;
    return Object.assign(handle, {
      writeFile: async (data: Uint8Array) => {
        if (!isLast()) return writeFile.call(handle, data);
        await writeFile.call(handle, half(data));
        die();
      },
      sync: async () => (isLast() ? die() : sync.call(handle)),
    });
  },
});

const recipe = fakeRecipe({ steps: Number(steps), every: 4, saveEvery: 3, accumulate: 2 });
const directory = path.join(output, "state");
const saved = await readState(directory);
const trainer = new FakeTrainer();
const identity = {};
await finish(
  runSteps({
    recipe,
    trainer,
    corpus: fakeCorpus(recipe.batch, recipe.context),
    evaluations: [{ name: "held", corpus: fakeCorpus(recipe.batch, recipe.context, 2) }],
    metrics: Metrics.open(
      path.join(output, "metrics.jsonl"),
      { kind: "run", source: "fake", recipe },
      saved?.progress.step ?? 0,
    ),
    directory,
    identity,
    ...(saved === undefined ? {} : { saved }),
    base: new Map(),
    blockOf: () => "1",
  }),
);
process.send?.(done);
