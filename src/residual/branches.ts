// The branches of a block as an architecture states them: which tensors close them, in which ways.
import type { Branch, Factor, FixedTensor } from "../architecture/architecture.ts";
import { type NodeProto, OnnxType } from "../graph/onnx.ts";
import type { BlockTensor, Slot } from "./blocks.ts";
import type { Body } from "./body.ts";
import type { Closing } from "./closing.ts";
import { slotKey } from "./tensors.ts";

/** A branch of one body: where it joins the stream, and the ways to close it, the projection first. */
export interface FoundBranch {
  readonly joins: Slot;
  readonly closings: readonly [Closing, ...Closing[]];
}

const ATTENDS = /Softmax|Attention/;
const RECURS = /^(?:Scan|Loop|LSTM|GRU|CausalConv|LinearAttention)/;

/** `at`: index of the body that the branches were found in. */
export function describeBranches(
  body: Body,
  at: number,
  nodes: readonly number[],
  found: readonly FoundBranch[],
  tensors: readonly BlockTensor[],
): readonly Branch[] {
  const bySlot = new Map(
    tensors.flatMap((tensor) => (tensor.uses[at] ?? []).map((use) => [slotKey(use), tensor] as const)),
  );
  const names = new Map<string, number>();
  const before = new Set<number>();
  return found.map(({ joins, closings }) => {
    const word = wordFor(body, nodes, joins, before);
    const count = (names.get(word) ?? 0) + 1;
    names.set(word, count);
    const factors = closings.map(
      (closing): Factor => ({ kind: closing.kind, tensors: fixedTensors(body, closing, bySlot) }),
    );
    const gain = closings.findIndex(({ kind, behindNorm }) => kind === "norm-gain" && behindNorm === true);
    return {
      name: count === 1 ? word : `${word} ${count}`,
      factors,
      preferred: Math.max(0, gain),
      why: gain < 0 ? "" : "a projection behind a norm would get gradients a thousand times too large",
    };
  });
}

function fixedTensors(body: Body, closing: Closing, bySlot: ReadonlyMap<string, BlockTensor>): readonly FixedTensor[] {
  const fixed = new Map<string, FixedTensor>();
  for (const slot of closing.slots) {
    const tensor = bySlot.get(slotKey(slot));
    if (tensor === undefined) continue;
    const signed = body.initializers.get(tensor.initializer)?.dataType === OnnxType.INT8;
    const value = signed ? (slot.byte << 24) >> 24 : slot.byte;
    fixed.set(tensor.name, { tensor: tensor.name, pattern: Uint8Array.of(slot.byte), value });
  }
  return [...fixed.values()];
}

/** What a branch is for, by the operators that only it needs: those of earlier branches are in `before`, and its own are added. */
function wordFor(body: Body, nodes: readonly number[], joins: Slot, before: Set<number>): string {
  const own = new Set(nodes);
  const found: NodeProto[] = [];
  const open = [body.nodes[joins.node]?.input[joins.slot] ?? ""];
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    const index = body.makers.get(name) ?? -1;
    const node = body.nodes[index];
    if (node === undefined || !own.has(index) || before.has(index)) continue;
    before.add(index);
    found.push(node);
    open.push(...(body.reads[index] ?? []));
  }
  before.add(joins.node);
  if (found.length === 0) return "bias";
  const attends = found.filter(({ opType }) => ATTENDS.test(opType)).length;
  const experts = found.some(({ opType }) => /MoE$|^TopK$/.test(opType));
  if (experts) return "experts";
  if (found.some(({ opType }) => RECURS.test(opType))) return "recurrence";
  return attends > 0 ? "attention" : "mlp";
}
