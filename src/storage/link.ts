// Hard links to source files that go out unchanged: no bytes move. Never links when the system refuses; says so and lets the caller copy.
import fs from "node:fs";
import { isSystemError } from "../errors.ts";
import { sourceFailure } from "./failure.ts";
import type { CopyJob } from "./job.ts";
import { checkIdentity } from "./sources.ts";

/** Other device, no links on this file system, too many links, links refused to non-owners. */
const REFUSALS: ReadonlySet<string> = new Set(["EXDEV", "EPERM", "EMLINK", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"]);

/** Makes job.path a hard link to the job's only source. False, with a note, when that cannot be done here. */
export function linkSource(job: CopyJob, notes: string[]): boolean {
  const source = job.sources[0];
  if (source === undefined || !("path" in source)) return false;
  checkIdentity(source);
  try {
    // link(2) would link a symbolic link itself, and model caches are made of those.
    fs.linkSync(fs.realpathSync(source.path), job.path);
    return true;
  } catch (error) {
    if (!isSystemError(error) || !REFUSALS.has(error.code ?? "")) throw sourceFailure(error, source.name);
    notes.push(`Hard links to the source cannot be made here (${error.code}); copied instead.`);
    return false;
  }
}
