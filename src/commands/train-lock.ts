// Who is training into an output: one small file a process, in the state's directory. Never takes the place of a process that is still there.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { ExpandError, isSystemError } from "../errors.ts";
import { outputFailure } from "../storage/failure.ts";

const PREFIX = "lock-";
/** Of this process: its number alone would take its own runs for leftovers. */
const held = new Set<string>();

/**
 * Each run says first that it is here, and then looks for others: of two that begin at once, at least one sees the other. Gives what ends
 * the claim. Throws "output" while another run is there; what a killed process left is removed.
 */
export function lockOutput(directory: string, output: string): () => void {
  const mine = path.join(directory, `${PREFIX}${process.pid}@${os.hostname()}`);
  if (held.has(mine)) throw occupied(output, "this process", mine);
  try {
    fs.writeFileSync(mine, "");
  } catch (error) {
    throw outputFailure(error, mine);
  }
  held.add(mine);
  const release = (): void => {
    held.delete(mine);
    fs.rmSync(mine, { force: true });
  };
  for (const name of fs.readdirSync(directory).filter(isLock)) {
    const file = path.join(directory, name);
    const holder = file === mine ? undefined : holderOf(name);
    if (holder !== undefined) {
      release();
      throw occupied(output, holder, file);
    }
    if (file !== mine) fs.rmSync(file, { force: true });
  }
  return release;
}

export function isLock(name: string): boolean {
  return name.startsWith(PREFIX);
}

/** In words; undefined when that process of this machine is gone. Of another machine nothing can be known. */
function holderOf(name: string): string | undefined {
  const [, digits = "", host = ""] = /^lock-(\d+)@(.*)$/.exec(name) ?? [];
  if (host !== os.hostname()) return `process ${digits} on ${host}`;
  try {
    process.kill(Number(digits), 0);
  } catch (error) {
    // EPERM: it is there, and somebody else's.
    if (isSystemError(error) && error.code === "ESRCH") return undefined;
  }
  return `process ${digits}`;
}

function occupied(at: string, holder: string, file: string): ExpandError {
  return new ExpandError("output", `${holder} is training into it`, {
    at,
    fix: `Wait until it ends, or choose another output; if no such run is left, remove ${file}.`,
  });
}
