// The sessions of a trainer. On the CPU all stay open: their weights are mapped, and shared. On a device each would hold the weights again:
// there is one at a time, and no node of it is on the CPU.
import type { Tape } from "../../autodiff/tape.ts";
import type { Graph } from "../../graph/graph.ts";
import type { GraphProto, NodeProto } from "../../graph/onnx.ts";
import { nodesIn, outerReads } from "../../graph/walk.ts";
import type { OpenOptions, Session } from "../../runtime/runtime.ts";
import { modelOf } from "./region.ts";

export type SessionOptions = Pick<OpenOptions, "memory" | "optimizedPath">;
type Open = (graph: Graph, name: string, options?: SessionOptions) => Promise<Session>;

export class Sessions {
  readonly #open: Open;
  /** Of the graphs that run on a device; absent on the CPU. */
  readonly #tape: Tape | undefined;
  readonly #sessions = new Map<Graph, Session>();
  readonly #placed = new WeakSet<Graph>();

  constructor(open: Open, tape?: Tape) {
    this.#open = open;
    this.#tape = tape;
  }

  /** The open one, or a new one: the others of a device are closed for it. Do not close it. */
  async of(graph: Graph, name: string, options?: SessionOptions): Promise<Session> {
    const known = this.#sessions.get(graph);
    if (known !== undefined) return known;
    if (this.#tape !== undefined) {
      for (const [other, session] of this.#sessions) {
        this.#sessions.delete(other);
        await session.close();
      }
      await this.#checkBodies(this.#tape, graph, name);
    }
    const session = await this.#open(graph, name, options);
    this.#sessions.set(graph, session);
    return session;
  }

  /**
   * onnxruntime looks for nodes on the CPU (session.disable_cpu_ep_fallback) in the main graph alone: core/session/inference_session.cc. What
   * stands in a Loop is therefore opened as a model of its own first, which fails where the Loop would fall back in silence.
   */
  async #checkBodies(tape: Tape, graph: Graph, name: string): Promise<void> {
    if (this.#placed.has(graph)) return;
    for (const body of bodiesOf(tape, graph)) {
      const session = await this.#open(body, `${name}, ${body.model.graph?.name}`);
      await session.close();
    }
    this.#placed.add(graph);
  }
}

/** The bodies of all Loops as models: what they read from outside goes in as inputs. */
export function bodiesOf(tape: Tape, { model }: Graph): readonly Graph[] {
  return [...nodesIn(model.graph?.node ?? [])].flatMap(bodyOf).map((body) => {
    const outside = [...outerReads(body)].filter((name) => !tape.initializers.has(name));
    const inputs = [...body.input.map(({ name }) => name), ...outside];
    return modelOf(tape, body.name, { nodes: body.node, inputs, outputs: body.output.map(({ name }) => name) });
  });
}

function bodyOf({ opType, attribute }: NodeProto): readonly GraphProto[] {
  return opType === "Loop" ? attribute.flatMap(({ g }) => g ?? []) : [];
}
