// Runs with a trainer that costs nothing: what is saved, what a kill loses, what is said when numbers stop being numbers.
import { fork } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import { ExpandError } from "../../src/errors.ts";
import { finish, type RunEvent } from "../../src/events.ts";
import { checkIdentity, identityOf } from "../../src/training/identity.ts";
import { type Metric, Metrics } from "../../src/training/metrics.ts";
import { checkRecipe, computedIn, cutOf, limitOf, recipeOf } from "../../src/training/recipe.ts";
import { runSteps, type TrainingOptions } from "../../src/training/run.ts";
import { readState } from "../../src/training/state.ts";
import { transpileProgram } from "../transpiled.ts";
import { FakeTrainer, type Faults, fakeCorpus, fakeRecipe, SHAPES } from "./fake.ts";

const CHILD = transpileProgram(path.join(import.meta.dirname, "child.ts"), t.testdir());

/** The signal that ended it, and how many things it did to files. */
function part(output: string, steps: number, killAt: number): Promise<{ signal: string | null; done: number }> {
  const child = fork(CHILD, [output, String(steps), String(killAt)], { execArgv: [] });
  let done = 0;
  child.on("message", (count) => {
    done = Number(count);
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (_, signal) => resolve({ signal, done }));
  });
}

async function bitsOf(output: string): Promise<readonly string[]> {
  const state = await (await readState(path.join(output, "state")))?.trainer();
  return [state?.weights, state?.m, state?.v].flatMap((values) =>
    [...(values ?? [])].map(([name, data]) => `${name} ${Buffer.from(data.buffer).toString("hex")}`),
  );
}

function measured(output: string): readonly unknown[] {
  const lines = Metrics.read(path.join(output, "metrics.jsonl"));
  return lines.map((line) => (line.kind === "step" ? { ...line, seconds: 0 } : line));
}

/** Operations on files: those before the first save, every one of a save, some of the second and third. */
const KILLS = [1, 2, 3, 5, ...Array.from({ length: 15 }, (_, at) => at + 7), 25, 31, 38];

t.test(
  "killed at every thing that a save does to a file, a run ends with the bits and the metrics of one that never was",
  { timeout: 200_000 },
  async (t) => {
    const steps = 11;
    const [whole, killed] = [path.join(t.testdir(), "whole"), path.join(t.testdir(), "killed")];
    for (const each of [whole, killed]) fs.mkdirSync(each, { recursive: true });
    const { done } = await part(whole, steps, 0);
    t.ok(done > 40, `${done} operations on files in an undisturbed run`);
    let step = 0;
    // Each part begins where the last one was killed.
    for (const killAt of KILLS) {
      const { signal } = await part(killed, steps, killAt);
      if (signal === null) break;
      t.equal(signal, "SIGKILL");
      const state = await readState(path.join(killed, "state"));
      await state?.trainer();
      const now = state?.progress.step ?? 0;
      t.ok(now >= step, `killed at operation ${killAt}: at step ${now}, never behind ${step}`);
      step = now;
    }
    await part(killed, steps, 0);
    t.same(await bitsOf(killed), await bitsOf(whole));
    const end = { digest: "0".repeat(64), window: 0, taken: 22 };
    t.same((await readState(path.join(killed, "state")))?.progress.cursor, end);
    t.same(measured(killed), measured(whole));
    const left = fs.readdirSync(path.join(killed, "state")).filter((name) => name.startsWith("step-"));
    t.equal(left.length, 1, "older states, and halves of them, are gone");
  },
);

interface Setting {
  readonly options: TrainingOptions;
  readonly trainer: FakeTrainer;
  readonly directory: string;
}

async function setting(
  directory: string,
  steps: number,
  more: Partial<TrainingOptions> = {},
  faults?: Faults,
): Promise<Setting> {
  const recipe = more.recipe ?? fakeRecipe({ steps, every: 5, saveEvery: 4 });
  const state = path.join(directory, "state");
  const saved = await readState(state);
  const trainer = new FakeTrainer(faults);
  const options: TrainingOptions = {
    recipe,
    trainer,
    corpus: fakeCorpus(recipe.batch, recipe.context),
    evaluations: [],
    metrics: Metrics.open(
      path.join(directory, "metrics.jsonl"),
      { kind: "run", source: "fake", recipe },
      saved?.progress.step ?? 0,
    ),
    directory: state,
    identity: {},
    ...(saved === undefined ? {} : { saved }),
    base: new Map(),
    blockOf: (name) => /\d+/.exec(name)?.[0] ?? "outside",
    ...more,
  };
  return { options, trainer, directory: state };
}

async function failure(run: Promise<unknown>): Promise<ExpandError> {
  try {
    await run;
  } catch (error) {
    if (error instanceof ExpandError) return error;
    throw error;
  }
  throw new TypeError("it did not fail");
}

t.test(
  "a signal ends the step at hand, saves, and says how to go on; the rest gives the bits of one run",
  async (t) => {
    const [one, two] = [t.testdir({ one: {}, two: {} })].flatMap((each) => [
      path.join(each, "one"),
      path.join(each, "two"),
    ]) as [string, string];
    await finish(runSteps((await setting(one, 9)).options));
    const stop = new AbortController();
    const first = await setting(two, 9, { signal: stop.signal });
    const error = await failure(
      finish(runSteps(first.options), (event) => {
        if (event.kind === "step" && event.step === 6) stop.abort();
      }),
    );
    t.equal(error.tag, "interrupted");
    t.equal(error.exitCode, 130);
    t.equal(error.message, "interrupted");
    t.equal(error.fix, "Run the same command to go on from step 6.");
    t.equal((await readState(first.directory))?.progress.step, 6);
    await finish(runSteps((await setting(two, 9)).options));
    t.same(await bitsOf(two), await bitsOf(one));
  },
);

t.test("steps are taken together up to where something else is due", async (t) => {
  const recipe = { ...fakeRecipe({ steps: 19, every: 5, saveEvery: 4 }), loopSteps: 3 };
  const { options, trainer } = await setting(t.testdir(), 19, { recipe });
  await finish(runSteps(options));
  t.same(trainer.calls, [3, 1, 1, 3, 2, 2, 3, 1, 3]);
});

t.test("events tell every step; texts are measured before the first step, on the way, and at the end", async (t) => {
  const events: RunEvent[] = [];
  const evaluations = [{ name: "prose", corpus: fakeCorpus(2, 4, 3) }];
  const { options } = await setting(t.testdir(), 7, { evaluations });
  const progress = await finish(runSteps(options), (event) => events.push(event));
  t.match(progress, { step: 7, tokens: 56, skipped: 0 });
  t.same(
    events.flatMap((event) => (event.kind === "evaluation" ? `${event.name} ${event.step}` : [])),
    ["prose 0", "prose 5", "prose 7"],
  );
  const steps = events.filter((event) => event.kind === "step");
  t.same(
    steps.map(({ step }) => step),
    [1, 2, 3, 4, 5, 6, 7],
  );
  t.match(steps[0], { of: 7, loss: 3, norm: 1, rate: 2e-4 });
  const lines = Metrics.read(options.metrics.file);
  t.same(
    lines.flatMap((line) => (line.kind === "update" ? line.step : [])),
    [4, 7],
  );
});

t.test("a text without tokens is refused", async (t) => {
  const evaluations = [{ name: "prose", corpus: fakeCorpus(2, 4, 0) }];
  const { options } = await setting(t.testdir(), 7, { evaluations });
  const error = await failure(finish(runSteps(options)));
  t.equal(error.message, "--eval prose holds no text");
  t.equal(error.fix, "Name a file that holds text.");
});

interface FaultCase {
  readonly title: string;
  readonly fault: ReturnType<Faults>;
  readonly message: string;
  readonly fix?: string;
}

const FAULTS: readonly FaultCase[] = [
  {
    title: "a loss that is not a number",
    fault: { finite: false, loss: Number.NaN },
    message: "step 6: the loss is NaN. The batch holds corpus.txt (byte 1000), corpus.txt (byte 1100)",
  },
  {
    title: "a loss that is not a number since a block",
    fault: { finite: false, loss: Number.NaN, fault: { tensors: ["norm.weight", "blocks.2.up", "blocks.2.down"] } },
    message:
      "step 6: the loss is NaN: values stop being finite in block 2. The batch holds corpus.txt (byte 1000), corpus.txt (byte 1100)",
  },
  {
    title: "a loss that is not a number since a weight of a block, between two blocks",
    fault: {
      finite: false,
      loss: Number.NaN,
      fault: { tensors: ["blocks.2.up", "blocks.3.bias"], broken: "blocks.3.bias" },
    },
    message:
      "step 6: the loss is NaN: values stop being finite in block 3, at weight blocks.3.bias, which is not finite itself. The batch holds corpus.txt (byte 1000), corpus.txt (byte 1100)",
    fix: "Look at this weight and at these documents, or start again (--no-resume) with a lower --lr.",
  },
  {
    title: "a loss that is not a number outside of the blocks",
    fault: { finite: false, loss: Number.NaN, fault: { tensors: ["norm", "head"] } },
    message:
      "step 6: the loss is NaN: values stop being finite outside of the blocks (norm, head). The batch holds corpus.txt (byte 1000), corpus.txt (byte 1100)",
  },
  {
    title: "a loss that is not a number since a weight outside of the blocks",
    fault: { finite: false, loss: Number.NaN, fault: { tensors: ["embed", "position"], broken: "embed" } },
    message:
      "step 6: the loss is NaN: values stop being finite outside of the blocks, at weight embed, which is not finite itself. The batch holds corpus.txt (byte 1000), corpus.txt (byte 1100)",
    fix: "Look at this weight and at these documents, or start again (--no-resume) with a lower --lr.",
  },
  {
    title: "gradients of blocks that are not finite: the last block, where they come first",
    fault: {
      finite: false,
      norm: Number.POSITIVE_INFINITY,
      bad: ["embed.weight", "blocks.10.weight", "blocks.3.weight"],
    },
    message:
      "step 6: a gradient is not finite; first, from the loss back, in block 10 (blocks.10.weight). The batch holds corpus.txt (byte 1000), corpus.txt (byte 1100)",
  },
  {
    title: "a gradient outside of the blocks that is not finite",
    fault: { finite: false, norm: Number.NaN, bad: ["norm.weight"] },
    message:
      "step 6: a gradient is not finite; first, from the loss back, in norm.weight. The batch holds corpus.txt (byte 1000), corpus.txt (byte 1100)",
  },
];

for (const { title, fault, message, fix } of FAULTS) {
  t.test(`${title} stops the run, with step, documents and block; the state before stays`, async (t) => {
    const recipe = fakeRecipe({ steps: 9, every: 5, saveEvery: 4, accumulate: 2 });
    const { options, directory } = await setting(t.testdir(), 9, { recipe }, (step) =>
      step === 6 ? fault : undefined,
    );
    const error = await failure(finish(runSteps(options)));
    t.equal(error.message, message);
    t.equal(error.fix, fix ?? "Look at these documents, or start again (--no-resume) with a lower --lr.");
    t.equal(error.exitCode, 3);
    t.equal((await readState(directory))?.progress.step, 4);
  });
}

t.test("a weight that is no longer finite is never saved", async (t) => {
  const recipe = fakeRecipe({ steps: 9, every: 5, saveEvery: 4 });
  const { options, directory } = await setting(t.testdir(), 9, { recipe }, (step) =>
    step === 8 ? { weights: Number.POSITIVE_INFINITY } : undefined,
  );
  const error = await failure(finish(runSteps(options)));
  t.equal(error.message, "step 8: a weight is no longer finite, in block 1 (blocks.1.weight)");
  t.equal(error.fix, "Start again (--no-resume) with a lower --lr.");
  t.equal(error.exitCode, 3);
  t.equal((await readState(directory))?.progress.step, 4);
});

t.test("a measured loss that is not finite stops the run", async (t) => {
  const evaluations = [{ name: "prose", corpus: fakeCorpus(2, 4, 3) }];
  for (const [at, fix] of [
    [0, "Look at the weights of the model: nothing has been trained yet."],
    [5, "Start again (--no-resume) with a lower --lr."],
  ] as const) {
    const faults: Faults = (step) => (step === at ? { weights: Number.NaN } : undefined);
    const { options, trainer } = await setting(t.testdir({ [at]: {} }), 9, { evaluations }, faults);
    if (at === 0)
      await trainer.load({
        ...(await trainer.state()),
        weights: new Map([["blocks.3.weight", Float32Array.of(Number.NaN)]]),
      });
    const error = await failure(finish(runSteps(options)));
    t.equal(error.message, `step ${at}: the loss on --eval prose is NaN`);
    t.equal(error.fix, fix);
  }
});

t.test("metrics that cannot be written are said so", async (t) => {
  const { options } = await setting(t.testdir(), 9);
  fs.rmSync(options.metrics.file);
  fs.mkdirSync(options.metrics.file);
  const error = await failure(finish(runSteps(options)));
  t.equal(error.message, `${options.metrics.file}: cannot be written (EISDIR)`);
  t.equal(error.tag, "output");
});

t.test("more documents than four are counted", async (t) => {
  const recipe = fakeRecipe({ steps: 9, accumulate: 6 });
  const { options } = await setting(t.testdir(), 9, { recipe }, () => ({ finite: false, loss: Number.NaN }));
  const names = [0, 100, 200, 300].map((byte) => `corpus.txt (byte ${byte})`).join(", ");
  t.equal(
    (await failure(finish(runSteps(options)))).message,
    `step 1: the loss is NaN. The batch holds ${names} and 2 more documents`,
  );
});

t.test("under f16, steps that are skipped are counted, and a run that skips for ever is stopped", async (t) => {
  const skip = { finite: false, skipped: true, scale: 65536 };
  const some = await setting(t.testdir({ a: {} }), 9, {}, (step) => (step % 4 === 1 ? skip : undefined));
  t.match(await finish(runSteps(some.options)), { step: 9, skipped: 3 });
  t.match(Metrics.read(some.options.metrics.file)[0], { kind: "step", step: 1, skipped: true, scale: 65536 });
  const all = await setting(t.testdir({ b: {} }), 90, {}, () => skip);
  const error = await failure(finish(runSteps(all.options)));
  t.equal(error.message, "step 50: 50 steps in a row had gradients that are not finite in f16");
  t.equal(error.fix, "Start again (--no-resume) in f32 or bf16 (--dtype), or with a lower --lr.");
});

t.test("a corpus that ends before the run does is refused", async (t) => {
  const { options } = await setting(t.testdir(), 9, { corpus: fakeCorpus(2, 4, 3) });
  const error = await failure(finish(runSteps(options)));
  t.equal(error.message, "the corpus ended before the run did");
  t.equal(error.fix, "Give --corpus files that hold text.");
});

t.test("metrics keep complete lines of steps that are kept, and drop the others", async (t) => {
  const file = path.join(t.testdir(), "metrics.jsonl");
  const head = { kind: "run", source: "fake", recipe: fakeRecipe({ steps: 9 }) } as const;
  const step = (at: number): Metric => ({ kind: "step", step: at, loss: 1, rate: 1, norm: 1, tokens: 1, seconds: 1 });
  Metrics.open(file, head, 0).add([step(1), step(2), step(3)]);
  fs.appendFileSync(file, '{"kind":"step","st');
  t.same(
    Metrics.read(file).map((line) => line.step),
    [1, 2, 3],
  );
  t.same(
    Metrics.open(file, head, 2).lines.map((line) => line.step),
    [1, 2],
  );
  t.same(fs.readFileSync(file, "utf8").split("\n").length, 4);
});

t.test("a state that is not one of ours, or is broken, is refused with the way out", async (t) => {
  const fix = "Pass --no-resume to start the run again.";
  const cases = [
    ['{"schema":"other/1"}', 'expected "schema": "expand-checkpoint/training-state/1", found "other/1"', "input"],
    ["{", "is not JSON", "damaged"],
    ['{"schema":"expand-checkpoint/training-state/1","step":4}', "lacks a part of the state", "damaged"],
    [
      '{"schema":"expand-checkpoint/training-state/1","step":4,"crc":1,"identity":{},"trainer":{},"file":"step-4.safetensors"}',
      "is not what was saved: its checksum differs",
      "damaged",
    ],
  ] as const;
  for (const [text, message, tag] of cases) {
    const directory = t.testdir({ "state.json": text });
    const error = await failure(readState(directory));
    t.equal(error.message, `${path.join(directory, "state.json")}: ${message}`);
    t.equal(error.tag, tag);
    t.equal(error.fix, fix);
  }
});

t.test("a saved state with one other bit, cut short, or gone is refused with the way out", async (t) => {
  const { options, directory } = await setting(t.testdir(), 2);
  await finish(runSteps(options));
  const [name = ""] = fs.readdirSync(directory).filter((each) => each.startsWith("step-"));
  const json = path.join(directory, "state.json");
  const text = fs.readFileSync(json, "utf8");
  fs.writeFileSync(json, text.replace('"step": 2,', '"step": 3,'));
  t.equal((await failure(readState(directory))).message, `${json}: is not what was saved: its checksum differs`);
  fs.writeFileSync(json, text);
  const file = path.join(directory, name);
  const saved = fs.readFileSync(file);
  const flipped = Buffer.from(saved);
  flipped[saved.length - 1] = (flipped[saved.length - 1] ?? 0) ^ 1;
  const refused = async (message: string, tag: string): Promise<void> => {
    const error = await failure(readState(directory));
    t.equal(error.message, `${file}: ${message}`);
    t.equal(error.tag, tag);
    t.equal(error.fix, "Pass --no-resume to start the run again.");
  };
  for (const damaged of [flipped, saved.subarray(0, 40)]) {
    fs.writeFileSync(file, damaged);
    await refused("is not what was saved: its checksum differs", "damaged");
  }
  fs.rmSync(file);
  await refused("does not exist", "input");
});

t.test("a run goes on only with the options it was started with, and the others are named", async (t) => {
  const recipe = fakeRecipe({ steps: 9 });
  const digests = { model: "a".repeat(64), mask: "b".repeat(64), corpus: "c".repeat(64) };
  const earlier = identityOf(recipe, digests);
  checkIdentity("out", earlier, identityOf(recipe, digests));
  const now = identityOf(fakeRecipe({ steps: 12, rate: 1e-3 }), { ...digests, corpus: "d".repeat(64) });
  const error = await failure((async () => checkIdentity("out", earlier, now))());
  t.equal(
    error.message,
    "out: holds a run that was started otherwise: --corpus is another; the number of steps was 9 and is 12; --lr was 0.0002 and is 0.001",
  );
  t.equal(error.fix, "Give the options of that run to go on with it, or --no-resume to start again.");
  t.equal(error.tag, "usage");
});

t.test("a text that was measured must stay the same; others may come and go", async (t) => {
  const recipe = fakeRecipe({ steps: 9 });
  const digests = { model: "a".repeat(64), mask: "b".repeat(64), corpus: "c".repeat(64) };
  const measured = (texts: Record<string, string>, tokens = 100) =>
    identityOf({ ...recipe, evaluationTokens: tokens }, digests, texts);
  const [held, other] = ["1".repeat(64), "2".repeat(64)];
  checkIdentity("out", measured({ held }), measured({ held, prose: other }));
  checkIdentity("out", measured({ held }), measured({}, 7));
  for (const [now, what] of [
    [measured({ held: other }), "--eval held is another"],
    [measured({ held }, 7), "--eval-tokens was 100 and is 7"],
  ] as const) {
    const error = await failure((async () => checkIdentity("out", measured({ held }), now))());
    t.equal(error.message, `out: holds a run that was started otherwise: ${what}`);
  }
});

t.test("what is computed is said as it is", async (t) => {
  t.equal(computedIn({ dtype: "f16", device: "cpu" }), "f32");
  t.equal(computedIn({ dtype: "f16", device: "cuda" }), "f16");
  t.equal(computedIn({ dtype: "bf16", device: "cuda" }), "bf16");
});

t.test("defaults are the paper's, scaled to the length of the run", async (t) => {
  const cut = cutOf({}, 4096);
  t.same(cut, { batch: 8, accumulate: 1, context: 512, seed: 0 });
  t.equal(cutOf({}, 128).context, 128);
  const recipe = recipeOf({ epochs: 2 }, cut, 409_600);
  t.match(recipe, {
    steps: 200,
    schedule: { kind: "cosine", peak: 2e-4, warmup: 12, total: 200 },
    adam: { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, decay: 0.1 },
    clip: 1,
    dtype: "f32",
    layout: "host",
    loopSteps: 1,
    every: 20,
    evaluationTokens: 32_768,
    saveEvery: 20,
  });
  t.equal(recipeOf({ tokens: 10_000 }, cut, undefined).steps, 3);
  t.equal(recipeOf({ steps: 50, warmup: 5 }, cut, undefined).schedule.warmup, 5);
  t.notHas(recipeOf({ steps: 50, clip: 0 }, cut, undefined), { clip: 0 });
  t.match(recipeOf({ steps: 50, device: "cuda" }, cut, undefined), { layout: "loop", loopSteps: 8 });
});

t.test("numbers that nothing can be trained with are refused", async (t) => {
  for (const [options, message] of [
    [{ rate: Number.POSITIVE_INFINITY }, "--lr must be above 0, not Infinity"],
    [{ decay: -0.1 }, "--decay must be from 0 up, not -0.1"],
    [{ clip: -1 }, "--clip must be from 0 up, not -1"],
    [{ warmup: Number.NaN }, "--warmup must be a share below 1 or a whole number, not NaN"],
    [{ warmup: 1.5 }, "--warmup must be a share below 1 or a whole number, not 1.5"],
    [{ warmup: -0.1 }, "--warmup must be a share below 1 or a whole number, not -0.1"],
    [{ epsilon: 0 }, "--epsilon must be above 0, not 0"],
  ] as const) {
    const error = await failure((async () => checkRecipe(options))());
    t.equal(error.message, message);
    t.equal(error.tag, "usage");
  }
  checkRecipe({ decay: 0, clip: 0, warmup: 0 });
});

t.test("a length that is said twice, and a context beyond the model's, are refused", async (t) => {
  const twice = await failure((async () => limitOf({ steps: 3, tokens: 5 }))());
  t.equal(twice.message, "--steps and --tokens both say how long to train");
  t.equal(twice.fix, "Give one of them.");
  const long = await failure((async () => cutOf({ context: 513 }, 512))());
  t.equal(long.message, "--context 513 is more than the 512 positions that the model has");
  t.equal(long.fix, "Use --context 512 or less.");
});

t.test("a state holds weights and both moments under the names of the checkpoint", async (t) => {
  const { options, directory } = await setting(t.testdir(), 2);
  await finish(runSteps(options));
  const state = await readState(directory);
  t.same([...(state?.weights.keys() ?? [])], [...SHAPES.keys()]);
  t.same(state?.weights.get("blocks.1.weight")?.shape, [4, 3]);
  const trainer = await state?.trainer();
  t.equal(trainer?.step, 2);
  t.equal(trainer?.m.get("blocks.3.weight")?.length, 5);
});
