// Proves from stored bytes alone that AFTER is an identity expansion of BEFORE. Opens nothing, runs nothing, and trusts neither a plan
// nor what AFTER says about itself: BEFORE's architecture is the only yardstick.
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { fingerprint } from "../checkpoint/fingerprint.ts";
import type { Run, RunOptions } from "../events.ts";
import { assetBytes } from "./assets.ts";
import { Comparison } from "./comparison.ts";
import { findGround } from "./ground.ts";
import { Proof } from "./proof.ts";
import { VERIFICATION_SCHEMA, type VerificationReport, verdictOf } from "./report.ts";

export interface VerifyOptions extends RunOptions {
  /** Stack of blocks that was expanded, where a model has several. Default: the one whose number of blocks changed. */
  readonly stack?: string;
}

/** Reads every byte of AFTER once, and of BEFORE what each must equal. Throws what the reading throws, and "interrupted". */
export async function* verifyStructure(
  before: Checkpoint,
  after: Checkpoint,
  options: VerifyOptions = {},
): Run<VerificationReport> {
  const started = performance.now();
  const empty = { blocks: [], findings: [], skipped: [], bytesCompared: 0 };
  const head = {
    schema: VERIFICATION_SCHEMA,
    mode: "structure",
    before: fingerprint(before),
    after: fingerprint(after),
  } as const;
  const seconds = (): number => Math.round(performance.now() - started) / 1000;
  const ground = await findGround(before, after, options.stack);
  if ("reason" in ground)
    return { ...head, ...empty, verdict: "inconclusive", reason: ground.reason, seconds: seconds() };
  const sides = ground.graphs ?? { before, after };
  const total = tensorBytes(sides.after) + assetBytes(before, after);
  const comparison = new Comparison(total, options.signal);
  try {
    const proof = new Proof(ground, { before: sides.before, after: sides.after, comparison, seen: new Set() });
    yield* proof.run(options.signal);
    const verdict = verdictOf(proof.findings);
    const open = proof.findings.find((each) => each.severity === "leaves-open");
    return {
      ...head,
      verdict,
      ...(verdict === "inconclusive" && open !== undefined ? { reason: `${open.at} ${open.message}` } : {}),
      family: ground.architecture.family,
      stack: ground.architecture.stack,
      blocks: proof.blocks,
      findings: proof.findings,
      skipped: proof.skipped,
      bytesCompared: comparison.done,
      seconds: seconds(),
    };
  } finally {
    await comparison.close();
  }
}

function tensorBytes(checkpoint: Checkpoint): number {
  let bytes = 0;
  for (const tensor of checkpoint.tensors.values()) bytes += tensor.bytes;
  return bytes;
}
