// What a refusal says, in one line that tests compare whole.
import path from "node:path";
import { ExpandError } from "../../src/errors.ts";

/** "tag: message / fix", without the directory. Errors of any other class go through. */
export async function refusal(work: Promise<unknown>, directory = "nowhere"): Promise<string> {
  try {
    await work;
    return "nothing was refused";
  } catch (error) {
    if (!(error instanceof ExpandError)) throw error;
    const line = `${error.tag}: ${error.message} / ${error.fix}`;
    return line.replaceAll(`${directory}${path.sep}`, "").replaceAll(directory, "DIR");
  }
}
