// The verb `expand`: plan, write, open what was written, prove. The only verb that writes a checkpoint.
import fs from "node:fs";
import path from "node:path";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError } from "../errors.ts";
import type { Run } from "../events.ts";
import type { Expansion } from "../expansion/apply.ts";
import type { Mask } from "../expansion/mask.ts";
import type { Plan } from "../expansion/plan.ts";
import type { RecipeName } from "../expansion/recipes/recipes.ts";
import { openCheckpoint } from "../formats/open.ts";
import type { WrittenFile } from "../storage/file-plan.ts";
import { writeFiles } from "../storage/write.ts";
import type { VerificationReport } from "../verification/report.ts";
import { type ArrangeOptions, arrange } from "./arrangement.ts";
import { type OutputNames, openingPath, removeStale } from "./output.ts";
import type { Prover, ProverOptions } from "./prover.ts";
import type { PushReport, PushTarget } from "./push.ts";

export type { VerificationReport } from "../verification/report.ts";

export interface ExpandOptions extends ArrangeOptions {
  /** "structure": by bytes. "full": by bytes and by running both models. Default "structure". */
  readonly verify?: "structure" | "full" | "none";
  /** Where and on what models run, for "full". */
  readonly numbers?: Pick<
    ProverOptions,
    "device" | "deviceId" | "samples" | "tokens" | "seed" | "tolerance" | "threads"
  >;
  /** Publish what was written, once it is proved. */
  readonly push?: PushTarget;
}

export interface ExpandReport {
  readonly output: string;
  readonly plan: Plan;
  readonly files: readonly WrittenFile[];
  readonly mask: Mask["counts"];
  /** Recipes that cannot express this layout, with the reason. */
  readonly refused: readonly { readonly recipe: RecipeName; readonly reason: string }[];
  /** Absent when verification was turned off. */
  readonly verification?: VerificationReport;
  /** Present when it was asked for and the proof holds. */
  readonly published?: PushReport;
  /** True when the weights were sent and are not on this disk. */
  readonly streamed?: true;
}

/** Throws whatever opening, planning, writing, proving and publishing refuse; a proof that fails is in the report, not an error. */
export async function* expand(options: ExpandOptions): Run<ExpandReport> {
  const { push: target, signal } = options;
  // What publishes is loaded for publishing only. A refusal comes before hours of writing.
  const { checkTarget, push } = target === undefined ? {} : await import("./push.ts");
  if (target !== undefined) await checkTarget?.(target, options);
  if (options.stream === true) return yield* expandStreamed(options);
  const report = yield* expandProved(options);
  if (target === undefined || push === undefined || report.verification?.verdict !== "identity") return report;
  const published = yield* push({ ...target, directory: report.output, ...(signal === undefined ? {} : { signal }) });
  return { ...report, published };
}

async function* expandStreamed(options: ExpandOptions): Run<ExpandReport> {
  const { push: target, verify } = options;
  if (target === undefined || verify === "full") {
    const without = target === undefined ? "without --push" : "with --verify full, which runs the model from the disk";
    throw new ExpandError("usage", `--stream does not go ${without}`, {
      fix: target === undefined ? "Add --push owner/name." : "Leave out --verify full.",
    });
  }
  const { streamExpansion } = await import("./stream.ts");
  const prover = await proverFor(options);
  try {
    return yield* streamExpansion(options, target, prover);
  } finally {
    await prover.close();
  }
}

async function* expandProved(options: ExpandOptions): Run<ExpandReport> {
  const prover = options.verify === "none" ? undefined : await proverFor(options);
  try {
    return yield* expandWith(options, prover);
  } finally {
    await prover?.close();
  }
}

async function proverFor(options: ExpandOptions): Promise<Prover> {
  const { openProver } = await import("./prover.ts");
  return openProver(proverOptions(options));
}

function proverOptions({ verify, numbers, stack, signal }: ExpandOptions): ProverOptions {
  return {
    ...numbers,
    mode: verify === "full" ? "both" : "structure",
    ...(stack === undefined ? {} : { stack }),
    ...(signal === undefined ? {} : { signal }),
  };
}

async function* expandWith(options: ExpandOptions, prover: Prover | undefined): Run<ExpandReport> {
  const arrangement = yield* arrange(options);
  const { checkpoint, plan, expansion, names, mask, refused, write } = arrangement;
  const large = [...arrangement.weights, ...arrangement.companions];
  const files = yield* writeFiles(names.directory, large, arrangement.finals, write);
  removeStale(names, arrangement.earlier, files);
  const verification =
    prover === undefined ? undefined : yield* prove(prover, checkpoint, expansion, openingPath(names, files), options);
  if (verification !== undefined) saveProof(names, verification);
  return {
    output: openingPath(names, files),
    plan,
    files,
    mask: mask.counts,
    refused,
    ...(verification === undefined ? {} : { verification }),
  };
}

/** Reads back what was written, from disk. The proof has no knowledge of the plan. */
async function* prove(
  prover: Prover,
  before: Checkpoint,
  expansion: Expansion,
  output: string,
  { signal }: ExpandOptions,
): Run<VerificationReport> {
  const after = await openCheckpoint(output);
  if (before.repository === undefined) return yield* prover.prove(before, after);
  const { standIn } = await import("./stand-in.ts");
  return yield* prover.prove(yield* standIn(before, expansion, after, signal), after);
}

export function saveProof(names: OutputNames, report: VerificationReport): void {
  const file = path.join(names.directory, names.sidecar("verification.json"));
  fs.writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`);
}
