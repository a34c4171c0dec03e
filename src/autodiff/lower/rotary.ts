// Rotary embedding in elementary steps, over whatever layout has the head's values last. Makes no angles: they are given.
import { type Lowerings, type Primitives, refused } from "./primitives.ts";

export const ROTARY: Lowerings = {
  RotaryEmbedding: { inputs: 4, attributes: "interleaved num_heads rotary_embedding_dim", emit: standard },
  "com.microsoft.RotaryEmbedding": {
    inputs: 4,
    attributes: "interleaved is_packed_batching num_heads rotary_embedding_dim scale",
    emit: contrib,
  },
};

export interface Turn {
  /** [..., dims/2], broadcasting to the value in front of the last axis. */
  readonly cos: string;
  readonly sin: string;
  /** true: 2i turns with 2i + 1. false: i with i + dims/2. */
  readonly interleaved: boolean;
}

/** Turns the first values of the last axis, twice as many as `cos` has; the rest passes. */
export function rotate(at: Primitives, value: string, { cos, sin, interleaved }: Turn): string {
  const size = at.shape(value).at(-1) ?? 0;
  const half = at.shape(cos).at(-1) ?? 0;
  const rest = size - 2 * half;
  if (!interleaved) {
    const [x = "", y = "", passed] = at.split(value, rest === 0 ? [half, half] : [half, half, rest], -1);
    return at.op("Concat", [...turned(at, x, y, cos, sin), ...(passed === undefined ? [] : [passed])], { axis: -1 });
  }
  const [all = "", passed] = rest === 0 ? [value] : at.split(value, [2 * half, rest], -1);
  const outer = at.shape(all).slice(0, -1);
  const [x = "", y = ""] = at.split(at.reshape(all, [...outer, half, 2]), [1, 1], -1);
  const column = (angles: string): string => at.reshape(angles, [...at.shape(angles), 1]);
  const pairs = at.op("Concat", turned(at, x, y, column(cos), column(sin)), { axis: -1 });
  const joined = at.reshape(pairs, at.shape(all));
  return passed === undefined ? joined : at.op("Concat", [joined, passed], { axis: -1 });
}

/** x cos - y sin, x sin + y cos */
function turned(at: Primitives, x: string, y: string, cos: string, sin: string): string[] {
  const product = (value: string, angle: string): string => at.op("Mul", [value, angle]);
  return [at.op("Sub", [product(x, cos), product(y, sin)]), at.op("Add", [product(x, sin), product(y, cos)])];
}

/** ai.onnx 23: X [B, heads, S, size] or [B, S, heads * size]; caches [B, S, dims/2], or [positions, dims/2] with position ids [B, S]. */
function standard(at: Primitives): readonly string[] {
  const positions = at.input(3);
  const angles = (slot: number): string =>
    positions === undefined ? at.value(slot) : at.op("Gather", [at.value(slot), positions], { axis: 0 });
  return [laidOut(at, at.int("num_heads", 0), angles(1), angles(2))];
}

/** com.microsoft: position ids are [B, S], or [1], the position of the first token. */
function contrib(at: Primitives): readonly string[] {
  if (at.int("is_packed_batching", 0) !== 0) throw refused("packs sequences of different lengths");
  if (at.float("scale", 1) !== 1) throw refused("scales what it turns");
  const given = at.value(1);
  const shape = at.shape(at.value(0));
  const length = shape.at(-2) ?? 0;
  const counted = (): string =>
    at.ints(
      Array.from({ length }, (_, position) => position),
      [1, length],
    );
  const positions = at.shape(given).length === 2 ? given : at.op("Add", [counted(), given]);
  const angles = (slot: number): string => at.op("Gather", [at.value(slot), positions], { axis: 0 });
  const cos = angles(2);
  const heads = at.int("num_heads", 0);
  const size = 2 * (at.shape(cos).at(-1) ?? 0);
  return [laidOut(at, heads === 0 ? (shape.at(-1) ?? 0) / size : heads, cos, angles(3))];
}

/** `cos`, `sin` [B or 1, S, dims/2]. */
function laidOut(at: Primitives, heads: number, cos: string, sin: string): string {
  const x = at.value(0);
  const interleaved = at.int("interleaved", 0) === 1;
  const dims = at.int("rotary_embedding_dim", 0);
  const [rows = 0, length = 0, half = 0] = at.shape(cos);
  const shape = at.shape(x);
  const turn = (layout: readonly number[]): Turn => ({
    cos: at.reshape(cos, layout),
    sin: at.reshape(sin, layout),
    interleaved,
  });
  if (dims !== 0 && dims !== 2 * half) throw refused(`turns ${dims} values of a head by ${half} angles`);
  if (shape.length === 4) return rotate(at, x, turn([rows, 1, length, half]));
  const [batch = 0, queries = 0, width = 0] = shape;
  const split = at.reshape(x, [batch, queries, heads, width / heads]);
  return at.reshape(rotate(at, split, turn([rows, length, 1, half])), shape);
}
