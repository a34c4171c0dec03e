// Einsum of two operands as one product of matrices: labels are permuted, joined, multiplied and taken apart again.
import { type Lowerings, type Primitives, refused } from "./primitives.ts";

export const EINSUM: Lowerings = { Einsum: { inputs: 2, attributes: "equation", emit: einsum } };

function einsum(at: Primitives): readonly string[] {
  const equation = at.string("equation", "").replaceAll(" ", "");
  const [, left = "", right = "", named] = /^([a-zA-Z]+),([a-zA-Z]+)(?:->([a-zA-Z]*))?$/.exec(equation) ?? [];
  const distinct = [left, right].every((labels) => new Set(labels).size === labels.length);
  if (left === "" || !distinct) throw refused(`computes "${equation}"`);
  const result = named ?? implied(left + right);
  const places = [left, right].flatMap((labels, index) => labelled(labels, at.shape(at.value(index))));
  const sizes = new Map(places);
  const odd = places.find(([label, size]) => sizes.get(label) !== size);
  if (odd !== undefined) throw refused(`computes "${equation}" with two sizes of ${odd[0]}`);
  const x = summed(at, at.value(0), left, right + result);
  const y = summed(at, at.value(1), right, left + result);
  const both = [...x.labels].filter((label) => y.labels.includes(label));
  const batch = both.filter((label) => result.includes(label));
  const inner = both.filter((label) => !result.includes(label));
  const rows = [...x.labels].filter((label) => !both.includes(label));
  const columns = [...y.labels].filter((label) => !both.includes(label));
  const count = (labels: readonly string[]): number => labels.reduce((all, label) => all * (sizes.get(label) ?? 1), 1);
  const shape = batch.map((label) => sizes.get(label) ?? 1);
  const a = at.reshape(ordered(at, x, [...batch, ...rows, ...inner]), [...shape, count(rows), count(inner)]);
  const b = at.reshape(ordered(at, y, [...batch, ...inner, ...columns]), [...shape, count(inner), count(columns)]);
  const made = [...batch, ...rows, ...columns];
  const value = at.reshape(
    at.op("MatMul", [a, b]),
    made.map((label) => sizes.get(label) ?? 1),
  );
  return [ordered(at, { value, labels: made.join("") }, [...result])];
}

interface Labelled {
  readonly value: string;
  readonly labels: string;
}

function labelled(labels: string, shape: readonly number[]): readonly (readonly [string, number])[] {
  return [...labels].map((label, axis) => [label, shape[axis] ?? 1] as const);
}

/** Without an arrow: the labels that stand once, in alphabetical order. */
function implied(labels: string): string {
  const once = [...labels].filter((label) => labels.indexOf(label) === labels.lastIndexOf(label));
  return once.sort().join("");
}

/** Sums over the labels that nothing else has. */
function summed(at: Primitives, value: string, labels: string, others: string): Labelled {
  const lonely = [...labels].filter((label) => !others.includes(label));
  if (lonely.length === 0) return { value, labels };
  const axes = at.ints(lonely.map((label) => labels.indexOf(label)));
  const kept = [...labels].filter((label) => others.includes(label)).join("");
  return { value: at.op("ReduceSum", [value, axes], { keepdims: 0 }), labels: kept };
}

function ordered(at: Primitives, { value, labels }: Labelled, order: readonly string[]): string {
  return at.transpose(
    value,
    order.map((label) => labels.indexOf(label)),
  );
}
