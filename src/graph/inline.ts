// Puts the bodies of model-local functions where they are called, so that everything after sees one graph. Never changes its argument.
import { ExpandError, quote } from "../errors.ts";
import { graphAttributes, nodeLabel } from "./attributes.ts";
import { Instance, Names } from "./function-body.ts";
import { cloneGraph, type Graph } from "./graph.ts";
import {
  create,
  type FunctionProto,
  type GraphProto,
  type ModelProto,
  type NodeProto,
  NodeProtoSchema,
  OperatorSetIdProtoSchema,
} from "./onnx.ts";
import { definitionsOf, domainOf, MAX_NESTING, nodesIn, topGraphs } from "./walk.ts";

/** Functions that call each other twice and again double the nodes with each level; no model comes near this. */
const MAX_NODES = 1_000_000;

const INLINE_FIRST = "Inline the functions with onnx.inliner first.";

/**
 * The same computation without functions; the graph itself when it has none. Names inside get the calling node's name in front.
 * Throws "unsupported" where a body needs other versions of operators than the model, "damaged" for functions that call themselves.
 */
export function inlineFunctions(graph: Graph): Graph {
  if (graph.model.functions.length === 0) return graph;
  const inlined = cloneGraph(graph);
  const { model } = inlined;
  const inliner = new Inliner(model);
  for (const top of topGraphs(model)) inliner.measure(top);
  for (const top of topGraphs(model)) inliner.inlineInto(top);
  inliner.importOpsets();
  model.functions = [];
  return inlined;
}

class Inliner {
  readonly #model: ModelProto;
  readonly #functions: ReadonlyMap<string, FunctionProto>;
  readonly #names: Names;
  readonly #used = new Set<FunctionProto>();
  readonly #sizes = new Map<FunctionProto, number>();
  #nodes = 0;

  constructor(model: ModelProto) {
    this.#model = model;
    this.#functions = new Map(model.functions.map((body) => [keyOf(body.domain, body.name, body.overload), body]));
    const graphs = topGraphs(model);
    this.#names = new Names(
      [...graphs, ...graphs.flatMap(({ node }) => nestedGraphs(node))].flatMap((each) => [...definitionsOf(each)]),
    );
  }

  /** Call it for all graphs before the first is inlined: it refuses what would never end. */
  measure(graph: GraphProto): void {
    this.#nodes += this.#sizeOf(graph.node, []);
    if (this.#nodes <= MAX_NODES) return;
    throw new ExpandError("unsupported", `makes more than ${MAX_NODES} nodes when its functions are inlined`, {
      at: `graph ${quote(graph.name)}`,
      fix: INLINE_FIRST,
    });
  }

  inlineInto(graph: GraphProto): void {
    graph.node = this.#expand(graph.node);
  }

  /** A body may use domains that the model does not import; those of the functions themselves are no longer needed. */
  importOpsets(): void {
    const model = this.#model;
    const versions = new Map(model.opsetImport.map(({ domain, version }) => [domainOf(domain), version]));
    const needed = new Set(
      topGraphs(model).flatMap(({ node }) => [...nodesIn(node)].map(({ domain }) => domainOf(domain))),
    );
    for (const body of this.#used) {
      for (const { domain, version } of body.opsetImport) {
        const own = domainOf(domain);
        const present = versions.get(own);
        if (!needed.has(own) || present === version) continue;
        if (present !== undefined) refuseVersions(body, own, version, present);
        versions.set(own, version);
        model.opsetImport.push(create(OperatorSetIdProtoSchema, { domain, version }));
      }
    }
    const own = new Set(model.functions.map(({ domain }) => domainOf(domain)));
    model.opsetImport = model.opsetImport.filter(({ domain }) => {
      return needed.has(domainOf(domain)) || !own.has(domainOf(domain));
    });
  }

  /** How many nodes these become. `calls` are the functions around them, outermost first. */
  #sizeOf(nodes: readonly NodeProto[], calls: readonly FunctionProto[]): number {
    let size = 0;
    for (const node of nodesIn(nodes)) {
      const body = this.#functionOf(node);
      if (body === undefined) {
        size++;
        continue;
      }
      if (calls.includes(body)) fail("damaged", node, `calls function ${quote(body.name)} from inside itself`);
      if (calls.length >= MAX_NESTING)
        fail("unsupported", node, `is inside ${MAX_NESTING} functions; no more are supported`);
      const known = this.#sizes.get(body) ?? this.#sizeOf(body.node, [...calls, body]);
      this.#sizes.set(body, known);
      size += known;
    }
    return size;
  }

  #functionOf({ domain, opType, overload }: NodeProto): FunctionProto | undefined {
    return this.#functions.get(keyOf(domain, opType, overload));
  }

  #expand(nodes: readonly NodeProto[]): NodeProto[] {
    const expanded: NodeProto[] = [];
    for (const node of nodes) {
      for (const inner of graphAttributes(node)) inner.node = this.#expand(inner.node);
      const body = this.#functionOf(node);
      if (body === undefined) expanded.push(node);
      else for (const each of this.#call(node, body)) expanded.push(each);
    }
    return expanded;
  }

  #call(node: NodeProto, body: FunctionProto): readonly NodeProto[] {
    this.#used.add(body);
    if (node.input.length > body.input.length || node.output.length > body.output.length) {
      const takes = `${body.input.length} inputs and ${body.output.length} outputs`;
      const has = `${node.input.length} inputs and ${node.output.length} outputs`;
      fail("damaged", node, `has ${has}; the function has ${takes}`);
    }
    return this.#expand([...bodyNodes(node, body, this.#names)]);
  }
}

/** The body's nodes for one call, and Identity nodes where it hands an input, or one value twice, through. */
function* bodyNodes(node: NodeProto, body: FunctionProto, names: Names): Generator<NodeProto, void, void> {
  const instance = new Instance(node, body, names);
  for (const each of body.node) yield instance.node(each);
  for (const { from, to } of instance.handedThrough) {
    yield create(NodeProtoSchema, { opType: "Identity", input: [from], output: [to] });
  }
}

function nestedGraphs(nodes: readonly NodeProto[]): readonly GraphProto[] {
  return [...nodesIn(nodes)].flatMap(graphAttributes);
}

function keyOf(domain: string, name: string, overload: string): string {
  return JSON.stringify([domainOf(domain), name, overload]);
}

function refuseVersions(body: FunctionProto, domain: string, version: bigint, present: bigint): never {
  const name = domain === "" ? "ai.onnx" : domain;
  throw new ExpandError("unsupported", `uses version ${version} of ${name}, but the model uses ${present}`, {
    at: `function ${quote(body.name)}`,
    fix: "Inline the functions with onnx.inliner (convert_version=True) first.",
  });
}

function fail(tag: "damaged" | "unsupported", node: NodeProto, message: string): never {
  throw new ExpandError(tag, message, { at: nodeLabel(node), fix: INLINE_FIRST });
}
