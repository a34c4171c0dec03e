// The verb `verify`: two checkpoints in, a verdict out. Trusts neither a plan nor a manifest.
import type { Run, RunOptions } from "../events.ts";
import { openCheckpoint } from "../formats/open.ts";
import type { VerificationReport } from "../verification/report.ts";
import { verifyStructure } from "../verification/structure.ts";

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

export interface VerifyOptions extends RunOptions {
  /** Paths of checkpoints. */
  readonly before: string;
  readonly after: string;
  readonly stack?: string;
}

/** Throws when one side cannot be opened; everything else is in the report. */
export async function* verify(options: VerifyOptions): Run<VerificationReport> {
  yield { kind: "phase", name: "read headers" };
  const before = await openCheckpoint(options.before);
  const after = await openCheckpoint(options.after);
  const { stack, signal } = options;
  return yield* verifyStructure(before, after, {
    ...(stack === undefined ? {} : { stack }),
    ...(signal === undefined ? {} : { signal }),
  });
}
