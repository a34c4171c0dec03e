// Puts the two proofs together: stored bytes, and numbers. One that could not be made never counts as passed.
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { fingerprint } from "../checkpoint/fingerprint.ts";
import type { Run, RunOptions } from "../events.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { compareNumbers } from "./numeric/numbers.ts";
import type { NumbersOptions } from "./numeric/options.ts";
import type { NumbersOutcome } from "./numeric/outcome.ts";
import { VERIFICATION_SCHEMA, type VerificationReport, verdictOf } from "./report.ts";
import { type VerifyOptions, verifyStructure } from "./structure.ts";

/** Runs both models on the same tokens. Throws what reading throws, "backend", "usage" and "interrupted". */
export async function* verifyNumbers(
  before: Checkpoint,
  after: Checkpoint,
  runtime: Runtime,
  options: NumbersOptions & RunOptions = {},
): Run<VerificationReport> {
  const started = performance.now();
  const outcome = yield* compareNumbers(before, after, runtime, options);
  const empty: VerificationReport = {
    schema: VERIFICATION_SCHEMA,
    mode: "numbers",
    verdict: "identity",
    before: fingerprint(before),
    after: fingerprint(after),
    blocks: [],
    findings: [],
    skipped: [],
    bytesCompared: 0,
    seconds: 0,
  };
  return withOutcome(empty, outcome, started);
}

/** First the bytes, then the numbers, whatever the bytes say. */
export async function* verifyBoth(
  before: Checkpoint,
  after: Checkpoint,
  runtime: Runtime,
  options: VerifyOptions & NumbersOptions = {},
): Run<VerificationReport> {
  const started = performance.now();
  const structure = yield* verifyStructure(before, after, options);
  const outcome = yield* compareNumbers(before, after, runtime, options);
  return withOutcome({ ...structure, mode: "both" }, outcome, started);
}

function withOutcome(report: VerificationReport, outcome: NumbersOutcome, started: number): VerificationReport {
  const { reason: earlier, ...rest } = report;
  const findings = [...report.findings, ...outcome.findings];
  const judged = verdictOf(findings);
  const open = findings.find((each) => each.severity === "leaves-open");
  const reason = outcome.reason ?? earlier ?? (open && `${open.at} ${open.message}`);
  const verdict = judged === "identity" && reason !== undefined ? "inconclusive" : judged;
  return {
    ...rest,
    verdict,
    ...(verdict === "inconclusive" && reason !== undefined ? { reason } : {}),
    findings,
    ...(outcome.numeric === undefined ? {} : { numeric: outcome.numeric }),
    seconds: Math.round(performance.now() - started) / 1000,
  };
}
