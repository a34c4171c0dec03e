// A whole optimizer step as a graph: the micro-batches in a Loop, then the update. State goes in and comes out.
import type { Tape } from "../../autodiff/tape.ts";
import type { Graph } from "../../graph/graph.ts";
import { OnnxType } from "../../graph/onnx.ts";
import { emitGradients, LABELS, type Prepared, WEIGHT } from "./prepare.ts";
import { BOOL, COUNT, graphProto, loopNode, modelOf, NUMBER, neededFor, nodeOf, type Region } from "./region.ts";
import { emitAdam, emitJudgement, type StepScalars } from "./update.ts";

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
  readonly readable: string;
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
