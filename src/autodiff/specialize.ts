// A graph on inputs of known shapes, as a tape: every type and shape known, everything that data and weights do not touch computed away.
// Runs only what is frozen, never the model; reads no weights.
import { ExpandError, quote } from "../errors.ts";
import { nodeLabel } from "../graph/attributes.ts";
import type { Graph } from "../graph/graph.ts";
import type { NodeProto, TensorProto } from "../graph/onnx.ts";
import { readsOf } from "../graph/walk.ts";
import type { Values } from "../runtime/values.ts";
import { evaluate, type OpenModel } from "./evaluate.ts";
import { dataPaths } from "./frozen.ts";
import { normalise } from "./normalise.ts";
import { numbersIn } from "./numbers.ts";
import { askTypes } from "./probe.ts";
import { foldedShape, simpler } from "./simplify.ts";
import { Tape } from "./tape.ts";
import { typesOf } from "./types/index.ts";
import { NeedsConstant, type ValueType } from "./types/type.ts";

export interface SpecializeOptions {
  /** An example of every input; of those that vary, only type and shape count. */
  readonly feeds: Values;
  /** Inputs and initializers whose values are not known: tokens, trainable weights. Initializers in files always vary. */
  readonly varying: ReadonlySet<string>;
  /** Outputs to keep. */
  readonly wanted: readonly string[];
  readonly open: OpenModel;
}

/**
 * Throws "unsupported", naming node and operator, when a shape depends on data, or when no shape is known to the runtime; "input" when an
 * input has no example.
 */
export async function specialize(graph: Graph, options: SpecializeOptions): Promise<Tape> {
  const plain = normalise(graph, options);
  const typed = await new Specializer(plain, options).run();
  return simpler(typed);
}

/** Bytes. A model's messages hold less than 2 GB, and are copied a few times. */
const LARGEST = 2 ** 24;

/** What is known between two runs of frozen nodes. */
class Specializer {
  readonly #graph: ReturnType<typeof normalise>;
  readonly #options: SpecializeOptions;
  readonly #types = new Map<string, ValueType>();
  readonly #constants = new Map<string, TensorProto>();
  /** Values that data and weights touch. */
  readonly #touched: ReadonlySet<string>;
  readonly #kept: NodeProto[] = [];
  #waiting: NodeProto[];
  #frozen: NodeProto[] = [];
  /** What the frozen nodes will make. */
  readonly #pending = new Set<string>();

  constructor(graph: ReturnType<typeof normalise>, options: SpecializeOptions) {
    this.#graph = graph;
    this.#options = options;
    for (const [name, type] of graph.types) this.#types.set(name, type);
    for (const [name, tensor] of graph.constants) this.#know(tensor, name);
    this.#touched = dataPaths(graph);
    this.#waiting = [...graph.nodes];
  }

  async run(): Promise<Tape> {
    while (this.#waiting.length > 0) {
      const before = this.#waiting.length;
      await this.#takeReady();
      const evaluated = await this.#evaluate();
      if (this.#waiting.length === before && !evaluated) this.#refuse();
    }
    await this.#evaluate();
    const { opset, domains, files, weights, inputs, outputs } = this.#graph;
    const initializers = new Map([...weights, ...this.#constants]);
    const { varying } = this.#options;
    return new Tape({
      opset,
      domains,
      files,
      inputs,
      outputs,
      initializers,
      varying,
      nodes: this.#order(),
      types: this.#types,
    });
  }

  /** Takes every node whose inputs are known, in order, as often as there are any. */
  async #takeReady(): Promise<void> {
    const rest: NodeProto[] = [];
    for (const node of this.#waiting) if (!(await this.#take(node))) rest.push(node);
    this.#waiting = rest;
  }

  async #take(node: NodeProto): Promise<boolean> {
    if (isShape(node) && this.#types.has(node.input[0] ?? "")) return this.#takeShape(node);
    if (!this.#isTouched(node)) {
      if (!readsOf(node).every((name) => this.#constants.has(name) || this.#pending.has(name))) return false;
      this.#frozen.push(node);
      for (const name of node.output) this.#pending.add(name);
      return true;
    }
    if (!readsOf(node).every((name) => this.#types.has(name))) return false;
    const types = await this.#typesOf(node);
    for (const [at, name] of node.output.entries()) {
      const type = types[at];
      if (name !== "" && type !== undefined) this.#types.set(name, type);
    }
    this.#kept.push(node);
    return true;
  }

  #takeShape(node: NodeProto): boolean {
    const type = this.#types.get(node.input[0] ?? "");
    if (type !== undefined) this.#know(foldedShape(node, type), node.output[0] ?? "");
    return type !== undefined;
  }

  /** Data and weights touch it, or it reads something large that is left to the graph. */
  #isTouched(node: NodeProto): boolean {
    if (node.output.some((name) => this.#touched.has(name))) return true;
    return !isShape(node) && readsOf(node).some((name) => this.#types.has(name) && !this.#constants.has(name));
  }

  async #typesOf(node: NodeProto): Promise<readonly ValueType[]> {
    const typeOf = (name: string): ValueType => {
      const found = this.#types.get(name);
      if (found !== undefined) return found;
      throw new ExpandError("damaged", "lacks an input", { at: nodeLabel(node), fix: "Export the model again." });
    };
    const numbersOf = (name: string): readonly number[] | undefined => {
      const tensor = this.#constants.get(name);
      return tensor === undefined ? undefined : numbersIn(tensor);
    };
    try {
      const types = typesOf(node, this.#graph.opset, { typeOf, numbersOf });
      if (types !== undefined) return types;
    } catch (error) {
      if (error instanceof NeedsConstant) refuseData(node, error.input);
      throw error;
    }
    return askTypes(node, { ...this.#graph, types: this.#types, constants: this.#constants }, this.#options.open);
  }

  /** Runs the frozen nodes that are pending; true when there were any. */
  async #evaluate(): Promise<boolean> {
    if (this.#frozen.length === 0) return false;
    const nodes = this.#frozen;
    this.#frozen = [];
    const own = new Set(nodes);
    const readElsewhere = new Set([
      ...this.#graph.outputs,
      ...this.#graph.nodes.filter((node) => !own.has(node)).flatMap(readsOf),
    ]);
    const wanted = nodes.flatMap(({ output }) => output).filter((name) => readElsewhere.has(name));
    await this.#settle(nodes, wanted);
    return true;
  }

  /** Small results are constants. A large one stays with the node that makes it, which gets its own inputs: a mask, a bias by distance. */
  async #settle(nodes: readonly NodeProto[], wanted: readonly string[]): Promise<void> {
    const results = await evaluate(nodes, wanted, this.#graph, this.#constants, this.#options.open);
    const inputs = new Set<string>();
    for (const [name, tensor] of results) {
      const maker = nodes.find(({ output }) => output[0] === name);
      if (tensor.rawData.length <= LARGEST || maker === undefined || maker.output.length > 1) this.#know(tensor, name);
      else {
        this.#types.set(name, { type: tensor.dataType, shape: tensor.dims.map(Number) });
        this.#kept.push(maker);
        for (const input of readsOf(maker)) if (!this.#types.has(input)) inputs.add(input);
      }
    }
    if (inputs.size > 0)
      await this.#settle(
        nodes,
        [...inputs].filter((name) => !this.#types.has(name)),
      );
  }

  #know(tensor: TensorProto, name: string): void {
    tensor.name = name;
    this.#constants.set(name, tensor);
    this.#types.set(name, { type: tensor.dataType, shape: tensor.dims.map(Number) });
  }

  /** Kept nodes were taken over several rounds; their first order was one. */
  #order(): readonly NodeProto[] {
    const kept = new Set(this.#kept);
    return this.#graph.nodes.filter((node) => kept.has(node));
  }

  #refuse(): never {
    const [node] = this.#waiting;
    const missing =
      node === undefined ? "" : readsOf(node).find((name) => !this.#types.has(name) && !this.#constants.has(name));
    throw new ExpandError(
      "unsupported",
      `reads ${quote(missing ?? "")}, whose shape nothing tells before the model runs`,
      {
        at: node === undefined ? "graph" : nodeLabel(node),
        fix: FIX,
      },
    );
  }
}

function isShape({ opType }: NodeProto): boolean {
  return opType === "Shape" || opType === "Size";
}

const FIX = "Export the model without operators whose shapes depend on data.";

function refuseData(node: NodeProto, input: number): never {
  throw new ExpandError(
    "unsupported",
    `takes its shape from ${quote(node.input[input] ?? "")}, which depends on data or on weights`,
    { at: nodeLabel(node), fix: FIX },
  );
}
