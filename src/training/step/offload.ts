// Gradients block by block: the forward pass keeps what goes into each segment, the backward pass computes a segment again and goes on to
// the one before. On a device, the weights of one segment are there at a time; on the CPU they stay mapped.
import type { Batch } from "../../corpus/batch.ts";
import { throwIfAborted } from "../../errors.ts";
import type { Graph } from "../../graph/graph.ts";
import type { Value, Values } from "../../runtime/values.ts";
import type { GradientSource, Gradients } from "./contract.ts";
import { feedsOf, scalarIn } from "./feeds.ts";
import { LOSS, type Prepared } from "./prepare.ts";
import { BACK, SEED, type Segment, segmentsOf } from "./segments.ts";
import { floatsIn } from "./store.ts";
import { add, gradientName } from "./whole.ts";

export interface SegmentOutput {
  readonly segment: Segment;
  readonly values: readonly Value[];
}

export class BlockGradients implements GradientSource {
  readonly #prepared: Prepared;
  readonly #segments: readonly Segment[];

  constructor(prepared: Prepared) {
    this.#prepared = prepared;
    this.#segments = segmentsOf(prepared);
  }

  async gradients(batches: readonly Batch[], weight: number): Promise<Gradients> {
    const feeds = batches.map((batch) => feedsOf(this.#prepared, batch, weight));
    const borders: (readonly Value[])[] = [[]];
    for await (const { values } of this.#forward(feeds, this.#segments.slice(0, -1))) borders.push(values);
    const byInput = new Map<string, Float32Array>();
    let [loss, seeds]: [number, readonly Value[]] = [0, []];
    for (const [at, segment] of [...this.#segments.entries()].reverse()) {
      if (segment.backward === undefined) break;
      const taken = borders[at] ?? [];
      const given = await this.#run(segment, segment.backward, taken, feeds, seeds);
      if (segment.to === LOSS) loss = given.reduce((sum, values) => sum + scalarIn(values, LOSS), 0);
      for (const values of given) {
        for (const { input } of segment.parts) {
          // A tensor that several segments read may be out of reach of gradients in one of them.
          if (values[gradientName(input)] !== undefined) add(byInput, input, floatsIn(values, gradientName(input)));
        }
      }
      seeds = given.flatMap((values) => values[BACK] ?? []);
      // What went into this segment is needed no more.
      borders.length = at;
    }
    return { loss, byInput };
  }

  async loss(batch: Batch): Promise<number> {
    let loss = Number.NaN;
    for await (const { values } of this.outputs([batch])) loss = Number(values[0]?.data[0]);
    return loss;
  }

  /** What comes out of each segment, by micro-batch; the last gives the loss. */
  outputs(batches: readonly Batch[]): AsyncGenerator<SegmentOutput> {
    const feeds = batches.map((batch) => feedsOf(this.#prepared, batch, 0));
    return this.#forward(feeds, this.#segments);
  }

  async *#forward(feeds: readonly Values[], segments: readonly Segment[]): AsyncGenerator<SegmentOutput> {
    let taken: readonly Value[] = [];
    for (const segment of segments) {
      const given = await this.#run(segment, segment.forward, taken, feeds, []);
      taken = given.flatMap((values) => values[segment.to] ?? []);
      yield { segment, values: taken };
    }
  }

  /** All micro-batches through one segment. */
  async #run(
    segment: Segment,
    graph: Graph,
    taken: readonly Value[],
    feeds: readonly Values[],
    seeds: readonly Value[],
  ): Promise<readonly Values[]> {
    const { runtime, store, options, sessions } = this.#prepared;
    throwIfAborted(options.signal);
    // Pools of their own would hold the activations of all blocks.
    const session = await sessions.of(graph, segment.name, { memory: "returned" });
    const names = new Set(session.inputs.map(({ name }) => name));
    const given: Values[] = [];
    await store.lend(
      runtime,
      async (held) => {
        for (const [at, feed] of feeds.entries()) {
          const all = { ...feed, ...one(segment.from, taken[at]), ...one(SEED, seeds[at]) };
          given.push(
            await session.run(Object.fromEntries(Object.entries(all).filter(([name]) => names.has(name))), undefined, [
              held,
            ]),
          );
        }
      },
      segment.parts,
    );
    return given;
  }
}

function one(name: string, value: Value | undefined): Values {
  return value === undefined ? {} : { [name]: value };
}
