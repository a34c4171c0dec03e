// Gradients of the whole model by one graph: one run a micro-batch, its gradients added up.
import type { Batch } from "../../corpus/batch.ts";
import type { Graph } from "../../graph/graph.ts";
import type { GradientSource, Gradients } from "./contract.ts";
import { feedsOf, scalarIn } from "./feeds.ts";
import { emitGradients, LOSS, type Prepared } from "./prepare.ts";
import { floatsIn } from "./store.ts";

export class WholeGradients implements GradientSource {
  readonly #prepared: Prepared;
  readonly #graph: Graph;

  constructor(prepared: Prepared, graph: Graph) {
    this.#prepared = prepared;
    this.#graph = graph;
  }

  static async open(prepared: Prepared): Promise<WholeGradients> {
    const { tape } = prepared;
    for (const [input, gradient] of emitGradients(prepared)) tape.output(gradientName(input), gradient);
    const graph = tape.toGraph("gradients");
    await prepared.sessions.of(graph, "training step");
    return new WholeGradients(prepared, graph);
  }

  async gradients(batches: readonly Batch[], weight: number): Promise<Gradients> {
    const { runtime, store, sessions } = this.#prepared;
    const session = await sessions.of(this.#graph, "training step");
    return store.lend(runtime, async (held) => {
      let loss = 0;
      const byInput = new Map<string, Float32Array>();
      for (const batch of batches) {
        const values = await session.run(feedsOf(this.#prepared, batch, weight), undefined, [held]);
        loss += scalarIn(values, LOSS);
        for (const { input } of store.parts) add(byInput, input, floatsIn(values, gradientName(input)));
      }
      return { loss, byInput };
    });
  }
}

/** The output of the gradient of an input. */
export function gradientName(input: string): string {
  return `training/gradients/${input}`;
}

/** The first values become the sum; they are nobody else's. */
export function add(sums: Map<string, Float32Array>, key: string, values: Float32Array): void {
  const sum = sums.get(key);
  if (sum === undefined) {
    sums.set(key, values);
    return;
  }
  for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + (values[i] as number);
}
