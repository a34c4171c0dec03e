// Attention in elementary steps: scores, cap, biases, softmax, mixing. Knows no operator.
import type { Primitives } from "./primitives.ts";

export interface Scores {
  /** [B, heads, S, head size]. */
  readonly q: string;
  /** [B, key heads, T, head size]; query heads of one key head stand next to each other. */
  readonly k: string;
  /** [B, key heads, T, value size]. */
  readonly v: string;
  /** Multiplies q·k. */
  readonly scale: number;
  /** s -> softcap tanh(s / softcap), before any bias; 0: none. */
  readonly softcap: number;
  /** Added to the scores: of their type, broadcasting to [B, heads, S, T]. */
  readonly biases: readonly string[];
  /** Logits that take part in the softmax and are then dropped, one a head: broadcasting to [B, heads, S, 1]. */
  readonly sinks?: string;
}

/** Below every score; three of them do not add up to infinity, so that a query that sees nothing gives no NaN (but the mean of all values). */
const LOWEST = -1e38;

/** [B, heads, S, value size]. Softmax in f32 or wider. */
export function attend(at: Primitives, { q, k, v, scale, softcap, biases, sinks }: Scores): string {
  const [batch = 0, heads = 0, queries = 0, size = 0] = at.shape(q);
  const [, kvHeads = 0, keys = 0] = at.shape(k);
  // Query heads of one key head stand in its rows, so that no key is repeated.
  const rows = [batch, kvHeads, (heads / kvHeads) * queries] as const;
  const scaled = at.op("Mul", [q, at.number(scale, q)]);
  const products = at.op("MatMul", [at.reshape(scaled, [...rows, size]), at.transpose(k, [0, 1, 3, 2])]);
  const byHead = at.wide(at.reshape(products, [batch, heads, queries, keys]));
  const capped = softcap === 0 ? byHead : cap(at, byHead, softcap);
  const scores = biases.reduce((sum, bias) => at.op("Add", [sum, bias]), capped);
  const shares = sinks === undefined ? at.op("Softmax", [scores], { axis: -1 }) : sunk(at, scores, sinks);
  const mixed = at.op("MatMul", [at.reshape(at.like(shares, v), [...rows, keys]), v]);
  return at.reshape(mixed, [batch, heads, queries, at.shape(v)[3] ?? 0]);
}

function cap(at: Primitives, scores: string, softcap: number): string {
  const limit = at.number(softcap, scores);
  return at.op("Mul", [at.op("Tanh", [at.op("Div", [scores, limit])]), limit]);
}

/** Softmax over the scores and the sink, without the sink's share. */
function sunk(at: Primitives, scores: string, sinks: string): string {
  const [batch = 0, heads = 0, queries = 0, keys = 0] = at.shape(scores);
  const column = at.op("Expand", [sinks, at.ints([batch, heads, queries, 1])]);
  const all = at.op("Softmax", [at.op("Concat", [scores, column], { axis: 3 })], { axis: -1 });
  return at.split(all, [keys, 1], 3)[0] ?? "";
}

/** What a query at row i sees of key j. */
export interface Sight {
  readonly queries: number;
  readonly keys: number;
  /** j <= i. */
  readonly isCausal: boolean;
  /** j > i - window; 0: all. */
  readonly window: number;
}

/** A bias [S, T] of the type of the scores that `like` gives rise to; undefined where everything is seen. Made once for all nodes. */
export function sightBias(
  at: Primitives,
  like: string,
  { queries, keys, isCausal, window }: Sight,
): string | undefined {
  if (!isCausal && window === 0) return undefined;
  return at.shared(`sight ${queries} ${keys} ${isCausal} ${window} ${at.wideType(like)}`, () => {
    const rows = Array.from({ length: queries }, (_, row) => row);
    const column = (from: number): string =>
      at.ints(
        rows.map((row) => row - from),
        [queries, 1],
      );
    const places = at.ints(
      Array.from({ length: keys }, (_, key) => key),
      [1, keys],
    );
    const seen = [
      ...(isCausal ? [at.op("LessOrEqual", [places, column(0)])] : []),
      ...(window > 0 ? [at.op("Greater", [places, column(window)])] : []),
    ];
    return biasOf(
      at,
      like,
      seen.reduce((all, each) => at.op("And", [all, each])),
    );
  });
}

/** 0 where `visible` (bool), else `lowest`. */
export function biasOf(at: Primitives, like: string, visible: string, lowest = LOWEST): string {
  return at.op("Where", [visible, at.wideNumber(0, like), at.wideNumber(lowest, like)]);
}
