// Runs many expansions in one process, as a program that uses the library would, and says what came of each. Never stops at a failure.
// Usage: tsx expand-all.ts JOBS RESULTS, two JSON files: Job[] in, Result[] out.
import fs from "node:fs";
import { ExpandError, type ExpandOptions, expand, finish, type Plan } from "../../src/index.ts";

interface Job {
  readonly id: string;
  readonly source: string;
  readonly output: string;
  readonly options: Omit<ExpandOptions, "source" | "output">;
}

type Result =
  | {
      readonly id: string;
      readonly verdict: string;
      readonly findings: readonly string[];
      readonly stack: string;
      readonly blocks: Plan["blocks"];
      readonly warnings: readonly string[];
      readonly refused: readonly string[];
    }
  | { readonly id: string; readonly error: Failure; readonly leftBehind: boolean };

interface Failure {
  readonly tag: string;
  readonly exitCode: number;
  readonly message: string;
  readonly fix: string;
}

const [jobsFile, resultsFile] = process.argv.slice(2);
if (jobsFile === undefined || resultsFile === undefined) {
  throw new ExpandError("usage", "expected two file names", { fix: "Run tsx expand-all.ts JOBS RESULTS." });
}
const jobs: readonly Job[] = JSON.parse(fs.readFileSync(jobsFile, "utf8"));
const results: Result[] = [];
for (const job of jobs) results.push(await attempt(job));
fs.writeFileSync(resultsFile, JSON.stringify(results));

async function attempt({ id, source, output, options }: Job): Promise<Result> {
  try {
    const { plan, verification, refused } = await finish(expand({ ...options, source, output }));
    return {
      id,
      verdict: verification?.verdict ?? "none",
      findings: (verification?.findings ?? [])
        .filter(({ severity }) => severity !== "info")
        .map(({ code, at, message }) => `${code} ${at}: ${message}`),
      stack: plan.source.stack,
      blocks: plan.blocks,
      warnings: plan.warnings,
      refused: refused.map(({ recipe, reason }) => `${recipe}: ${reason}`),
    };
  } catch (error) {
    return { id, error: describe(error), leftBehind: fs.existsSync(output) };
  }
}

/** An error that is not ours is a bug of ours. */
function describe(error: unknown): Failure {
  if (error instanceof ExpandError) {
    const { tag, exitCode, message, fix = "" } = error;
    return { tag, exitCode, message, fix };
  }
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { tag: "crash", exitCode: 70, message, fix: "" };
}
