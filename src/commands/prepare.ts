// From a path and a wish to a plan: the part that plan and expand share. Reads headers, and of the weights only what shows that a
// copy can learn.
import fs from "node:fs";
import type { Architecture } from "../architecture/architecture.ts";
import { type Layout, originalPositions } from "../architecture/layout.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError, isSystemError } from "../errors.ts";
import type { Run, RunOptions } from "../events.ts";
import type { Expansion } from "../expansion/apply.ts";
import { checkLiveness } from "../expansion/liveness.ts";
import { type PlacementOptions, placeCopies } from "../expansion/placement.ts";
import { type Plan, planExpansion, type ZeroMode } from "../expansion/plan.ts";
import { parsePlan, replayPlan } from "../expansion/replay.ts";
import { openCheckpoint } from "../formats/open.ts";
import { carryOut } from "./carry-out.ts";
import { understandCheckpoint } from "./understanding.ts";

export interface PrepareOptions extends RunOptions, PlacementOptions {
  /** Path of a checkpoint (directory or file), or a repository of the Hub. */
  readonly source: string;
  /** For repositories of the Hub; otherwise the environment's. */
  readonly token?: string;
  /** Which stack of blocks to expand, where a model has several ("encoder", "decoder", "text", "vision"). */
  readonly stack?: string;
  /** Path of a saved plan, or of a mergekit passthrough YAML. Excludes the placement options. */
  readonly plan?: string;
  readonly zero?: ZeroMode;
}

export interface Prepared {
  /** As opened. */
  readonly checkpoint: Checkpoint;
  readonly plan: Plan;
  readonly expansion: Expansion;
}

/** Opens, understands and plans. Throws whatever each of these refuses. */
export async function* prepare(options: PrepareOptions): Run<Prepared> {
  yield { kind: "phase", name: "read headers" };
  const saved = options.plan === undefined ? undefined : await readPlanFile(options.plan, options);
  const opened = await openCheckpoint(options.source, options);
  const stack = options.stack ?? (saved?.kind === "plan" ? saved.plan.stack : undefined);
  const understood = await understandCheckpoint(opened, stack);
  const { checkpoint, architecture } = understood;
  const decided = decide(checkpoint, architecture, options, saved);
  await checkLiveness(checkpoint, architecture, decided, options.signal);
  const { plan, expansion } = await carryOut(understood, decided);
  for (const text of plan.warnings) yield { kind: "note", level: "warning", text };
  return { checkpoint: opened, plan, expansion };
}

type SavedFile =
  | { readonly kind: "plan"; readonly plan: ReturnType<typeof parsePlan> }
  | { readonly kind: "mergekit"; readonly layout: Layout };

function decide(
  checkpoint: Checkpoint,
  architecture: Architecture,
  options: PrepareOptions,
  saved: SavedFile | undefined,
): Plan {
  if (saved?.kind === "plan") return replayPlan(checkpoint, architecture, saved.plan);
  const stack = {
    blocks: architecture.blocks.length,
    period: architecture.period,
    periodIsOptional: architecture.periodIsOptional,
  };
  const layout = saved?.layout ?? placeCopies(stack, options);
  if (originalPositions(layout).length > stack.blocks) {
    throw new ExpandError(
      "plan",
      `the plan names ${originalPositions(layout).length} blocks, the source has ${stack.blocks}`,
    );
  }
  return planExpansion(checkpoint, architecture, layout, options.zero);
}

async function readPlanFile(path: string, options: PrepareOptions): Promise<SavedFile> {
  const { add, every, after, perGroup, place } = options;
  if ([add, every, after, perGroup, place].some((option) => option !== undefined)) {
    throw new ExpandError(
      "usage",
      "--plan says where the copies stand; --add, --every, --after, --per-group and --place do not go with it",
      {
        fix: "Remove them, or remove --plan.",
      },
    );
  }
  const text = readText(path);
  if (!/\.ya?ml$/i.test(path)) return { kind: "plan", plan: parsePlan(path, text) };
  // Only these files need the YAML parser, which takes longer to load than a plan takes to make.
  const { parseMergekit } = await import("../expansion/mergekit.ts");
  return { kind: "mergekit", layout: parseMergekit(path, text) };
}

function readText(path: string): string {
  try {
    return fs.readFileSync(path, "utf8");
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw new ExpandError("usage", `cannot be read (${error.code})`, {
      at: path,
      fix: "Check the path given to --plan.",
      cause: error,
    });
  }
}
