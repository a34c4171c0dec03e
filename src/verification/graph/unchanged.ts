// Proves that two ONNX models are one computation on weights of the same names. Compares constants by their bytes, weights not at all.
import type { RunEvent } from "../../events.ts";
import { cloneGraph, type Graph, referTo, tensorOf } from "../../graph/graph.ts";
import { encodeModel, OnnxType, type TensorProto } from "../../graph/onnx.ts";
import { printGraph } from "../../graph/print.ts";
import { tensorsOf } from "../../graph/walk.ts";
import type { Comparison } from "../comparison.ts";
import { type Finding, finding } from "../report.ts";

/** Initializers of the main graph are the caller's; tensors of attributes, of subgraphs and of functions are compared here. */
export async function* compareGraphs(
  before: Graph,
  after: Graph,
  comparison: Comparison,
): AsyncGenerator<RunEvent, readonly Finding[], void> {
  const [one, other] = [bare(before), bare(after)];
  if (Buffer.compare(encodeModel(one.graph.model), encodeModel(other.graph.model)) !== 0) {
    return [finding("graph-changed", "the graph", firstDifference(one.graph, other.graph))];
  }
  const findings: Finding[] = [];
  for (const [at, tensor] of one.constants.entries()) {
    const found = other.constants[at];
    if (found === undefined) continue;
    const { difference } = yield* comparison.compare(tensorOf(after, found), tensorOf(before, tensor), true);
    if (difference === undefined) continue;
    const name = tensor.name === "" ? `constant ${at}` : `the constant ${tensor.name}`;
    findings.push(finding("graph-changed", name, `differs from BEFORE's from byte ${difference.first} on`));
  }
  return findings;
}

/** The messages without the bytes of any tensor, wherever they are stored; text stays. */
function bare(graph: Graph): { readonly graph: Graph; readonly constants: readonly TensorProto[] } {
  const light = cloneGraph(graph);
  const weights = new Set<TensorProto>(graph.model.graph?.initializer);
  const constants: TensorProto[] = [];
  const originals = [...tensorsOf(graph.model)];
  for (const [at, tensor] of [...tensorsOf(light.model)].entries()) {
    const original = originals[at];
    if (original === undefined || tensor.dataType === OnnxType.STRING) continue;
    if (!weights.has(original)) constants.push(original);
    referTo(tensor, "bare", 0, 0);
    delete tensor.$unknown;
  }
  return { graph: light, constants };
}

function firstDifference(before: Graph, after: Graph): string {
  const [expected, found] = [before, after].map((graph) => printGraph(graph, { places: false }).split("\n"));
  const at = expected?.findIndex((line, index) => line !== found?.[index]) ?? -1;
  if (at < 0 && expected?.length === found?.length) return "differs from BEFORE's in names or documentation";
  return `expected ${shown(expected?.[at])}, found ${shown(found?.[at])}`;
}

function shown(line: string | undefined): string {
  return line === undefined ? "nothing" : JSON.stringify(line.trim().slice(0, 120));
}
