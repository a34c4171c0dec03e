// Where a tape can be cut: values through which everything passes that depends on the tokens. Reads the order of nodes, no names.
import type { Tape } from "../../autodiff/tape.ts";
import { OnnxType } from "../../graph/onnx.ts";
import { readsOf } from "../../graph/walk.ts";

/** Work that is worth being computed twice; between two cuts there is some of it. */
const HEAVY: ReadonlySet<string> = new Set(["MatMul", "Gemm", "FusedMatMul", "MatMulNBits", "Conv"]);

/** Types of values that a run can take and give: bfloat16 cannot. */
const CROSSES: ReadonlySet<OnnxType> = new Set([OnnxType.FLOAT, OnnxType.FLOAT16, OnnxType.DOUBLE]);

/**
 * Values of the residual stream, in order, from the embedding's to the last before the head: between nodes where only one value that
 * depends on `source` is still to be read. Empty where something else passes by (values that every block reads).
 */
export function cutsOf(tape: Tape, source: string, sink: string): readonly string[] {
  const found = narrowPlaces(tape, source, sink);
  const counts = new Map<number, number>();
  for (const { value } of found) {
    const size = sizeOf(tape, value);
    counts.set(size, (counts.get(size) ?? 0) + 1);
  }
  const [width] = [...counts].sort(([, a], [, b]) => b - a)[0] ?? [0];
  const cuts: string[] = [];
  let isWorth = true;
  for (const { value, heavy } of found) {
    isWorth ||= heavy;
    if (!isWorth || sizeOf(tape, value) !== width) continue;
    cuts.push(value);
    isWorth = false;
  }
  return cuts;
}

interface Place {
  readonly value: string;
  /** Something heavy stands between the place before and this one. */
  readonly heavy: boolean;
}

function narrowPlaces(tape: Tape, source: string, sink: string): readonly Place[] {
  const last = new Map([[sink, Number.POSITIVE_INFINITY]]);
  for (const [at, node] of tape.nodes.entries()) {
    for (const name of readsOf(node)) if (last.get(name) !== Number.POSITIVE_INFINITY) last.set(name, at);
  }
  const alive = new Set([source]);
  const places: Place[] = [];
  let heavy = false;
  for (const [at, node] of tape.nodes.entries()) {
    const reads = readsOf(node);
    if (!reads.some((name) => alive.has(name))) continue;
    heavy ||= HEAVY.has(node.opType);
    for (const name of node.output) if ((last.get(name) ?? -1) > at) alive.add(name);
    for (const name of reads) if ((last.get(name) ?? -1) <= at) alive.delete(name);
    const [value = ""] = alive;
    if (value === sink) break;
    if (alive.size !== 1 || !CROSSES.has(tape.typeOf(value).type)) continue;
    places.push({ value, heavy });
    heavy = false;
  }
  return places;
}

function sizeOf(tape: Tape, value: string): number {
  return tape.shapeOf(value).reduce((product, size) => product * size, 1);
}
