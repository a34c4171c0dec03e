// Our own check of a graph, before anything is written: runtimes silently take one of two definitions of a name. Reads no weights.
import { ExpandError, quote } from "../errors.ts";
import { isPlainPath } from "../tensor/source.ts";
import { graphAttributes, nodeLabel } from "./attributes.ts";
import { externalRange, type Graph, tensorOf, ZEROS } from "./graph.ts";
import {
  type FunctionProto,
  type GraphProto,
  type ModelProto,
  type NodeProto,
  OnnxType,
  type TensorProto,
} from "./onnx.ts";
import { sortNodes } from "./sort.ts";
import { definitionsOf, domainOf, nodesIn, tensorsOf, topGraphs } from "./walk.ts";

/**
 * Throws "damaged" (or "unsupported" for tensors that are not plain) unless every name has one definition, also across nested graphs;
 * every value that is read is made before; every domain is imported; and every tensor's data lies inside its file and fills its shape.
 */
export function checkGraph(graph: Graph): void {
  const { model } = graph;
  if (model.graph === undefined) fail("the model", "has no graph");
  checkOpsets(model);
  checkFunctions(model);
  const main = checkBody(model.graph, undefined);
  for (const training of topGraphs(model).slice(1)) checkBody(training, main);
  for (const body of model.functions) checkBody(body, undefined);
  for (const tensor of tensorsOf(model)) checkTensor(graph, tensor);
}

/** The names of one graph, and the graph around it. */
interface Scope {
  /** Everything that is defined somewhere in it. */
  readonly defined: ReadonlySet<string>;
  /** What is defined before the node that is being looked at. */
  readonly made: Set<string>;
  readonly outer: Scope | undefined;
}

function checkBody(body: GraphProto | FunctionProto, outer: Scope | undefined): Scope {
  const scope: Scope = { defined: uniqueNames(body, outer), made: new Set(startingNames(body)), outer };
  for (const node of body.node) {
    for (const name of node.input) if (name !== "" && !isMade(name, scope)) failRead(node, name, body, scope);
    for (const inner of graphAttributes(node)) checkBody(inner, scope);
    for (const name of node.output) scope.made.add(name);
  }
  for (const output of body.output) {
    const name = typeof output === "string" ? output : output.name;
    if (!isMade(name, scope)) fail(`output ${quote(name)}`, `is made by nothing in ${bodyLabel(body)}`);
  }
  return scope;
}

function uniqueNames(body: GraphProto | FunctionProto, outer: Scope | undefined): ReadonlySet<string> {
  const names = new Set<string>();
  for (const name of definitionsOf(body)) {
    if (name === "") fail(bodyLabel(body), "has an input or an initializer without a name");
    if (names.has(name)) fail(`value ${quote(name)}`, `is defined twice in ${bodyLabel(body)}`);
    for (let scope = outer; scope !== undefined; scope = scope.outer) {
      // What is made after the node may have the name: the outputs of an `If` are often named as those of its branches.
      if (scope.made.has(name))
        fail(`value ${quote(name)}`, `is defined in ${bodyLabel(body)} and in a graph around it`);
    }
    names.add(name);
  }
  if (body.$typeName === "onnx.GraphProto") uniqueInitializers(body);
  return names;
}

/** Those that are an input's default are no definitions, but two of them would still be one too many. */
function uniqueInitializers(graph: GraphProto): void {
  const names = new Set<string>();
  for (const name of initializerNames(graph)) {
    if (names.has(name)) fail(`initializer ${quote(name)}`, `is there twice in ${bodyLabel(graph)}`);
    names.add(name);
  }
}

function initializerNames(graph: GraphProto): readonly string[] {
  return [
    ...graph.initializer.map(({ name }) => name),
    ...graph.sparseInitializer.map(({ values }) => values?.name ?? ""),
  ];
}

function startingNames(body: GraphProto | FunctionProto): readonly string[] {
  if (body.$typeName === "onnx.FunctionProto") return body.input;
  return [...body.input.map(({ name }) => name), ...initializerNames(body)];
}

function isMade(name: string, scope: Scope | undefined): boolean {
  for (let each = scope; each !== undefined; each = each.outer) if (each.made.has(name)) return true;
  return false;
}

function failRead(node: NodeProto, name: string, body: GraphProto | FunctionProto, scope: Scope): never {
  // Tells a cycle, which it throws itself, from nodes that are merely out of order.
  if (scope.defined.has(name)) sortNodes(body.node);
  for (let each: Scope | undefined = scope; each !== undefined; each = each.outer) {
    if (each.defined.has(name)) fail(nodeLabel(node), `reads ${quote(name)} before the node that makes it`);
  }
  fail(nodeLabel(node), `reads ${quote(name)}, which nothing makes`);
}

function checkOpsets(model: ModelProto): void {
  const imported = importsOf("the model", model.opsetImport);
  for (const graph of topGraphs(model)) checkDomains(graph.node, imported);
}

function checkFunctions(model: ModelProto): void {
  const seen = new Set<string>();
  for (const body of model.functions) {
    const key = JSON.stringify([domainOf(body.domain), body.name, body.overload]);
    if (seen.has(key)) fail(bodyLabel(body), "is there twice");
    seen.add(key);
    checkDomains(body.node, importsOf(bodyLabel(body), body.opsetImport));
  }
}

function importsOf(at: string, opsets: ModelProto["opsetImport"]): ReadonlySet<string> {
  const imported = new Set<string>();
  for (const { domain } of opsets) {
    const name = domainOf(domain);
    if (imported.has(name)) fail(at, `imports operators of ${domainLabel(name)} twice`);
    imported.add(name);
  }
  return imported;
}

function checkDomains(nodes: readonly NodeProto[], imported: ReadonlySet<string>): void {
  for (const node of nodesIn(nodes)) {
    const domain = domainOf(node.domain);
    if (!imported.has(domain)) fail(nodeLabel(node), `is of ${domainLabel(domain)}, which is not imported`);
  }
}

/** Throws unless the data of a tensor is where it says, and as long as its type and shape take. */
export function checkTensor(graph: Graph, tensor: TensorProto): void {
  const range = externalRange(tensor);
  // Strings have no length that could be checked, and stand inside the model only.
  if (tensor.dataType === OnnxType.STRING && range === undefined) return;
  if (range !== undefined && range.location !== ZEROS && !isPlainPath(range.location)) {
    fail(
      `tensor ${quote(tensor.name)}`,
      `is in ${quote(range.location)}, which is not a plain path inside the directory`,
    );
  }
  tensorOf(graph, tensor);
}

function bodyLabel(body: GraphProto | FunctionProto): string {
  return `${body.$typeName === "onnx.GraphProto" ? "graph" : "function"} ${quote(body.name)}`;
}

function domainLabel(domain: string): string {
  return `domain ${quote(domain === "" ? "ai.onnx" : domain)}`;
}

function fail(at: string, message: string): never {
  throw new ExpandError("damaged", message, { at, fix: "Export the model again." });
}
