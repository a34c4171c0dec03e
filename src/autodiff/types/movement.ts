// Types of operators that move values about and compute none.
import { ExpandError } from "../../errors.ts";
import { intAttribute, intsAttribute, nodeLabel, tensorAttribute } from "../../graph/attributes.ts";
import { OnnxType } from "../../graph/onnx.ts";
import { broadcast, frontAxis, sizeOf, type TypeRow, type Typing } from "./type.ts";

const of = (typing: Typing, shape: readonly number[]) => [{ type: typing.type(0).type, shape }];

const reshape: TypeRow = (typing) => {
  const { node, type } = typing;
  const from = type(0).shape;
  const keepsZero = intAttribute(node, "allowzero", 0) === 1;
  const asked = typing.numbers(1).map((size, at) => (size === 0 && !keepsZero ? (from[at] ?? 0) : size));
  const known = sizeOf(asked.filter((size) => size !== -1));
  const shape = asked.map((size) => (size === -1 ? (known === 0 ? 0 : sizeOf(from) / known) : size));
  if (sizeOf(shape) !== sizeOf(from)) {
    throw new ExpandError("damaged", `makes [${asked}] of [${from}]: ${sizeOf(from)} values do not fill it`, {
      at: nodeLabel(node),
    });
  }
  return of(typing, shape);
};

const transpose: TypeRow = (typing) => {
  const { shape } = typing.type(0);
  const perm = intsAttribute(typing.node, "perm", undefined) ?? shape.map((_, at) => shape.length - 1 - at);
  return of(
    typing,
    perm.map((axis) => shape[axis] ?? 1),
  );
};

const concat: TypeRow = (typing) => {
  const { shape } = typing.type(0);
  const axis = frontAxis(intAttribute(typing.node, "axis", 0), shape.length);
  const length = typing.node.input.reduce((sum, _, at) => sum + (typing.type(at).shape[axis] ?? 0), 0);
  return of(
    typing,
    shape.map((size, at) => (at === axis ? length : size)),
  );
};

/** Lengths of the parts of a Split, by input, attribute or count. */
export function splitLengths(typing: Pick<Typing, "node" | "type" | "has" | "numbers">): readonly number[] {
  const { node, type, has, numbers } = typing;
  const given = has(1) ? numbers(1) : intsAttribute(node, "split", undefined);
  if (given !== undefined) return given;
  const { shape } = type(0);
  const total = shape[frontAxis(intAttribute(node, "axis", 0), shape.length)] ?? 0;
  const count = node.output.length;
  const length = Math.ceil(total / count);
  return node.output.map((_, at) => Math.min(length, total - at * length));
}

const split: TypeRow = (typing) => {
  const { type, shape } = typing.type(0);
  const axis = frontAxis(intAttribute(typing.node, "axis", 0), shape.length);
  return splitLengths(typing).map((length) => ({
    type,
    shape: shape.map((size, at) => (at === axis ? length : size)),
  }));
};

/** One axis of a Slice: `count` values from `start`, `step` apart. */
export interface Cut {
  readonly axis: number;
  readonly start: number;
  readonly step: number;
  readonly count: number;
}

export function cutsOf({ type, has, numbers }: Pick<Typing, "type" | "has" | "numbers">): readonly Cut[] {
  const { shape } = type(0);
  const [starts, ends] = [numbers(1), numbers(2)];
  const axes = has(3) ? numbers(3) : starts.map((_, at) => at);
  const steps = has(4) ? numbers(4) : starts.map(() => 1);
  return axes.map((given, at) => {
    const axis = frontAxis(given, shape.length);
    const size = shape[axis] ?? 0;
    const step = steps[at] ?? 1;
    const clamp = (value: number, low: number, high: number): number => Math.min(Math.max(value, low), high);
    const front = (value: number): number => (value < 0 ? value + size : value);
    const start = clamp(front(starts[at] ?? 0), 0, step > 0 ? size : size - 1);
    const end = clamp(front(ends[at] ?? 0), step > 0 ? 0 : -1, size);
    return { axis, start, step, count: Math.max(0, Math.ceil((end - start) / step)) };
  });
}

const slice: TypeRow = (typing) => {
  const shape = [...typing.type(0).shape];
  for (const { axis, count } of cutsOf(typing)) shape[axis] = count;
  return of(typing, shape);
};

/** Axes of Squeeze and Unsqueeze: an attribute before version 13. */
export function axesOf(
  typing: Pick<Typing, "node" | "type" | "has" | "numbers">,
  rank: number,
): readonly number[] | undefined {
  const axes = typing.has(1) ? typing.numbers(1) : intsAttribute(typing.node, "axes", undefined);
  return axes?.map((axis) => frontAxis(axis, rank));
}

const squeeze: TypeRow = (typing) => {
  const { shape } = typing.type(0);
  const axes = axesOf(typing, shape.length);
  return of(
    typing,
    shape.filter((size, at) => (axes === undefined ? size !== 1 : !axes.includes(at))),
  );
};

const unsqueeze: TypeRow = (typing) => {
  const { shape } = typing.type(0);
  const count = (typing.has(1) ? typing.numbers(1) : intsAttribute(typing.node, "axes", [])).length;
  const axes = axesOf(typing, shape.length + count) ?? [];
  const rest = [...shape];
  return of(
    typing,
    Array.from({ length: shape.length + count }, (_, at) => (axes.includes(at) ? 1 : (rest.shift() ?? 1))),
  );
};

const gather: TypeRow = (typing) => {
  const { shape } = typing.type(0);
  const axis = frontAxis(intAttribute(typing.node, "axis", 0), shape.length);
  return of(typing, [...shape.slice(0, axis), ...typing.type(1).shape, ...shape.slice(axis + 1)]);
};

const gatherNd: TypeRow = (typing) => {
  const [data, indices] = [typing.type(0).shape, typing.type(1).shape];
  const batch = intAttribute(typing.node, "batch_dims", 0);
  return of(typing, [...indices.slice(0, -1), ...data.slice(batch + (indices.at(-1) ?? 0))]);
};

/** Values before and after each axis. */
export function padsOf({
  type,
  has,
  numbers,
}: Pick<Typing, "type" | "has" | "numbers">): readonly (readonly [number, number])[] {
  const { shape } = type(0);
  const pads = numbers(1);
  const axes = has(3) ? numbers(3).map((axis) => frontAxis(axis, shape.length)) : shape.map((_, at) => at);
  return shape.map((_, axis) => {
    const at = axes.indexOf(axis);
    return at < 0 ? [0, 0] : [pads[at] ?? 0, pads[at + axes.length] ?? 0];
  });
}

const filled: TypeRow = ({ node, numbers }) => [
  { type: tensorAttribute(node, "value")?.dataType ?? OnnxType.FLOAT, shape: numbers(0) },
];

export const MOVEMENT: Readonly<Record<string, TypeRow>> = {
  Reshape: reshape,
  Transpose: transpose,
  Concat: concat,
  Split: split,
  Slice: slice,
  Squeeze: squeeze,
  Unsqueeze: unsqueeze,
  Gather: gather,
  GatherND: gatherNd,
  GatherElements: (typing) => of(typing, typing.type(1).shape),
  Expand: (typing) => of(typing, broadcast(typing.type(0).shape, typing.numbers(1)) ?? typing.numbers(1)),
  Tile: (typing) =>
    of(
      typing,
      typing.type(0).shape.map((size, at) => size * (typing.numbers(1)[at] ?? 1)),
    ),
  Flatten: (typing) => {
    const { shape } = typing.type(0);
    const axis = frontAxis(intAttribute(typing.node, "axis", 1), shape.length);
    return of(typing, [sizeOf(shape.slice(0, axis)), sizeOf(shape.slice(axis))]);
  },
  Pad: (typing) => {
    const pads = padsOf(typing);
    return of(
      typing,
      typing.type(0).shape.map((size, at) => size + (pads[at]?.[0] ?? 0) + (pads[at]?.[1] ?? 0)),
    );
  },
  ConstantOfShape: filled,
  Shape: ({ node, type }) => {
    const rank = type(0).shape.length;
    const clamp = (at: number): number => Math.min(Math.max(frontAxis(at, rank), 0), rank);
    const length = clamp(intAttribute(node, "end", rank)) - clamp(intAttribute(node, "start", 0));
    return [{ type: OnnxType.INT64, shape: [Math.max(0, length)] }];
  },
  Size: () => [{ type: OnnxType.INT64, shape: [] }],
};
