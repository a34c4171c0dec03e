// Which tensors of an expanded checkpoint may be trained: as a mask says, else those of the blocks that add nothing. Reads no weights
// where a mask is there.
import fs from "node:fs";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError, isSystemError } from "../errors.ts";
import type { RunOptions } from "../events.ts";
import { maskFor, parseTrainable } from "../expansion/mask.ts";
import { findCopies, maskBeside } from "./mask.ts";
import { understandCheckpoint } from "./understanding.ts";

export interface TrainableOptions extends RunOptions {
  /** Path of a mask.json. Default: the one beside the checkpoint, else the copies are found. */
  readonly mask?: string;
  readonly stack?: string;
}

/** Throws "input" for a mask that is none, "usage" for a path that cannot be read, "plan" when no copies are found. */
export async function trainableTensors(
  opened: Checkpoint,
  options: TrainableOptions = {},
): Promise<ReadonlySet<string>> {
  if (options.mask !== undefined) return parseTrainable(options.mask, readGiven(options.mask));
  const beside = maskBeside(opened);
  if (beside !== undefined) return parseTrainable(beside.name, await beside.read(0, beside.size));
  const { checkpoint, architecture } = await understandCheckpoint(opened, options.stack);
  const { copies } = await findCopies(checkpoint, architecture, { ...options, source: opened.location });
  const { tensors } = maskFor(architecture, opened, copies);
  return new Set(Object.keys(tensors).filter((name) => tensors[name] === "trainable"));
}

function readGiven(file: string): Uint8Array {
  try {
    return fs.readFileSync(file);
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw new ExpandError("usage", `cannot be read (${error.code})`, {
      at: file,
      fix: "Check the path given to --mask.",
      cause: error,
    });
  }
}
