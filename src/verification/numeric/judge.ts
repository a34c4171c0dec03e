// What the numbers mean: findings, each at the first place that shows it. Compares nothing itself.
import { type Finding, finding } from "../report.ts";
import type { Step, Walk } from "./lockstep.ts";
import { isWithin, type Measure, NOTHING, relative } from "./measure.ts";

export interface Evidence {
  /** Of the states behind both embeddings; absent, as the walk is, where no block was looked at. */
  readonly embedding?: Measure;
  readonly walk?: Walk;
  /** The same walk once more, behind caches that hold something. */
  readonly cached?: Walk;
  readonly logits: Measure;
  readonly tolerance: number;
  /** Of states, where it is another. */
  readonly stateTolerance?: number;
}

/** Findings on states and logits, in the order of the forward pass. */
export function judge(evidence: Evidence): readonly Finding[] {
  const { embedding = NOTHING, walk, cached, logits, tolerance, stateTolerance = tolerance } = evidence;
  const { steps, missing } = walk ?? { steps: [], missing: [] };
  return [
    ...finiteFindings(steps, logits),
    ...(isWithin(embedding, stateTolerance) ? [] : [differs("state-differs", "embedding", embedding, stateTolerance)]),
    ...stepFindings(steps, stateTolerance),
    ...stepFindings(cached?.steps ?? [], stateTolerance).map((each) => ({
      ...each,
      at: `${each.at}, behind its cache`,
    })),
    // Behind what is not finite, blocks cannot be told from each other.
    ...(lostAt(steps) === undefined ? missing : []).map((from) =>
      finding("state-differs", `block ${from} of BEFORE`, "no block of AFTER computes what it computes"),
    ),
    ...(isWithin(logits, tolerance) ? [] : [differs("logits-differ", "logits", logits, tolerance)]),
  ];
}

/** Only the first original that differs: what comes behind it starts from another state. Copies answer for themselves. */
function stepFindings(steps: readonly Step[], tolerance: number): readonly Finding[] {
  const findings: Finding[] = [];
  const lost = lostAt(steps);
  let parted = false;
  for (const step of steps) {
    if (step.holds) continue;
    const { at, kind, from, maxAbs } = step;
    // Nothing but what is not finite differs, and that has a finding of its own.
    if (step === lost && maxAbs === 0) {
      parted = true;
      continue;
    }
    const where = { block: at };
    if (kind === "copy") {
      const message = `was added to BEFORE's blocks and changes its input, ${extent(maxAbs)}; a copy gives it back exactly`;
      findings.push(finding("copy-not-exact", `block ${at}`, message, where));
    } else if (!parted && kind === "original") {
      const message = `differs from what block ${from} of BEFORE gives ${share(maxAbs, step.maxRel, tolerance)}`;
      findings.push(finding("state-differs", `block ${at}`, message, where));
    } else if (!parted) {
      const message = `neither returns its input nor gives what BEFORE's next block gives; it is off ${extent(maxAbs)}`;
      findings.push(finding("state-differs", `block ${at}`, message, where));
    }
    parted = true;
  }
  return findings;
}

/** The first block whose output has values that are not finite, on either side. */
function lostAt(steps: readonly Step[]): Step | undefined {
  return steps.find((step) => step.nonFinite > 0 || step.nonFiniteBefore > 0);
}

function finiteFindings(steps: readonly Step[], logits: Measure): readonly Finding[] {
  const findings: Finding[] = [];
  const first = lostAt(steps);
  const places = steps.filter((step) => step.nonFinite > 0).map((step) => step.at);
  if (first !== undefined) {
    const { at, nonFinite, nonFiniteBefore } = first;
    const rest = places.length > 1 ? `; so have ${places.length - 1} later ones` : "";
    const message = `has ${nonFinite} values that are NaN or infinite in its output${rest}`;
    const both = `${message}; BEFORE's own block has ${nonFiniteBefore}, so nothing can be concluded`;
    findings.push(
      nonFiniteBefore > 0
        ? finding("not-finite", `block ${at}`, both, { block: at, severity: "leaves-open" })
        : finding("not-finite", `block ${at}`, message, { block: at }),
    );
  } else if (logits.nonFinite > 0 || logits.nonFiniteExpected > 0) {
    const message = `${logits.nonFinite} of ${logits.total} are NaN or infinite; of BEFORE's, ${logits.nonFiniteExpected} are`;
    const open = logits.nonFiniteExpected > 0 ? { severity: "leaves-open" as const } : {};
    findings.push(finding("not-finite", "logits", message, open));
  }
  return findings;
}

function differs(code: "state-differs" | "logits-differ", at: string, each: Measure, tolerance: number): Finding {
  const { differing, total, torn, maxAbs } = each;
  const lost = torn > 0 ? `; ${torn} are finite on one side only` : "";
  const message =
    maxAbs === 0
      ? `${torn} of ${total} values are finite on one side only`
      : `${differing} of ${total} values differ, ${share(maxAbs, relative(each), tolerance)}${lost}`;
  return finding(code, at, message);
}

/** How far apart; 0 is said of values that are finite on one side only. */
function extent(maxAbs: number): string {
  return maxAbs === 0 ? "in values that are finite on one side only" : `by up to ${number(maxAbs)}`;
}

function share(maxAbs: number, maxRel: number, tolerance: number): string {
  if (maxAbs === 0) return extent(maxAbs);
  const allowed = tolerance === 0 ? "equality was expected" : `${number(tolerance)} is allowed`;
  return `${extent(maxAbs)}, ${number(maxRel)} of the largest value; ${allowed}`;
}

/** Three significant digits. */
export function number(value: number): string {
  return String(Number(value.toPrecision(3)));
}
