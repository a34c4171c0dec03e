// The verb `mask`: the frozen/trainable split of an expanded checkpoint again, in a trainer's dialect.

import type { Architecture } from "../architecture/architecture.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError, throwIfAborted } from "../errors.ts";
import type { Run, RunOptions } from "../events.ts";
import { isIdentityBlock } from "../expansion/liveness.ts";
import { type Mask, maskFor, parseMask } from "../expansion/mask.ts";
import { exportMask, type Recipe, type RecipeName } from "../expansion/recipes/recipes.ts";
import { openCheckpoint } from "../formats/open.ts";
import type { ByteSource } from "../tensor/source.ts";
import { findPaper } from "./papers.ts";
import { understandCheckpoint } from "./understanding.ts";

export interface MaskOptions extends RunOptions {
  /** Path of an expanded checkpoint. */
  readonly source: string;
  /** For repositories of the Hub; otherwise the environment's. */
  readonly token?: string;
  readonly stack?: string;
  /** Which blocks are copies. Default: what mask.json beside the checkpoint says, else the blocks that add nothing. */
  readonly blocks?: readonly number[];
  /** Default json. */
  readonly recipe?: RecipeName;
}

export interface MaskReport {
  readonly mask: Mask;
  /** How the copies were found. */
  readonly found: "given" | "mask.json" | "identity";
  readonly result: Recipe;
}

/** Throws "plan" when no block is a copy by any of the three ways. */
export async function* mask(options: MaskOptions): Run<MaskReport> {
  yield { kind: "phase", name: "read headers" };
  const opened = await openCheckpoint(options.source, options);
  const { checkpoint, architecture } = await understandCheckpoint(opened, options.stack);
  const { copies, plan, found } = await findCopies(checkpoint, architecture, options);
  const value = maskFor(architecture, opened, copies, plan);
  return { mask: value, found, result: exportMask(options.recipe ?? "json", value, architecture) };
}

/** What finding the copies goes by. */
export type CopyWishes = RunOptions & Pick<MaskOptions, "blocks"> & { readonly source: string };

export interface Found {
  readonly copies: readonly number[];
  readonly plan: string | undefined;
  readonly found: MaskReport["found"];
}

/** `checkpoint` and `architecture` as they are understood. Throws "plan" when no block is a copy by any of the three ways. */
export async function findCopies(
  checkpoint: Checkpoint,
  architecture: Architecture,
  options: CopyWishes,
): Promise<Found> {
  if (options.blocks !== undefined) return { copies: options.blocks, plan: undefined, found: "given" };
  const source = maskBeside(checkpoint);
  const saved = source === undefined ? undefined : parseMask(source.name, await source.read(0, source.size));
  if (saved !== undefined) return { copies: saved.blocks, plan: saved.plan, found: "mask.json" };
  const copies: number[] = [];
  for (const block of architecture.blocks) {
    throwIfAborted(options.signal);
    if (await isIdentityBlock(checkpoint, block)) copies.push(block.index);
  }
  if (copies.length > 0) return { copies, plan: undefined, found: "identity" };
  throw new ExpandError("plan", "no block adds exactly nothing, and there is no mask.json", {
    at: options.source,
    fix: "Name the copies with --blocks 4,9,14.",
  });
}

/** The mask beside a checkpoint: mask.json in its directory, or STEM.mask.json beside a GGUF file. */
export function maskBeside(checkpoint: Checkpoint): ByteSource | undefined {
  return findPaper(checkpoint, "mask.json");
}
