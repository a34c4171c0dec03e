// Compares our forward graphs with the logits that transformers computed (decoder_logits.py): stages and whole model, prefill, left padding,
// and token by token with the cache.  tsx decoder_logits.ts FOLDER [variant ...]   One "ok"/"not ok" line a variant; exit status 1 if any fails.
import fs from "node:fs";
import path from "node:path";
import { buildDecoder } from "../../src/decoder/build.ts";
import { readSpec } from "../../src/decoder/read.ts";
import { openCheckpoint } from "../../src/formats/open.ts";
import { openRuntime, type Runtime } from "../../src/runtime/runtime.ts";
import { materialise, runStages, runWhole } from "../decoder/forward.ts";

export { emptyCache, floats, ints, materialise, nextCache, runStages } from "../decoder/forward.ts";

/** Largest difference, in units of the root mean square of the reference. */
const TOLERANCE = 1e-4;

interface Reference {
  readonly ids: number[][];
  readonly vocabulary: number;
  readonly half: number;
  readonly mask: number[][];
  readonly positions: number[][];
}

/** Largest difference over the positions that are not padding, by the reference's root mean square. */
function compare(
  ours: Float32Array,
  theirs: Float32Array,
  isReal: (token: number) => boolean,
  vocabulary: number,
): number {
  let worst = ours.length === theirs.length ? 0 : Number.NaN;
  let squares = 0;
  let count = 0;
  for (const [i, expected] of theirs.entries()) {
    if (!isReal(Math.floor(i / vocabulary))) continue;
    const difference = Math.abs((ours[i] ?? Number.NaN) - expected);
    if (!(difference <= worst)) worst = difference;
    squares += expected * expected;
    count++;
  }
  return worst / Math.sqrt(squares / count);
}

async function check(runtime: Runtime, folder: string): Promise<Record<string, number>> {
  const reference = JSON.parse(fs.readFileSync(path.join(folder, "reference.json"), "utf8")) as Reference;
  const { ids, vocabulary, half } = reference;
  const expected = (name: string): Float32Array => {
    const bytes = fs.readFileSync(path.join(folder, `${name}.f32`));
    return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  };
  const spec = readSpec(await openCheckpoint(folder));
  const ones = ids.map((row) => row.map(() => 1));
  const counted = ids.map((row) => row.map((_, i) => i));
  const all = () => true;
  const staged = await runStages(runtime, spec, ids, counted);
  const file = await materialise(buildDecoder(spec), path.join(folder, "onnx"));
  const session = await runtime.open(file);
  const plain = { ids, mask: ones, positions: counted };
  const length = ids[0]?.length ?? 0;
  const whole = await runWhole(session, spec, plain, length);
  const steps = await runWhole(session, spec, plain, half);
  const padded = await runWhole(session, spec, { ...reference }, length);
  await session.close();
  const isReal = (token: number) => reference.mask.flat()[token] === 1;
  return {
    stages: compare(staged, expected("plain"), all, vocabulary),
    whole: compare(whole, expected("plain"), all, vocabulary),
    steps: compare(steps, expected("steps"), all, vocabulary),
    padded: compare(padded, expected("padded"), isReal, vocabulary),
  };
}

async function main(): Promise<void> {
  const [root = ".", ...chosen] = process.argv.slice(2);
  const names = chosen.length > 0 ? chosen : fs.readdirSync(root).sort();
  const runtime = await openRuntime({ device: "cpu", threads: 1 });
  for (const name of names) {
    try {
      const errors = await check(runtime, path.join(root, name));
      const good = Object.values(errors).every((error) => error <= TOLERANCE);
      const text = Object.entries(errors).map(([what, error]) => `${what} ${error.toExponential(1)}`);
      console.log(`${good ? "ok" : "not ok"} - ${name}: ${text.join(", ")}`);
      if (!good) process.exitCode = 1;
    } catch (error) {
      console.log(`not ok - ${name}: ${error instanceof Error ? error.message : error}`);
      process.exitCode = 1;
    }
  }
  await runtime.close();
}

if (process.argv[1] === import.meta.filename) await main();
