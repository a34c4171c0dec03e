// `delta strip --inexact`: the source of a checkpoint that does not remember it, in files of our own making. Writes only what is proved to be
// what was expanded.
import { createHash } from "node:crypto";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { fingerprint } from "../checkpoint/fingerprint.ts";
import { ExpandError } from "../errors.ts";
import type { Run } from "../events.ts";
import type { Expansion } from "../expansion/apply.ts";
import { contract } from "../expansion/contract.ts";
import type { FilePlan } from "../storage/file-plan.ts";
import { verifyStructure } from "../verification/structure.ts";
import type { StripOptions, StripReport } from "./delta-strip.ts";
import { writeRestored } from "./delta-write.ts";
import { findCopies } from "./mask.ts";
import { companionFiles, outputNames, weightFiles } from "./output.ts";
import { understandCheckpoint } from "./understanding.ts";

/** Throws "inconclusive" where the result cannot be shown to be what was expanded, "plan" where no copies are found. */
export async function* stripInexactly(expanded: Checkpoint, options: StripOptions): Run<StripReport> {
  const { output, signal } = options;
  const { checkpoint, architecture } = await understandCheckpoint(expanded, undefined);
  const { copies } = await findCopies(checkpoint, architecture, { ...options, source: expanded.location });
  const contracted = contract(checkpoint, architecture, copies);
  const fault = yield* faultOf(contracted.checkpoint, expanded, signal);
  if (fault !== undefined) {
    throw new ExpandError("inconclusive", `without its copies it cannot be shown to be what was expanded: ${fault}`, {
      at: expanded.location,
      fix: "Put back the source.json that expand wrote, or take the source from where it came.",
    });
  }
  const plans = await filesFor(contracted, output);
  const key = createHash("sha256")
    .update(
      JSON.stringify([
        fingerprint(contracted.checkpoint).headers,
        expanded.shards.map(({ source }) => source.identity),
      ]),
    )
    .digest("hex");
  const files = yield* writeRestored(expanded, options, [], plans, key);
  const bytes = files.reduce((sum, { size }) => sum + size, 0);
  return { output, files, bytes, shown: "tensors", compared: 0, notCarried: [] };
}

/** Why the expanded checkpoint is not an identity expansion of this one; undefined when it is. */
async function* faultOf(
  source: Checkpoint,
  expanded: Checkpoint,
  signal: AbortSignal | undefined,
): Run<string | undefined> {
  try {
    const report = yield* verifyStructure(source, expanded, signal === undefined ? {} : { signal });
    if (report.verdict === "identity") return undefined;
    const [found] = report.findings.filter(({ severity }) => severity === "refutes");
    return found === undefined ? (report.reason ?? "nothing shows it") : `${found.at} ${found.message}`;
  } catch (error) {
    // Settings that were not adapted as they should be make a checkpoint that contradicts itself.
    if (error instanceof ExpandError && error.tag !== "interrupted") return error.message;
    throw error;
  }
}

async function filesFor(contracted: Expansion, output: string): Promise<readonly FilePlan[]> {
  const weights = await weightFiles(contracted, outputNames(contracted.checkpoint, output), undefined);
  return [...weights, ...companionFiles(contracted.checkpoint, weights)];
}
