// Who makes a value: a graph inside of other graphs, and values that stand for others. An index; changes nothing.
import type { GraphProto, NodeProto, TensorProto } from "../../graph/onnx.ts";

/** Where a value comes from. */
export type Origin =
  | { readonly kind: "node"; readonly node: NodeProto; readonly slot: number }
  | { readonly kind: "initializer"; readonly tensor: TensorProto }
  | { readonly kind: "input"; readonly at: number }
  | { readonly kind: "nothing" };

export class Scope {
  readonly graph: GraphProto;
  readonly #parent: Scope | undefined;
  readonly #origins = new Map<string, Origin>();
  readonly #bypassed: ReadonlyMap<string, string>;

  /** `bypassed`: values to be read as others, of this graph: what a copy leaves as what it took. */
  constructor(graph: GraphProto, parent: Scope | undefined, bypassed: ReadonlyMap<string, string>) {
    this.graph = graph;
    this.#parent = parent;
    this.#bypassed = bypassed;
    for (const [at, { name }] of graph.input.entries()) this.#origins.set(name, { kind: "input", at });
    for (const tensor of graph.initializer) this.#origins.set(tensor.name, { kind: "initializer", tensor });
    for (const node of graph.node) {
      for (const [slot, name] of node.output.entries()) {
        if (name !== "") this.#origins.set(name, { kind: "node", node, slot });
      }
    }
  }

  /** The scope that defines a value, its name there once nothing is bypassed any more, and where it comes from. */
  resolve(name: string): { readonly scope: Scope; readonly name: string; readonly origin: Origin } {
    let real = name;
    for (let next = this.#bypassed.get(real); next !== undefined; next = this.#bypassed.get(real)) real = next;
    const origin = this.#origins.get(real);
    if (origin !== undefined) return { scope: this, name: real, origin };
    if (this.#parent !== undefined) return this.#parent.resolve(real);
    return { scope: this, name: real, origin: { kind: "nothing" } };
  }
}
