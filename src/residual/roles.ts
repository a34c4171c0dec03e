// Gives every constant of a block a role that is the same in each block of equal structure, whatever names the exporter chose.
import type { Slot } from "./blocks.ts";
import type { Body } from "./body.ts";

export interface RoleSlot extends Slot {
  readonly role: string;
  readonly initializer: string;
}

const SLOT_NAMES: Readonly<Record<string, readonly (string | undefined)[]>> = {
  MatMul: ["weight", "weight"],
  FusedMatMul: ["weight", "weight"],
  Gemm: ["weight", "weight", "bias"],
  Conv: [undefined, "weight", "bias"],
  LayerNormalization: [undefined, "weight", "bias"],
  RMSNormalization: [undefined, "weight"],
  SimplifiedLayerNormalization: [undefined, "weight"],
  Add: ["bias", "bias"],
  Mul: ["scale", "scale"],
  Attention: [undefined, "weight", "bias"],
  MatMulNBits: [undefined, "qweight", "scales", "zero_points", "group_indices", "bias"],
  MatMulInteger: [undefined, "qweight", undefined, "zero_point"],
  DequantizeLinear: ["qweight", "scales", "zero_points"],
  Transpose: ["weight"],
  Cast: ["weight"],
};

/** A block's nodes, operands before what is made of them, in an order that depends on the structure only. */
export function canonicalOrder(
  body: Body,
  nodes: readonly number[],
  outputs: readonly string[],
  digests: ReadonlyMap<string, string>,
): readonly number[] {
  const own = new Set(nodes);
  const makerOf = (name: string): number => {
    const index = body.makers.get(name) ?? -1;
    return own.has(index) ? index : -1;
  };
  const order: number[] = [];
  const seen = new Set<number>();
  const [stream = "", ...others] = outputs;
  const byDigest = (a: string, b: string): number => compare(digests.get(a) ?? "", digests.get(b) ?? "");
  for (const name of [stream, ...others.toSorted(byDigest)]) {
    const stack: { readonly node: number; readonly operands: readonly number[]; next: number }[] = [];
    const open = (node: number): void => {
      if (node < 0 || seen.has(node)) return;
      seen.add(node);
      const made = (body.reads[node] ?? []).filter((each) => makerOf(each) >= 0);
      stack.push({ node, operands: made.toSorted(byDigest).map(makerOf), next: 0 });
    };
    open(makerOf(name));
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const operand = top.operands[top.next++];
      if (operand === undefined) {
        order.push(top.node);
        stack.pop();
      } else open(operand);
    }
  }
  return order;
}

/** Every initializer in an input slot of these nodes, in their order. */
export function roleSlots(body: Body, order: readonly number[]): readonly RoleSlot[] {
  const counts = new Map<string, number>();
  return order.flatMap((index) => {
    const node = body.nodes[index];
    if (node === undefined) return [];
    const count = (counts.get(node.opType) ?? 0) + 1;
    counts.set(node.opType, count);
    return node.input.flatMap((name, slot) => {
      if (!body.initializers.has(name)) return [];
      const label = SLOT_NAMES[node.opType]?.[slot] ?? `input_${slot}`;
      return [{ node: index, slot, role: `${node.opType}_${count}.${label}`, initializer: name }];
    });
  });
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
