// Whether a run may have an output, and what marks it as this run's until it ends. Never removes what is not a run's own.
import fs from "node:fs";
import path from "node:path";
import { ExpandError } from "../errors.ts";
import { outputFailure } from "../storage/failure.ts";
import { makeDirectory } from "./directory.ts";
import { isLock, lockOutput } from "./train-lock.ts";
import type { TrainOutput } from "./train-output.ts";

/** Throws "output" where the output holds something else than a run of ours. */
export function checkTrainOutput(
  out: TrainOutput,
  { output, force }: { readonly output: string; readonly force: boolean },
): void {
  const { directory, file } = out.names;
  const stat = statOf(directory);
  if (stat === undefined || fs.existsSync(out.state)) return;
  if (!stat.isDirectory()) {
    throw new ExpandError("output", "is not a directory", { at: output, fix: "Choose another output directory." });
  }
  const alone = file === undefined || !output.endsWith(file);
  const entries = fs.readdirSync(directory).sort();
  const stem = file?.replace(/\.[^.]+$/, "") ?? "";
  const taken = alone ? entries : entries.filter((name) => name === file || name.startsWith(`${stem}.`));
  if (taken.length > 0 && !force) throw occupied(output, taken);
}

/** A path through a file is as good as a file. */
function statOf(directory: string): fs.Stats | undefined {
  try {
    return fs.statSync(directory, { throwIfNoEntry: false });
  } catch (error) {
    throw outputFailure(error, directory);
  }
}

/**
 * Makes the state's directory, which marks the output as this run's. Without `resume`, what an earlier run left is removed. Gives what ends
 * the claim. Throws "output" while another run is there.
 */
export function claimTrainOutput(
  out: TrainOutput,
  { output, resume }: { readonly output: string; readonly resume: boolean },
): () => void {
  const wasThere = fs.existsSync(out.state);
  makeOutput(out.state);
  const unlock = lockOutput(out.state, output);
  if (!resume && wasThere) {
    removeState(out.state);
    for (const stale of [out.metrics, out.page]) fs.rmSync(stale, { force: true });
  }
  return () => {
    unlock();
    releaseTrainOutput(out);
  };
}

/** A tree that cannot be written is said so, whole. */
function makeOutput(directory: string): void {
  try {
    makeDirectory(directory);
  } catch (error) {
    throw outputFailure(error, directory);
  }
}

/** All but who is there. */
function removeState(state: string): void {
  for (const name of fs.readdirSync(state)) {
    if (!isLock(name)) fs.rmSync(path.join(state, name), { recursive: true });
  }
}

/** Leaves no trace of a run that ended before it measured anything. */
function releaseTrainOutput({ state, names: { directory } }: TrainOutput): void {
  const isEmpty = (place: string, but: number): boolean => fs.existsSync(place) && fs.readdirSync(place).length === but;
  if (!isEmpty(state, 0) || !isEmpty(directory, 1)) return;
  fs.rmdirSync(state);
  fs.rmdirSync(directory);
}

function occupied(at: string, taken: readonly string[]): ExpandError {
  const more = taken.length > 3 ? ` and ${taken.length - 3} more` : "";
  return new ExpandError("output", `already holds ${taken.slice(0, 3).join(", ")}${more}, and no run to go on with`, {
    at,
    fix: "Choose another output, or pass --force to replace files of the same names.",
  });
}
