// Forward graphs on onnxruntime: stages and whole models agree, a cache changes nothing, and trained weights tell the story they were trained on.
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import { buildDecoder } from "../../src/decoder/build.ts";
import { readSpec } from "../../src/decoder/read.ts";
import type { DecoderSpec, Router } from "../../src/decoder/spec.ts";
import { ExpandError } from "../../src/errors.ts";
import { openCheckpoint } from "../../src/formats/open.ts";
import { openRuntime, type Runtime } from "../../src/runtime/runtime.ts";
import { argmax, emptyCache, ints, materialise, nextCache, runStages, runWhole, worstDifference } from "./forward.ts";

const fixtures = path.resolve(import.meta.dirname, "../../fixtures");
const STORIES = path.resolve(import.meta.dirname, "../../../shared/data/stories260K/hf");

async function runtimeOrReason(): Promise<Runtime | string> {
  try {
    return await openRuntime({ device: "cpu", threads: 1 });
  } catch (error) {
    if (error instanceof ExpandError && error.tag === "backend") return error.message;
    throw error;
  }
}

const runtime = await runtimeOrReason();
const skip = typeof runtime === "string" ? runtime : false;
t.teardown(async () => {
  if (typeof runtime !== "string") await runtime.close();
});

for (const name of ["llama", "llama-sharded", "llama.gguf", "gemma2", "mixtral"]) {
  t.test(`${name}: stages, the whole model and token by token agree`, { skip }, async (t) => {
    if (typeof runtime === "string") return;
    const spec = readSpec(await openCheckpoint(path.join(fixtures, name)));
    const { ids, mask, positions } = batch(spec, 2, 12);
    const session = await runtime.open(await materialise(buildDecoder(spec), t.testdir()));
    const whole = await runWhole(session, spec, { ids, mask, positions }, 12);
    const steps = await runWhole(session, spec, { ids, mask, positions }, 5);
    await session.close();
    const staged = await runStages(runtime, spec, ids, positions);
    t.ok(worstDifference(staged, whole) < 1e-4, `stages: ${worstDifference(staged, whole)}`);
    t.ok(worstDifference(steps, whole) < 1e-4, `steps: ${worstDifference(steps, whole)}`);
    t.ok(worstDifference(whole, new Float32Array(whole.length)) > 0.1, "the logits are not all alike");
  });
}

t.test(
  "a mixture whose experts see every token gives the logits of one whose experts see their own",
  { skip },
  async (t) => {
    if (typeof runtime === "string") return;
    const read = readSpec(await openCheckpoint(path.join(fixtures, "mixtral")));
    for (const softmax of ["all", "selected"] as const) {
      for (const normalize of [true, false]) {
        const spec = rerouted(read, { softmax, normalize, scale: 0.7 });
        const { ids, mask, positions } = batch(spec, 2, 12);
        const [sparse, dense] = await Promise.all(
          (["sparse", "dense"] as const).map(async (experts) => {
            const folder = path.join(t.testdirName, `${softmax}-${normalize}-${experts}`);
            const session = await runtime.open(await materialise(buildDecoder(spec, { experts }), folder));
            const logits = await runWhole(session, spec, { ids, mask, positions }, 12);
            await session.close();
            return logits;
          }),
        );
        const ops = buildDecoder(spec, { experts: "dense" }).model.graph?.node.map(({ opType }) => opType) ?? [];
        t.notOk(ops.includes("NonZero"), "no size depends on the tokens");
        if (sparse === undefined || dense === undefined) throw new Error("two forms were built");
        const worst = worstDifference(dense, sparse);
        t.ok(worst < 2e-6, `softmax over ${softmax}, normalized ${normalize}: ${worst}`);
      }
    }
  },
);

t.test("what is padded on the left does not change what follows", { skip }, async (t) => {
  if (typeof runtime === "string") return;
  const spec = readSpec(await openCheckpoint(path.join(fixtures, "gemma2")));
  const { ids, mask, positions } = batch(spec, 1, 9);
  const session = await runtime.open(await materialise(buildDecoder(spec), t.testdir()));
  const plain = await runWhole(session, spec, { ids, mask, positions }, 9);
  const padding = [3, 3, 3];
  const padded = {
    ids: ids.map((row) => [...padding, ...row]),
    mask: mask.map((row) => [0, 0, 0, ...row]),
    positions: positions.map((row) => [0, 0, 0, ...row]),
  };
  const shifted = (await runWhole(session, spec, padded, 12)).subarray(3 * spec.vocabulary);
  await session.close();
  t.ok(worstDifference(shifted, plain) < 1e-4, `${worstDifference(shifted, plain)}`);
});

t.test(
  "stories260K continues its story, token for token",
  { skip: skip || (fs.existsSync(STORIES) ? false : `no trained weights at ${STORIES}`) },
  async (t) => {
    if (typeof runtime === "string") return;
    const spec = readSpec(await openCheckpoint(STORIES));
    const session = await runtime.open(await materialise(buildDecoder(spec), t.testdir()));
    const { words, encode } = readBpe(path.join(STORIES, "tokenizer.json"));
    const prompt = encode("▁Once▁upon▁a▁time,▁there▁was");
    const told = [1, ...prompt];
    let cache = emptyCache(spec, 1);
    for (let from = 0; told.length < 60; ) {
      const fresh = told.slice(from);
      const outputs = await session.run({
        input_ids: ints([fresh]),
        attention_mask: ints([told.map(() => 1)]),
        position_ids: ints([fresh.map((_, i) => from + i)]),
        ...cache,
      });
      const logits = outputs.logits?.data as Float32Array;
      from = told.length;
      told.push(argmax(logits.subarray(-spec.vocabulary)));
      cache = nextCache(outputs);
    }
    await session.close();
    const text = told
      .slice(1 + prompt.length)
      .map((id) => words[id] ?? "")
      .join("")
      .replaceAll("▁", " ");
    const known = " a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball.";
    t.equal(text.slice(0, known.length), known);
  },
);

/** Seeded tokens, no padding, counted positions. */
function batch(spec: DecoderSpec, rows: number, length: number) {
  const row = (seed: number) => Array.from({ length }, (_, i) => (seed * 7 + i * i * 5 + i) % spec.vocabulary);
  const ids = Array.from({ length: rows }, (_, seed) => row(seed + 1));
  return { ids, mask: ids.map((each) => each.map(() => 1)), positions: ids.map((each) => each.map((_, i) => i)) };
}

interface Bpe {
  /** Word of each id. */
  readonly words: readonly string[];
  encode(text: string): number[];
}

/** Byte-pair encoding without normalisation: the merge that was learnt first goes first. */
function readBpe(file: string): Bpe {
  const { model } = JSON.parse(fs.readFileSync(file, "utf8")) as {
    model: { vocab: Record<string, number>; merges: (string | [string, string])[] };
  };
  const words: string[] = [];
  for (const [word, id] of Object.entries(model.vocab)) words[id] = word;
  const ranks = new Map(model.merges.map((merge, rank) => [typeof merge === "string" ? merge : merge.join(" "), rank]));
  const encode = (text: string): number[] => {
    const parts = [...text];
    for (;;) {
      const rankAt = (i: number) => ranks.get(`${parts[i]} ${parts[i + 1]}`) ?? Number.POSITIVE_INFINITY;
      const best = parts.reduce((at, _, i) => (rankAt(i) < rankAt(at) ? i : at), 0);
      if (rankAt(best) === Number.POSITIVE_INFINITY) return parts.map((part) => words.indexOf(part));
      parts.splice(best, 2, `${parts[best]}${parts[best + 1]}`);
    }
  };
  return { words, encode };
}

/** The spec with another way to choose experts. */
function rerouted(spec: DecoderSpec, router: Partial<Router>): DecoderSpec {
  const blocks = spec.blocks.map((block) =>
    block.mlp.kind === "mixture"
      ? { ...block, mlp: { ...block.mlp, router: { ...block.mlp.router, ...router } } }
      : block,
  );
  return { ...spec, blocks };
}
