// The plan: plain JSON that says what an expansion will do. Deciding reads no weights; carrying it out is apply.ts.
import { createHash } from "node:crypto";
import type { Adaptation, Architecture, Block, Branch, ConfigEdit, Factor } from "../architecture/architecture.ts";
import type { Layout } from "../architecture/layout.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { fingerprint } from "../checkpoint/fingerprint.ts";
import { ExpandError } from "../errors.ts";
import { costOf, type PlanCost } from "./cost.ts";

export const PLAN_SCHEMA = "expand-checkpoint/plan/1";

/** Which factor of each branch is closed: the better start, always the projections, or always the gain of the norm behind them. */
export type ZeroMode = "auto" | "projections" | "norm-gain";

/** A tensor of a copy, under its expanded name, that holds one value throughout. */
export interface FixedValue {
  readonly tensor: string;
  readonly factor: "projection" | "norm-gain" | "layer-scale" | "stream-scale";
  readonly value: number;
}

export type PlannedBlock =
  | { readonly at: number; readonly from: number; readonly kind: "original" }
  | {
      readonly at: number;
      readonly from: number;
      readonly kind: "copy";
      /** What closes the copy's branches, and scales of the stream that must be 1. */
      readonly zeroed: readonly FixedValue[];
      /** Which factor was closed in which branches, and why. */
      readonly why: readonly string[];
    };

export interface Plan {
  readonly schema: typeof PLAN_SCHEMA;
  readonly source: {
    readonly format: string;
    readonly family: string;
    readonly modelType: string;
    readonly stack: string;
    readonly blocks: number;
    /** Fingerprint of the source's headers: a plan is replayed only on the checkpoint it was made for. */
    readonly headers: string;
  };
  readonly zero: ZeroMode;
  readonly blocks: readonly PlannedBlock[];
  readonly config: readonly ConfigEdit[];
  readonly warnings: readonly string[];
  readonly notes: readonly string[];
  readonly cost: PlanCost;
}

/** Decides everything for a layout. Throws "plan" when the layout would change what an original computes. */
export function planExpansion(
  checkpoint: Checkpoint,
  architecture: Architecture,
  layout: Layout,
  zero: ZeroMode = "auto",
): Plan {
  checkLayout(architecture, layout);
  const adaptation = architecture.adapt(layout);
  const blocks = layout.map((block, at): PlannedBlock => {
    if (block.kind === "original") return { at, from: block.from, kind: "original" };
    const source = blockAt(architecture, block.from);
    return { at, from: block.from, kind: "copy", ...closing(architecture, source, at, zero) };
  });
  return {
    schema: PLAN_SCHEMA,
    source: {
      format: checkpoint.format,
      family: architecture.family,
      modelType: architecture.modelType,
      stack: architecture.stack,
      blocks: architecture.blocks.length,
      headers: fingerprint(checkpoint).headers,
    },
    zero,
    blocks,
    config: adaptation.edits,
    warnings: adaptation.warnings,
    notes: [...architecture.notes, ...reslicing(checkpoint, adaptation), ...leaving(checkpoint)],
    cost: costOf(checkpoint, architecture, blocks),
  };
}

function reslicing(checkpoint: Checkpoint, { resliced = new Map() }: Adaptation): string[] {
  return [...resliced].map(([name, tensor]) => {
    const before = checkpoint.tensors.get(name)?.shape ?? [];
    return `${name} holds a slice for every block: [${before.join(", ")}] becomes [${tensor.shape.join(", ")}], zero for the copies`;
  });
}

function leaving({ leftOut = [] }: Checkpoint): string[] {
  const more = leftOut.length > 3 ? ` and ${leftOut.length - 3} more` : "";
  const named = `${leftOut.slice(0, 3).join(", ")}${more}`;
  return leftOut.length === 0 ? [] : [`Weights beside those that are expanded are not copied: ${named}.`];
}

/** Identifies what a plan does, whatever its wording: equal for plans that give the same bytes. */
export function planFingerprint(plan: Plan): string {
  const { source, blocks, config } = plan;
  const essence = blocks.map((block) => [block.from, block.kind, block.kind === "copy" ? block.zeroed : []]);
  return createHash("sha256")
    .update(JSON.stringify([source.headers, source.stack, essence, config]))
    .digest("hex");
}

/** The factor of a branch that `zero` asks for. Throws "plan" when the branch has none of that kind. */
export function chosenFactor(branch: Branch, zero: ZeroMode, where: string): Factor {
  const wanted = zero === "projections" ? "projection" : zero;
  const factor =
    zero === "auto" ? branch.factors[branch.preferred] : branch.factors.find((candidate) => candidate.kind === wanted);
  if (factor !== undefined) return factor;
  // A branch may end in a scale instead of a projection (talkie): then there is nothing to choose.
  const [only, another] = branch.factors;
  if (zero === "projections" && only !== undefined && another === undefined) return only;
  throw new ExpandError("plan", `the ${branch.name} branch has no ${wanted} to close`, {
    at: where,
    fix: "Use --zero auto.",
  });
}

export function blockAt(architecture: Architecture, index: number): Block {
  const block = architecture.blocks[index];
  if (block !== undefined) return block;
  throw new ExpandError("plan", `there is no block ${index}: the source has ${architecture.blocks.length}`, {
    fix: `Use numbers from 0 to ${architecture.blocks.length - 1}.`,
  });
}

function closing(
  architecture: Architecture,
  source: Block,
  at: number,
  zero: ZeroMode,
): { zeroed: FixedValue[]; why: string[] } {
  const zeroed: FixedValue[] = [];
  const reasons = new Map<string, string[]>();
  for (const branch of source.branches) {
    const factor = chosenFactor(branch, zero, `block ${source.index}`);
    for (const { tensor, value } of factor.tensors) {
      zeroed.push({ tensor: architecture.rename(tensor, at), factor: factor.kind, value });
    }
    const reason = zero === "auto" && branch.why !== "" ? `${factor.kind} (${branch.why})` : factor.kind;
    reasons.set(reason, [...(reasons.get(reason) ?? []), branch.name]);
  }
  for (const { tensor, value } of source.fixed) {
    zeroed.push({ tensor: architecture.rename(tensor, at), factor: "stream-scale", value });
  }
  return { zeroed, why: [...reasons].map(([reason, branches]) => `${branches.join(" and ")}: ${reason}`) };
}

function checkLayout(architecture: Architecture, layout: Layout): void {
  const originals = layout.filter((block) => block.kind === "original").map((block) => Number(block.from));
  const expected = architecture.blocks.map((block) => Number(block.index));
  for (const block of layout) blockAt(architecture, block.from);
  if (originals.length !== expected.length || originals.some((from, at) => from !== expected[at])) {
    throw new ExpandError("plan", `originals must be blocks 0 to ${expected.length - 1}, once each and in order`, {
      fix: 'Mend the plan\'s "blocks", or make a new plan.',
    });
  }
  if (layout.length === originals.length) {
    throw new ExpandError("plan", "the plan adds no copies", { fix: "Add at least one block with --add 1." });
  }
}
