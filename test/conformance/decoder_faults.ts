// Expands decoders and runs both sides: identity for every family, and for each planted fault (decoder_faults.py) the block that has it.
// Usage: tsx decoder_faults.ts identity|faults WORK   One "ok"/"not ok" line a case; exit status 1 if any fails.
import fs from "node:fs";
import path from "node:path";
import { type ExpandOptions, expand, finish, type VerificationReport, verify } from "../../src/index.ts";

/** Uneven: no period of any kind survives it. */
const PLACEMENT = { after: [0, 2] } satisfies Partial<ExpandOptions>;

/** Expansion must refuse these, and say so: what a block computes follows from its number, or readers do not agree on it. */
const REFUSED: Readonly<Record<string, string>> = {
  "gpt2-inverse": "scale_attn_by_inverse_layer_idx true",
  "qwen2_moe-window": "use_sliding_window true",
  "qwen3_moe-window": "use_sliding_window true",
};

interface Fault {
  /** Folder of the checkpoint before its expansion. */
  readonly before: string;
  /** The block that must be named. */
  readonly block: number;
}

async function isIdentity(work: string, name: string): Promise<string> {
  const [source, output] = [path.join(work, "models", name), path.join(work, "expanded", name)];
  const wanted = REFUSED[name];
  try {
    await finish(expand({ source, output, force: true, verify: "structure", ...PLACEMENT }));
  } catch (error) {
    if (wanted !== undefined && error instanceof Error && error.message.includes(wanted)) return "";
    throw error;
  }
  if (wanted !== undefined) return `not refused: ${wanted}`;
  const report = await finish(verify({ before: source, after: output, mode: "both" }));
  const exact = report.numeric?.logits.differing === 0 && report.numeric.blocks.every(({ maxAbs }) => maxAbs === 0);
  if (report.verdict === "identity" && exact) return "";
  return `${report.verdict}: ${reasons(report)}`;
}

/** In both modes: the structure may find it too, and must not hide it from the numbers. */
async function isFound(work: string, name: string): Promise<string> {
  const after = path.join(work, "faults", name);
  const fault: Fault = JSON.parse(fs.readFileSync(`${after}.json`, "utf8"));
  for (const mode of ["numbers", "both"] as const) {
    const report = await finish(verify({ before: path.join(work, "models", fault.before), after, mode }));
    const found = report.numeric?.firstDifference?.block;
    if (report.verdict !== "not-identity" || found !== fault.block) {
      return `${mode}: ${report.verdict}, block ${found} instead of ${fault.block}: ${reasons(report)}`;
    }
  }
  return "";
}

function reasons(report: VerificationReport): string {
  return report.findings.map(({ code, at, message }) => `${code} ${at}: ${message}`).join("; ");
}

async function main(): Promise<void> {
  const [what, work = ".", ...chosen] = process.argv.slice(2);
  const [folder, check] = what === "faults" ? (["faults", isFound] as const) : (["models", isIdentity] as const);
  const entries = fs.readdirSync(path.join(work, folder), { withFileTypes: true });
  const names = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  for (const name of chosen.length > 0 ? chosen : names.sort()) {
    const complaint = await check(work, name).catch((error: unknown) => String(error));
    console.log(complaint === "" ? `ok ${what} ${name}` : `not ok ${what} ${name}: ${complaint}`);
    if (complaint !== "") process.exitCode = 1;
  }
}

await main();
