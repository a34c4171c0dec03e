// A whole optimizer step as a graph: the micro-batches in a Loop, then the update; and several such steps in a Loop around it. State goes in
// and comes out, and stays on the device in between.
import type { Tape } from "../../autodiff/tape.ts";
import type { Graph } from "../../graph/graph.ts";
import { OnnxType } from "../../graph/onnx.ts";
import { SCALE_INTERVAL } from "../optimizer/scale.ts";
import { emitGradients, LABELS, type Prepared, WEIGHT } from "./prepare.ts";
import { BOOL, COUNT, graphProto, loopNode, modelOf, NUMBER, neededFor, nodeOf, type Region } from "./region.ts";
import { emitAdam, emitJudgement, emitScale, type StepScalars } from "./update.ts";

/** Inputs of a step that are not state; those of several steps have an axis of steps in front. */
export const STEP = {
  ids: "training/step/ids",
  labels: "training/step/labels",
  /** 1 / (counted tokens). */
  weight: "training/step/weight",
  keep: "training/step/keep",
  size: "training/step/size",
  root: "training/step/root",
  scale: "training/step/scale",
} as const;
export const LOSSES = "training/losses";
export const SQUARES = "training/squares";
export const NORM = "training/norm";

export const momentOf = (kind: "m" | "v", input: string): string => `training/${kind}/${input}`;
export const nextOf = (value: string): string => `${value}@next`;

/** Names of weights, first and second moments, in the order of parts. */
export function stateOf(inputs: readonly string[]): readonly string[] {
  return [...inputs, ...inputs.map((input) => momentOf("m", input)), ...inputs.map((input) => momentOf("v", input))];
}

interface Step extends Region {
  /** Of `stateOf`, in its order. */
  readonly next: readonly string[];
  readonly losses: string;
  readonly squares: string;
  readonly norm: string;
  readonly finite: string;
}

/** Inputs: STEP and state. Outputs: LOSSES [micro-batches], SQUARES [parts], NORM, and `nextOf` each state. */
export function stepGraph(prepared: Prepared): Graph {
  const { tape } = prepared;
  const step = emitStep(prepared);
  const outputs = new Map([
    [LOSSES, step.losses],
    [SQUARES, step.squares],
    [NORM, step.norm],
    ...step.inputs.slice(-step.next.length).map((name, at) => [nextOf(name), step.next[at] ?? ""] as const),
  ]);
  const nodes = [...step.nodes, ...named(tape, outputs)];
  return modelOf(tape, "step", { nodes, inputs: step.inputs, outputs: [...outputs.keys()] });
}

/** The body of one step, on values called as in STEP and in the state. */
export function emitStep(prepared: Prepared): Step {
  const { tape, store, options } = prepared;
  const { accumulate, batch, context, adam, clip } = options;
  const inputs = store.parts.map(({ input }) => input);
  const gradients = emitGradients(prepared);
  const each = inputs.map((input) => gradients.get(input) ?? "");
  const shape = [accumulate, batch, context];
  tape.input(STEP.ids, { type: tape.typeOf(prepared.ids).type, shape });
  tape.input(STEP.labels, { type: OnnxType.INT64, shape });
  const { weight, keep, size, root, scale } = STEP;
  for (const name of [weight, keep, size, root, scale]) tape.input(name, NUMBER);
  for (const { input, shape } of store.parts) {
    for (const kind of ["m", "v"] as const) tape.input(momentOf(kind, input), { type: OnnxType.FLOAT, shape });
  }
  const micro = neededFor(tape.nodes, [prepared.loss.sum, ...each]);
  const mark = tape.nodes.length;
  return tape.within("step", () => {
    const scaled = nodeOf("Mul", [weight, scale], [WEIGHT]);
    const summed = accumulate === 1 ? once(prepared, micro, each) : repeated(prepared, micro, each);
    const scalars: StepScalars = { keep, size, root, scale };
    const judgement = emitJudgement(tape, summed.gradients, summed.losses, scale, clip);
    const next = store.parts.map(({ input }, at) =>
      emitAdam(
        tape,
        { weight: input, m: momentOf("m", input), v: momentOf("v", input), gradient: summed.gradients[at] ?? "" },
        scalars,
        judgement,
        adam,
      ),
    );
    return {
      nodes: [scaled, ...summed.nodes, ...tape.nodes.slice(mark)],
      inputs: [...Object.values(STEP), ...stateOf(inputs)],
      outputs: [],
      next: [...next.map((each) => each.weight), ...next.map((each) => each.m), ...next.map((each) => each.v)],
      losses: summed.losses,
      ...judgement,
    };
  });
}

interface Summed {
  /** Nodes that are not on the tape, or were there before. */
  readonly nodes: Region["nodes"];
  readonly gradients: readonly string[];
  readonly losses: string;
}

/** The only micro-batch, without a Loop. */
function once({ tape, ids, loss }: Prepared, micro: Region["nodes"], gradients: readonly string[]): Summed {
  const losses = nodeOf("Reshape", [loss.sum, tape.ints([1])], [LOSSES_MADE]);
  tape.append(losses, [{ type: OnnxType.FLOAT, shape: [1] }]);
  return { nodes: [...taken(tape.ints(0), ids), ...micro], gradients, losses: LOSSES_MADE };
}

const LOSSES_MADE = "training/losses/made";

/** Micro-batches one after the other; what is carried are the sums of their gradients. */
function repeated(
  { tape, ids, loss, options }: Prepared,
  micro: Region["nodes"],
  gradients: readonly string[],
): Summed {
  const [at, go, goes] = ["training/micro/at", "training/micro/go", "training/micro/goes"];
  tape.input(at, COUNT);
  for (const name of [go, goes]) tape.input(name, BOOL);
  const adds: Region["nodes"][number][] = [];
  const carried = gradients.map((gradient, index) => {
    const type = tape.typeOf(gradient);
    const before = tape.input(`training/micro/before/${index}`, type);
    const after = tape.input(`training/micro/after/${index}`, type);
    adds.push(nodeOf("Add", [before, gradient], [after]));
    const start = tape.op("ConstantOfShape", [tape.ints(type.shape)]);
    return { before, after, start, sum: `training/micro/sum/${index}`, type };
  });
  const body = graphProto(tape, "micro-batch", {
    nodes: [...taken(at, ids), ...micro, ...adds, nodeOf("Identity", [go], [goes])],
    inputs: [at, go, ...carried.map(({ before }) => before)],
    outputs: [goes, ...carried.map(({ after }) => after), loss.sum],
  });
  const sums = carried.map(({ sum }) => sum);
  const starts = carried.map(({ start }) => start);
  const loop = loopNode(
    "training/micro-batches",
    [tape.ints(options.accumulate), "", ...starts],
    [...sums, LOSSES_MADE],
    body,
  );
  tape.append(loop, [...carried.map(({ type }) => type), { type: OnnxType.FLOAT, shape: [options.accumulate] }]);
  return { nodes: [], gradients: sums, losses: LOSSES_MADE };
}

/** The ids and labels of micro-batch `at`. */
function taken(at: string, ids: string): Region["nodes"] {
  return [nodeOf("Gather", [STEP.ids, at], [ids], 0), nodeOf("Gather", [STEP.labels, at], [LABELS], 0)];
}

/** Values under other names, which the tape then knows. */
function named(tape: Tape, names: ReadonlyMap<string, string>): Region["nodes"] {
  return [...names].map(([name, value]) => {
    tape.input(name, tape.typeOf(value));
    return nodeOf("Identity", [value], [name]);
  });
}

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
 * made, root [most] by updates made. Stops behind a step that is not finite, unless its loss is scaled. Outputs as `stepGraph`, with an axis
 * of steps in front of what is no state, and SCALES, the loss scale of each step.
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
    const goes = tape.op("Identity", [scaled ? go : step.finite]);
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
