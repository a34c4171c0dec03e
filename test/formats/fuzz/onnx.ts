// Damaged ONNX files, and what must hold for each that is taken all the same.
import assert from "node:assert";
import { readModel } from "../../../src/formats/onnx/read.ts";
import { serialise } from "../../../src/formats/onnx/serialise.ts";
import { checkGraph, checkTensor } from "../../../src/graph/check.ts";
import { externalRange, type Graph } from "../../../src/graph/graph.ts";
import { inlineFunctions } from "../../../src/graph/inline.ts";
import { printGraph } from "../../../src/graph/print.ts";
import { sortGraph } from "../../../src/graph/sort.ts";
import { tensorsOf } from "../../../src/graph/walk.ts";
import { boundedSource, fuzzed } from "../mutate.ts";
import { exampleModel, external, field, GRAPH, number, TENSOR, tensorModel } from "../onnx-builder.ts";

const raw = field(TENSOR.raw, Buffer.alloc(1024, 1));

export const onnxFiles = fuzzed(
  "ONNX files",
  [
    exampleModel(),
    tensorModel(256, raw, number(TENSOR.location, 0)),
    tensorModel(2, external({ location: "x.onnx", offset: "8", length: "8" })),
    tensorModel(2, field(TENSOR.floats, Buffer.alloc(8)), field(900, "unknown")),
    Buffer.concat([exampleModel(), field(7, field(GRAPH.name, "again"))]),
  ],
  async (data) => {
    const source = boundedSource("x.onnx", data);
    const graph: Graph = { model: await readModel(source, "x.onnx"), files: new Map([["x.onnx", source]]) };
    for (const tensor of tensorsOf(graph.model)) {
      const { location = "x.onnx", offset = 0, length = 0 } = externalRange(tensor) ?? {};
      checkTensor(graph, tensor);
      assert.ok(location === "x.onnx" && offset + length <= data.length, tensor.name);
    }
    printGraph(graph);
    checkGraph(graph);
    const inlined = inlineFunctions(graph);
    for (const top of [inlined.model.graph]) if (top !== undefined) sortGraph(top);
    await serialise(graph);
  },
);
