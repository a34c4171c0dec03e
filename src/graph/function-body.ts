// One call of a model-local function: its body with names of its own and the call's attributes. Never changes the function.
import { ExpandError, quote } from "../errors.ts";
import { nodeLabel } from "./attributes.ts";
import {
  type AttributeProto,
  AttributeProtoSchema,
  clone,
  type FunctionProto,
  type GraphProto,
  type NodeProto,
  NodeProtoSchema,
} from "./onnx.ts";
import { definitionsOf } from "./walk.ts";

/** The names of a model's values, to which fresh ones are added. */
export class Names {
  readonly #taken: Set<string>;
  /** By wish, the number to try next: a thousand calls wish for the same name. */
  readonly #next = new Map<string, number>();

  constructor(taken: Iterable<string>) {
    this.#taken = new Set(taken);
  }

  /** The wish itself if it is free, else with a number behind it. */
  fresh(wish: string): string {
    let name = wish;
    for (let next = this.#next.get(wish) ?? 1; this.#taken.has(name); next++) {
      name = `${wish}_${next}`;
      this.#next.set(wish, next + 1);
    }
    this.#taken.add(name);
    return name;
  }
}

export class Instance {
  /** Outputs of the call that are inputs of the function, or outputs that it names twice: somebody must copy them. */
  readonly handedThrough: readonly { readonly from: string; readonly to: string }[];
  readonly #call: NodeProto;
  readonly #body: FunctionProto;
  readonly #names: Names;
  readonly #prefix: string;
  readonly #renamed = new Map<string, string>();

  constructor(call: NodeProto, body: FunctionProto, names: Names) {
    this.#call = call;
    this.#body = body;
    this.#names = names;
    this.#prefix = `${call.name === "" ? body.name : call.name}/`;
    for (const [index, name] of body.input.entries()) this.#renamed.set(name, call.input[index] ?? "");
    const through: { from: string; to: string }[] = [];
    for (const [index, name] of body.output.entries()) {
      const to = call.output[index] ?? "";
      const from = this.#renamed.get(name);
      if (to === "") continue;
      if (from === undefined) this.#renamed.set(name, to);
      else through.push({ from, to });
    }
    this.handedThrough = through;
    for (const { output } of body.node) this.#define(output, this.#renamed);
  }

  /** A node of the body as it stands at the call. */
  node(node: NodeProto): NodeProto {
    return this.#node(node, this.#renamed);
  }

  #node(node: NodeProto, names: ReadonlyMap<string, string>): NodeProto {
    const renamed = clone(NodeProtoSchema, node);
    renamed.input = node.input.map((name) => this.#rename(name, names));
    renamed.output = node.output.map((name) => this.#rename(name, names));
    if (node.name !== "") renamed.name = this.#prefix + node.name;
    renamed.attribute = renamed.attribute.flatMap((each) => this.#attribute(each, names));
    return renamed;
  }

  /** A reference takes the call's value, else the function's default, else it is absent: then the operator's own default holds. */
  #attribute(attribute: AttributeProto, names: ReadonlyMap<string, string>): AttributeProto[] {
    const { name, refAttrName, g, graphs } = attribute;
    if (refAttrName !== "") {
      const named = (each: AttributeProto): boolean => each.name === refAttrName;
      const value = this.#call.attribute.find(named) ?? this.#body.attributeProto.find(named);
      if (value === undefined) return [];
      const given = clone(AttributeProtoSchema, value);
      given.name = name;
      return [given];
    }
    for (const graph of g === undefined ? graphs : [g, ...graphs]) this.#renameGraph(graph, names);
    return [attribute];
  }

  /** Renames a subgraph in place: what it defines gets fresh names, what it takes from outside follows the body's. */
  #renameGraph(graph: GraphProto, outer: ReadonlyMap<string, string>): void {
    const names = new Map(outer);
    this.#define(definitionsOf(graph), names);
    const sparse = graph.sparseInitializer.flatMap(({ values }) => values ?? []);
    const named = [...graph.input, ...graph.output, ...graph.initializer, ...sparse];
    for (const each of named) each.name = this.#rename(each.name, names);
    graph.valueInfo = [];
    graph.node = graph.node.map((node) => this.#node(node, names));
  }

  #define(definitions: Iterable<string>, names: Map<string, string>): void {
    for (const name of definitions) {
      if (name !== "" && !(names === this.#renamed && names.has(name)))
        names.set(name, this.#names.fresh(this.#prefix + name));
    }
  }

  #rename(name: string, names: ReadonlyMap<string, string>): string {
    if (name === "") return "";
    const renamed = names.get(name);
    if (renamed !== undefined) return renamed;
    throw new ExpandError("damaged", `function ${quote(this.#body.name)} reads ${quote(name)}, which nothing makes`, {
      at: nodeLabel(this.#call),
      fix: "Export the model again.",
    });
  }
}
