// The verb `verify`: two checkpoints in, a verdict out. Trusts neither a plan nor a manifest.
import type { Run } from "../events.ts";
import { openCheckpoint } from "../formats/open.ts";
import type { VerificationReport } from "../verification/report.ts";
import { openProver, type ProverOptions } from "./prover.ts";

export {
  githubAnnotations,
  githubFailure,
  githubOutputs,
  githubSummary,
} from "../verification/report/github.ts";
export { htmlText } from "../verification/report/html.ts";
export { junitText } from "../verification/report/junit.ts";
export { markdownText } from "../verification/report/markdown.ts";
export { terminalText } from "../verification/report/terminal.ts";
export type { VerificationReport } from "../verification/report.ts";

/** The report itself, for a file. */
export function jsonText(report: VerificationReport): string {
  return `${JSON.stringify(report, null, 2)}\n`;
}

export interface VerifyOptions extends ProverOptions {
  /** Paths of checkpoints, or repositories of the Hub. */
  readonly before: string;
  readonly after: string;
  /** For repositories of the Hub; otherwise the environment's. */
  readonly token?: string;
}

/** Throws when one side cannot be opened, or models are to be run and cannot be; everything else is in the report. */
export async function* verify(options: VerifyOptions): Run<VerificationReport> {
  const prover = await openProver(options);
  try {
    yield { kind: "phase", name: "read headers" };
    const before = await openCheckpoint(options.before, options);
    const after = await openCheckpoint(options.after, options);
    return yield* prover.prove(before, after);
  } finally {
    await prover.close();
  }
}
