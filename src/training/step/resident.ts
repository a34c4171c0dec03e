// The layouts "graph" and "loop": AdamW runs in the graph, one step a run or several. State goes in and comes out whole.
import type { Batch } from "../../corpus/batch.ts";
import { throwIfAborted } from "../../errors.ts";
import type { Graph } from "../../graph/graph.ts";
import type { Session } from "../../runtime/runtime.ts";
import type { Value, Values } from "../../runtime/values.ts";
import { coefficientsOf } from "../optimizer/adamw.ts";
import { nextScale } from "../optimizer/scale.ts";
import type { StepResult } from "./contract.ts";
import { countedInAll, idsValue, scalar, scalarIn } from "./feeds.ts";
import { LayoutTrainer, NOTHING } from "./layout.ts";
import { LOOP, loopGraph, SCALES, startOf, stepsOf } from "./loop-graph.ts";
import type { Prepared } from "./prepare.ts";
import { LOSSES, momentOf, NORM, nextOf, SQUARES, STEP, stepGraph } from "./step-graph.ts";
import { floatsIn, KINDS, type Kind } from "./store.ts";

/** What a step gave, wherever it ran. */
interface Given {
  /** Sums of the micro-batches. */
  readonly losses: Float32Array;
  readonly squares: Float32Array;
  readonly norm: number;
  readonly scale: number;
}

abstract class ResidentTrainer extends LayoutTrainer {
  readonly #graph: Graph;

  constructor(prepared: Prepared, graph: Graph) {
    super(prepared);
    this.#graph = graph;
  }

  /** The graph is opened, if it is not. */
  protected session(): Promise<Session> {
    return this.prepared.sessions.of(this.#graph, "training step");
  }

  /** Runs the graph on the state, and takes the state that it gives. `start` names an input of the state, `nextOf` its output. */
  protected async advance(feeds: Values, start: (name: string) => string): Promise<Values> {
    const { store, runtime } = this.prepared;
    const session = await this.session();
    const nameOf = (kind: Kind, input: string): string => (kind === "weights" ? input : momentOf(kind, input));
    const state = Object.assign(
      {},
      ...KINDS.map((kind) => store.values(kind, ({ input }) => start(nameOf(kind, input)))),
    );
    const held = await runtime.hold(state as Values);
    let values: Values | undefined;
    try {
      values = await session.run(feeds, undefined, [held]);
      return values;
    } finally {
      const before = await held.release();
      for (const kind of KINDS) {
        for (const part of store.parts) {
          const name = nameOf(kind, part.input);
          store.set(kind, part, values ? floatsIn(values, nextOf(name)) : floatsIn(before, start(name)));
        }
      }
    }
  }

  protected resultOf(batches: readonly Batch[], { losses, squares, norm, scale }: Given): StepResult {
    const tokens = countedInAll(batches);
    const loss = losses.reduce((sum, each) => sum + each, 0);
    const finite = Number.isFinite(loss) && Number.isFinite(norm);
    return {
      loss: loss / Math.max(1, tokens),
      tokens,
      norm,
      finite,
      skipped: !finite && this.scale !== undefined && Number.isFinite(loss),
      ...(this.scale === undefined ? {} : { scale }),
      ...(finite ? {} : { bad: Number.isFinite(loss) ? this.#namesOf(squares) : [] }),
    };
  }

  /** Tensors whose gradients are not finite. */
  #namesOf(squares: Float32Array): readonly string[] {
    const { parameters, parts } = this.prepared.store;
    const bad = new Set(parts.filter((_, at) => !Number.isFinite(squares[at])));
    return parameters.filter((each) => each.parts.some((part) => bad.has(part))).map(({ name }) => name);
  }
}

export class GraphTrainer extends ResidentTrainer {
  static async open(prepared: Prepared): Promise<GraphTrainer> {
    const trainer = new GraphTrainer(prepared, stepGraph(prepared));
    await trainer.session();
    return trainer;
  }

  run(steps: readonly (readonly Batch[])[], rates: readonly number[]): Promise<readonly StepResult[]> {
    return this.oneByOne(steps, rates, (batches, rate) => this.#step(batches, rate));
  }

  async #step(batches: readonly Batch[], rate: number): Promise<StepResult> {
    const tokens = countedInAll(batches);
    if (tokens === 0) return NOTHING;
    const scale = this.scale?.scale ?? 1;
    const { keep, size, root } = coefficientsOf(this.prepared.options.adam, rate, this.updates + 1);
    const feeds = {
      ...batchFeeds(this.prepared, batches, [], (name) => name),
      [STEP.weight]: scalar(1 / tokens),
      [STEP.keep]: scalar(keep),
      [STEP.size]: scalar(size),
      [STEP.root]: scalar(root),
      [STEP.scale]: scalar(scale),
    };
    const values = await this.advance(feeds, (name) => name);
    const result = this.resultOf(batches, {
      losses: floatsIn(values, LOSSES),
      squares: floatsIn(values, SQUARES),
      norm: scalarIn(values, NORM),
      scale,
    });
    if (result.finite) this.updates++;
    if (this.scale !== undefined) this.scale = nextScale(this.scale, result.finite);
    return result;
  }
}

export class LoopTrainer extends ResidentTrainer {
  readonly #most: number;

  constructor(prepared: Prepared, graph: Graph, most: number) {
    super(prepared, graph);
    this.#most = most;
  }

  /** `most` steps fit into one run. */
  static async open(prepared: Prepared, most: number): Promise<LoopTrainer> {
    const trainer = new LoopTrainer(prepared, loopGraph(prepared, most), most);
    await trainer.session();
    return trainer;
  }

  async run(steps: readonly (readonly Batch[])[], rates: readonly number[]): Promise<readonly StepResult[]> {
    const results: StepResult[] = [];
    for (let from = 0; from < steps.length; ) {
      throwIfAborted(this.prepared.options.signal);
      const run = runOf(steps.slice(from, from + this.#most));
      results.push(...(run.length === 0 ? [NOTHING] : await this.#steps(run, rates.slice(from, from + run.length))));
      from += Math.max(1, run.length);
      const last = results.at(-1);
      if (last !== undefined && !last.finite && !last.skipped) break;
    }
    return results;
  }

  async #steps(steps: readonly (readonly Batch[])[], rates: readonly number[]): Promise<readonly StepResult[]> {
    const { good = 0, scale = 1 } = this.scale ?? {};
    const feeds = {
      ...batchFeeds(this.prepared, steps.flat(), [this.#most], stepsOf),
      ...this.#numbers(steps, rates),
      [LOOP.trips]: count(steps.length),
      [startOf(LOOP.done)]: count(0),
      [startOf(LOOP.good)]: count(good),
      [startOf(LOOP.scale)]: scalar(scale),
    };
    const values = await this.advance(feeds, startOf);
    this.updates += countIn(values, nextOf(LOOP.done));
    if (this.scale !== undefined) {
      this.scale = { scale: scalarIn(values, nextOf(LOOP.scale)), good: countIn(values, nextOf(LOOP.good)) };
    }
    const norms = floatsIn(values, NORM);
    const rows = (name: string, at: number): Float32Array => {
      const all = floatsIn(values, name);
      const width = all.length / norms.length;
      return all.subarray(at * width, (at + 1) * width);
    };
    return [...norms].map((norm, at) =>
      this.resultOf(steps[at] ?? [], {
        losses: rows(LOSSES, at),
        squares: rows(SQUARES, at),
        norm,
        scale: rows(SCALES, at)[0] ?? 1,
      }),
    );
  }

  /** Coefficients of every step; where they count updates, of every number of updates that may have been made by then. */
  #numbers(steps: readonly (readonly Batch[])[], rates: readonly number[]): Values {
    const most = this.#most;
    const { adam } = this.prepared.options;
    const weight = new Float32Array(most);
    const keep = new Float32Array(most);
    const root = new Float32Array(most);
    const size = new Float32Array(most * most);
    for (let at = 0; at < most; at++) {
      const tokens = countedInAll(steps[at] ?? []);
      weight[at] = tokens === 0 ? 0 : 1 / tokens;
      for (let done = 0; done < most; done++) {
        const coefficients = coefficientsOf(adam, rates[at] ?? 0, this.updates + done + 1);
        size[at * most + done] = coefficients.size;
        keep[at] = coefficients.keep;
        root[done] = coefficients.root;
      }
    }
    return {
      [stepsOf(STEP.weight)]: { dtype: "float32", shape: [most], data: weight },
      [stepsOf(STEP.keep)]: { dtype: "float32", shape: [most], data: keep },
      [stepsOf(STEP.root)]: { dtype: "float32", shape: [most], data: root },
      [stepsOf(STEP.size)]: { dtype: "float32", shape: [most, most], data: size },
    };
  }
}

/** Steps up to the first that has nothing to learn. */
function runOf(steps: readonly (readonly Batch[])[]): readonly (readonly Batch[])[] {
  const end = steps.findIndex((batches) => countedInAll(batches) === 0);
  return end < 0 ? steps : steps.slice(0, end);
}

/** Ids and labels [...front, micro-batches, batch, context]; what is missing at the end is zeros that no step reads. */
function batchFeeds(
  prepared: Prepared,
  batches: readonly Batch[],
  front: readonly number[],
  name: (name: string) => string,
): Values {
  const { accumulate, batch, context } = prepared.options;
  const shape = [...front, accumulate, batch, context];
  const ids = new BigInt64Array(shape.reduce((product, size) => product * size, 1));
  const labels = new BigInt64Array(ids.length);
  for (const [at, one] of batches.entries()) {
    ids.set(one.ids, at * batch * context);
    labels.set(one.labels, at * batch * context);
  }
  return {
    [name(STEP.ids)]: idsValue(prepared, shape, ids),
    [name(STEP.labels)]: { dtype: "int64", shape, data: labels },
  };
}

function count(value: number): Value {
  return { dtype: "int64", shape: [], data: BigInt64Array.of(BigInt(value)) };
}

function countIn(values: Values, name: string): number {
  return Number(values[name]?.data[0] ?? 0);
}
