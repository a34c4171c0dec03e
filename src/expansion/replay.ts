// Reads a saved plan and carries it over to a checkpoint. The blocks and what is zeroed are taken from the file; everything else
// is computed again, so a stale value in a hand-edited plan can do no harm.
import type { Architecture, Block } from "../architecture/architecture.ts";
import { type Layout, sourceIndex } from "../architecture/layout.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { fingerprint } from "../checkpoint/fingerprint.ts";
import { ExpandError } from "../errors.ts";
import { JsonDocument, type JsonObject, type JsonValue } from "../json.ts";
import {
  blockAt,
  type FixedValue,
  PLAN_SCHEMA,
  type Plan,
  type PlannedBlock,
  planExpansion,
  type ZeroMode,
} from "./plan.ts";

/** What a plan file decides. */
export interface SavedPlan {
  readonly headers: string;
  readonly stack: string;
  readonly zero: ZeroMode;
  readonly layout: Layout;
  /** Tensors to zero per expanded index; undefined where the file leaves it to `zero`. */
  readonly zeroed: readonly (readonly string[] | undefined)[];
}

/** Throws "plan" naming the member that is missing or wrong. */
export function parsePlan(name: string, text: string | Uint8Array): SavedPlan {
  const plan = objectAt(JsonDocument.parse(name, text).value, name, "the plan");
  if (plan.schema !== PLAN_SCHEMA) {
    throw new ExpandError("plan", `expected "schema": "${PLAN_SCHEMA}", found ${JSON.stringify(plan.schema ?? null)}`, {
      at: name,
      fix: "Make the plan again with the plan command.",
    });
  }
  const source = objectAt(plan.source, name, '"source"');
  const blocks = listAt(plan.blocks, name, '"blocks"').map((block, at) => parseBlock(block, name, at));
  return {
    headers: textAt(source.headers, name, '"source.headers"'),
    stack: textAt(source.stack, name, '"source.stack"'),
    zero: zeroMode(plan.zero, name),
    layout: blocks.map(({ kind, from }) => ({ kind, from: sourceIndex(from) })),
    zeroed: blocks.map((block) => block.zeroed),
  };
}

/** The saved decisions as a full plan for this checkpoint. Throws "plan" when it was made for another one, or leaves a branch open or dead. */
export function replayPlan(checkpoint: Checkpoint, architecture: Architecture, saved: SavedPlan): Plan {
  const found = fingerprint(checkpoint).headers;
  if (found !== saved.headers) {
    throw new ExpandError(
      "plan",
      `the plan was made for a checkpoint with headers ${saved.headers.slice(0, 12)}, this one has ${found.slice(0, 12)}`,
      {
        at: checkpoint.location,
        fix: "Make a new plan for this checkpoint.",
      },
    );
  }
  const plan = planExpansion(checkpoint, architecture, saved.layout, saved.zero);
  const blocks = plan.blocks.map((block): PlannedBlock => {
    const wanted = block.kind === "copy" ? saved.zeroed[block.at] : undefined;
    if (block.kind === "original" || wanted === undefined) return block;
    const same = new Set(block.zeroed.map((entry) => entry.tensor));
    if (wanted.length === same.size && wanted.every((tensor) => same.has(tensor))) return block;
    const source = blockAt(architecture, block.from);
    return { ...block, zeroed: editedClosing(architecture, source, block.at, wanted), why: ["as the plan file says"] };
  });
  return { ...plan, blocks };
}

/** Accepts any choice that closes exactly one factor of each branch. */
function editedClosing(architecture: Architecture, source: Block, at: number, wanted: readonly string[]): FixedValue[] {
  const left = new Set(wanted);
  const take = (tensor: string): boolean => left.delete(architecture.rename(tensor, at));
  const zeroed: FixedValue[] = [];
  for (const branch of source.branches) {
    const closed = branch.factors.filter((factor) =>
      factor.tensors.every((fixed) => left.has(architecture.rename(fixed.tensor, at))),
    );
    const factor = closed[0];
    if (factor === undefined || closed.length > 1) {
      const state =
        factor === undefined ? "open: the copy would not be identity" : "closed twice: it could never learn";
      throw new ExpandError("plan", `the plan leaves the ${branch.name} branch of copy ${at} ${state}`, {
        fix: 'Zero exactly one factor of each branch, or remove "zeroed" from the block.',
      });
    }
    for (const fixed of factor.tensors) {
      take(fixed.tensor);
      zeroed.push({ tensor: architecture.rename(fixed.tensor, at), factor: factor.kind, value: fixed.value });
    }
  }
  for (const fixed of source.fixed) {
    take(fixed.tensor);
    zeroed.push({ tensor: architecture.rename(fixed.tensor, at), factor: "stream-scale", value: fixed.value });
  }
  const [extra] = left;
  if (extra === undefined) return zeroed;
  throw new ExpandError("plan", `copy ${at} has no reason to zero "${extra}": that would only lose weights`, {
    fix: 'Remove it from the block\'s "zeroed".',
  });
}

interface SavedBlock {
  readonly kind: "original" | "copy";
  readonly from: number;
  readonly zeroed: readonly string[] | undefined;
}

function parseBlock(value: JsonValue, name: string, at: number): SavedBlock {
  const where = `"blocks[${at}]"`;
  const block = objectAt(value, name, where);
  const { kind, from } = block;
  if (kind !== "original" && kind !== "copy") fail(name, `${where} "kind"`, '"original" or "copy"', kind);
  if (typeof from !== "number" || !Number.isSafeInteger(from) || from < 0)
    fail(name, `${where} "from"`, "a block number", from);
  const zeroed =
    block.zeroed === undefined
      ? undefined
      : listAt(block.zeroed, name, `${where} "zeroed"`).map((entry) =>
          textAt(objectAt(entry, name, `${where} "zeroed"`).tensor, name, `${where} "zeroed" "tensor"`),
        );
  return { kind, from, zeroed };
}

function zeroMode(value: JsonValue | undefined, name: string): ZeroMode {
  if (value === "auto" || value === "projections" || value === "norm-gain") return value;
  return fail(name, '"zero"', '"auto", "projections" or "norm-gain"', value);
}

function objectAt(value: JsonValue | undefined, name: string, where: string): JsonObject {
  if (value !== null && typeof value === "object" && !Array.isArray(value)) return value as JsonObject;
  return fail(name, where, "an object", value);
}

function listAt(value: JsonValue | undefined, name: string, where: string): readonly JsonValue[] {
  return Array.isArray(value) ? value : fail(name, where, "a list", value);
}

function textAt(value: JsonValue | undefined, name: string, where: string): string {
  return typeof value === "string" ? value : fail(name, where, "a text", value);
}

function fail(name: string, where: string, expected: string, found: JsonValue | undefined): never {
  throw new ExpandError(
    "plan",
    `${where}: expected ${expected}, found ${JSON.stringify(found)?.slice(0, 80) ?? "nothing"}`,
    {
      at: name,
      fix: "Make the plan again with the plan command, or mend this member.",
    },
  );
}
