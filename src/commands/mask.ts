// The verb `mask`: the frozen/trainable split of an expanded checkpoint again, in a trainer's dialect.

import path from "node:path";
import type { Architecture } from "../architecture/architecture.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError, throwIfAborted } from "../errors.ts";
import type { Run, RunOptions } from "../events.ts";
import { isIdentityBlock } from "../expansion/liveness.ts";
import { type Mask, maskFor, parseMask } from "../expansion/mask.ts";
import { exportMask, type Recipe, type RecipeName } from "../expansion/recipes/recipes.ts";
import { openCheckpoint } from "../formats/open.ts";
import { localFolder } from "../tensor/folder.ts";
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

interface Found {
  readonly copies: readonly number[];
  readonly plan: string | undefined;
  readonly found: MaskReport["found"];
}

async function findCopies(checkpoint: Checkpoint, architecture: Architecture, options: MaskOptions): Promise<Found> {
  if (options.blocks !== undefined) return { copies: options.blocks, plan: undefined, found: "given" };
  const saved = await savedMask(checkpoint);
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
async function savedMask(checkpoint: Checkpoint): Promise<ReturnType<typeof parseMask> | undefined> {
  const [shard] = checkpoint.shards;
  if (shard === undefined) return undefined;
  const { path: file } = shard.source;
  const folder = checkpoint.repository ?? (file === undefined ? undefined : localFolder(path.dirname(file)));
  const stem = path.posix.basename(shard.name).replace(/(?:-\d{5}-of-\d{5})?\.[^.]+$/, "");
  const found = ["mask.json", `${stem}.mask.json`].find((name) => folder?.kind(name) === "file");
  const source = found === undefined ? undefined : folder?.source(found);
  return source === undefined ? undefined : parseMask(source.name, await source.read(0, source.size));
}
