// Rotary embedding: sines and cosines from positions, in f32, once for all blocks that turn alike. Keeps no tables of a fixed length.
import type { DynamicAngles, Rope, RopeAngles } from "../spec.ts";
import type { Emitter } from "./emitter.ts";

/** `value` is [B, heads, S, head size]; `positions` [B, S] int64. */
export function emitRope(emit: Emitter, value: string, rope: Rope, positions: string): string {
  const { cos, sin } = anglesOf(emit, rope, positions);
  return emit.node("RotaryEmbedding", [value, cos, sin], {
    interleaved: rope.layout === "interleaved" ? 1 : 0,
    rotary_embedding_dim: rope.dims,
  });
}

/** Cosine and sine [B, S, dims/2], times the magnitude. */
function anglesOf(emit: Emitter, rope: Rope, positions: string): { cos: string; sin: string } {
  const key = `angles ${keyOf(rope)}`;
  const make = (op: "Cos" | "Sin") => (): string => {
    const turned = emit.shared(`${key} turned`, () => {
      const column = emit.shared("position column", () =>
        emit.node("Unsqueeze", [emit.float(positions), emit.graph.ints([2])]),
      );
      return emit.node("Mul", [column, chosen(emit, rope, positions, frequencies)]);
    });
    const value = emit.node(op, [turned]);
    const magnitude = magnitudeOf(emit, rope, positions);
    return magnitude === undefined ? value : emit.node("Mul", [value, magnitude]);
  };
  return { cos: emit.shared(`${key} cos`, make("Cos")), sin: emit.shared(`${key} sin`, make("Sin")) };
}

/** Blocks with equal numbers and the same stored divisors share their angles. */
function keyOf({ dims, angles, beyond }: Rope): string {
  return JSON.stringify([dims, angles, beyond], (key, value) => (key === "tensor" ? undefined : value));
}

/** What `of` makes of the angles in use: those for short sequences, or, on a long one, the others. */
function chosen(
  emit: Emitter,
  { dims, angles, beyond }: Rope,
  positions: string,
  of: (emit: Emitter, angles: RopeAngles | DynamicAngles, dims: number, length: string, limit: number) => string,
): string {
  if (beyond === undefined) return of(emit, angles, dims, "", 0);
  const length = emit.shared("length", () => {
    const last = emit.node("ReduceMax", [positions], { keepdims: 0 });
    return emit.float(emit.node("Add", [last, emit.graph.ints(1)]));
  });
  const isLong = emit.node("Greater", [length, emit.graph.floats(beyond.length)]);
  const [long, short] = [beyond.angles, angles].map((each) => of(emit, each, dims, length, beyond.length));
  return emit.node("Where", [isLong, long ?? "", short ?? ""]);
}

function frequencies(
  emit: Emitter,
  angles: RopeAngles | DynamicAngles,
  dims: number,
  length: string,
  limit: number,
): string {
  if ("frequencies" in angles) {
    const plain = emit.graph.floats(angles.frequencies);
    return angles.divisors === undefined ? plain : emit.node("Div", [plain, emit.weight(angles.divisors)]);
  }
  // base * (factor * n / limit - (factor - 1)) ^ (dims / (dims - 2)), to the powers -2i / dims
  const { base, factor } = angles;
  const { graph } = emit;
  const stretch = emit.node("Sub", [
    emit.node("Mul", [length, graph.floats(factor / limit)]),
    graph.floats(factor - 1),
  ]);
  const grown = emit.node("Mul", [emit.node("Pow", [stretch, graph.floats(dims / (dims - 2))]), graph.floats(base)]);
  const exponents = Array.from({ length: dims / 2 }, (_, i) => (-2 * i) / dims);
  return emit.node("Pow", [grown, graph.floats(exponents)]);
}

function magnitudeOf(emit: Emitter, rope: Rope, positions: string): string | undefined {
  const short = rope.angles.magnitude;
  const long = rope.beyond === undefined ? short : magnitudeNumber(rope.beyond.angles);
  if (short === long) return short === 1 ? undefined : emit.graph.floats(short);
  return chosen(emit, rope, positions, (_, angles) => emit.graph.floats(magnitudeNumber(angles)));
}

function magnitudeNumber(angles: RopeAngles | DynamicAngles): number {
  return "magnitude" in angles ? angles.magnitude : 1;
}
