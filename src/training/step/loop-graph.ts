// Several optimizer steps in a Loop: state stays on the device from one to the next, and batches of all of them go in at once.
import type { Tape } from "../../autodiff/tape.ts";
import type { Graph } from "../../graph/graph.ts";
import { OnnxType } from "../../graph/onnx.ts";
import { SCALE_INTERVAL } from "../optimizer/scale.ts";
import type { Prepared } from "./prepare.ts";
import { BOOL, COUNT, graphProto, loopNode, modelOf, NUMBER, nodeOf, type Region } from "./region.ts";
import { emitStep, LOSSES, NORM, nextOf, SQUARES, STEP, stateOf } from "./step-graph.ts";
import { emitScale } from "./update.ts";

/** Inputs of the graph of several steps: STEP's with `stepsOf`, the state with `startOf`, and these. */
export const LOOP = {
  trips: "training/loop/trips",
  /** Updates made in this call: rows of sizes and roots. */
  done: "training/loop/done",
  scale: "training/loop/scale",
  good: "training/loop/good",
} as const;
export const SCALES = "training/scales";
export const stepsOf = (name: string): string => `${name}s`;
export const startOf = (value: string): string => `${value}@start`;

/**
 * Up to `most` steps: ids and labels [most, micro-batches, batch, context], weight and keep [most], size [most, most] by step and by updates
 * made, root [most] by updates made. Stops behind a step that is not finite, unless its loss is, and is scaled. Outputs as `stepGraph`, with
 * an axis of steps in front of what is no state, and SCALES, the loss scale of each step.
 */
export function loopGraph(prepared: Prepared, most: number): Graph {
  const { tape, store, options } = prepared;
  const step = emitStep(prepared);
  const inputs = store.parts.map(({ input }) => input);
  const state = stateOf(inputs);
  const mark = tape.nodes.length;
  const [at, go] = [tape.input("training/loop/at", COUNT), tape.input("training/loop/go", BOOL)];
  const done = tape.input(`${LOOP.done}@now`, COUNT);
  const good = tape.input(`${LOOP.good}@now`, COUNT);
  const scaled = options.dtype === "f16";
  const ends = tape.within("loop", () => {
    const counted = tape.op("Add", [done, tape.op("Cast", [step.finite], { to: OnnxType.INT64 })]);
    const next = scaled
      ? emitScale(tape, { scale: STEP.scale, good, finite: step.finite, interval: SCALE_INTERVAL })
      : { scale: tape.op("Identity", [STEP.scale]), good: tape.op("Identity", [good]) };
    const goes = tape.op("Identity", [scaled ? step.readable : step.finite]);
    return { goes, carried: [counted, next.scale, next.good], used: tape.op("Identity", [STEP.scale]) };
  });
  const body = graphProto(tape, "step", {
    nodes: [...perStep(tape, at, done, most, options), ...step.nodes, ...tape.nodes.slice(mark)],
    inputs: [at, go, done, STEP.scale, good, ...state],
    outputs: [ends.goes, ...ends.carried, ...step.next, step.losses, step.squares, step.norm, ends.used],
  });
  const starts = [LOOP.done, LOOP.scale, LOOP.good, ...state].map(startOf);
  const finals = [LOOP.done, LOOP.scale, LOOP.good, ...state].map(nextOf);
  const scans = [LOSSES, SQUARES, NORM, SCALES];
  declare(tape, state, starts, finals, scans, options.accumulate, inputs.length, most);
  const loop = loopNode("training/steps", [LOOP.trips, "", ...starts], [...finals, ...scans], body);
  const perCall = [STEP.ids, STEP.labels, STEP.weight, STEP.keep, STEP.size, STEP.root].map(stepsOf);
  return modelOf(tape, "steps", {
    nodes: [loop],
    inputs: [LOOP.trips, ...perCall, ...starts],
    outputs: [...finals, ...scans],
  });
}

/** What belongs to step `at`, out of what belongs to all. */
function perStep(
  tape: Tape,
  at: string,
  done: string,
  most: number,
  { accumulate, batch, context }: Prepared["options"],
): Region["nodes"] {
  const row = "training/loop/sizes";
  const shape = [most, accumulate, batch, context];
  for (const name of [STEP.ids, STEP.labels]) tape.input(stepsOf(name), { type: tape.typeOf(name).type, shape });
  for (const name of [STEP.weight, STEP.keep, STEP.root])
    tape.input(stepsOf(name), { type: OnnxType.FLOAT, shape: [most] });
  tape.input(stepsOf(STEP.size), { type: OnnxType.FLOAT, shape: [most, most] });
  const byStep = [STEP.ids, STEP.labels, STEP.weight, STEP.keep];
  return [
    ...byStep.map((name) => nodeOf("Gather", [stepsOf(name), at], [name], 0)),
    nodeOf("Gather", [stepsOf(STEP.size), at], [row], 0),
    nodeOf("Gather", [row, done], [STEP.size], 0),
    nodeOf("Gather", [stepsOf(STEP.root), done], [STEP.root], 0),
  ];
}

/** Types of what stands in the main graph. */
function declare(
  tape: Tape,
  state: readonly string[],
  starts: readonly string[],
  finals: readonly string[],
  scans: readonly string[],
  micro: number,
  parts: number,
  most: number,
): void {
  const types = [COUNT, NUMBER, COUNT, ...state.map((name) => tape.typeOf(name))];
  tape.input(LOOP.trips, COUNT);
  for (const [index, type] of types.entries()) {
    for (const names of [starts, finals]) tape.input(names[index] ?? "", type);
  }
  const shapes = [[most, micro], [most, parts], [most], [most]];
  for (const [index, name] of scans.entries()) tape.input(name, { type: OnnxType.FLOAT, shape: shapes[index] ?? [] });
}
