// What opening and planning an inline ONNX model of 600 MB costs, against reading the whole file and decoding it: time, memory, bytes read.
// Usage: npx tsx test/bench/onnx.ts [DIRECTORY]. Each way runs in a process of its own; the file is in the page cache for all of them.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { planOnnx } from "../../src/formats/onnx/write.ts";
import { openCheckpoint } from "../../src/formats/open.ts";
import { attribute } from "../../src/graph/attributes.ts";
import {
  create,
  decodeModel,
  encodeModel,
  GraphProtoSchema,
  ModelProtoSchema,
  NodeProtoSchema,
  OnnxType,
  OperatorSetIdProtoSchema,
  StringStringEntryProtoSchema,
  TensorProtoSchema,
  ValueInfoProtoSchema,
} from "../../src/graph/onnx.ts";

/** 150 weights of 4 MiB, and 3,000 nodes with the metadata that torch.onnx leaves on each. */
const WEIGHTS = 150;
const WIDTH = 1024;
const NODES_EACH = 20;
const RUNS = 5;

type Way = "open" | "plan" | "whole";

function generate(file: string): void {
  const rawData = new Uint8Array(WIDTH * WIDTH * 4).fill(1);
  const node = [];
  for (let at = 0; at < WEIGHTS * NODES_EACH; at++) {
    const isMatMul = at % NODES_EACH === 0;
    node.push(
      create(NodeProtoSchema, {
        name: `/model/layers.${at}/op`,
        opType: isMatMul ? "MatMul" : "LayerNormalization",
        input: [`v${at}`, isMatMul ? `w${at / NODES_EACH}` : "norm"],
        output: [`v${at + 1}`],
        attribute: isMatMul ? [] : [attribute("axis", -1)],
        metadataProps: [
          create(StringStringEntryProtoSchema, {
            key: "pkg.torch.onnx.name_scopes",
            value: `['', 'model', 'model.layers.${at}']`,
          }),
          create(StringStringEntryProtoSchema, { key: "pkg.torch.onnx.stack_trace", value: "x".repeat(300) }),
        ],
      }),
    );
  }
  const weight = (name: string, dims: bigint[], data: Uint8Array<ArrayBuffer>) =>
    create(TensorProtoSchema, { name, dims, dataType: OnnxType.FLOAT, rawData: data });
  const initializer = Array.from({ length: WEIGHTS }, (_, at) =>
    weight(`w${at}`, [BigInt(WIDTH), BigInt(WIDTH)], rawData),
  );
  initializer.push(weight("norm", [BigInt(WIDTH)], new Uint8Array(WIDTH * 4)));
  const value = (name: string) => create(ValueInfoProtoSchema, { name });
  const graph = create(GraphProtoSchema, {
    name: "g",
    node,
    initializer,
    input: [value("v0")],
    output: [value(`v${node.length}`)],
  });
  const opsetImport = [create(OperatorSetIdProtoSchema, { version: 17n })];
  fs.writeFileSync(file, encodeModel(create(ModelProtoSchema, { irVersion: 8n, opsetImport, graph })));
}

/** In a process of its own: milliseconds and CPU of the fastest run, and the peak of resident memory above that of doing nothing. */
async function measure(way: Way, file: string): Promise<void> {
  const idle = process.memoryUsage().rss;
  let fastest = Number.POSITIVE_INFINITY;
  let busy = Number.POSITIVE_INFINITY;
  for (let run = 0; run < RUNS; run++) {
    const start = performance.now();
    const before = process.cpuUsage();
    if (way === "whole") decodeModel(fs.readFileSync(file));
    else {
      const { graph } = await openCheckpoint(file);
      if (way === "plan" && graph !== undefined) planOnnx(graph, { name: "model.onnx" });
    }
    fastest = Math.min(fastest, performance.now() - start);
    const { user, system } = process.cpuUsage(before);
    busy = Math.min(busy, (user + system) / 1000);
  }
  // KiB, by getrusage.
  const peak = process.resourceUsage().maxRSS * 1024;
  console.log(JSON.stringify({ fastest, busy, memory: peak - idle }));
}

function alone(way: string, file: string): string {
  return execFileSync(process.execPath, [...process.execArgv, import.meta.filename, way, file], { encoding: "utf8" });
}

function report(directory: string): void {
  const file = path.join(directory, "model.onnx");
  // Linux hands a process's peak on to the processes that it starts.
  alone("generate", file);
  console.log(
    `${(fs.statSync(file).size / 1e6).toFixed(0)} MB, ${WEIGHTS * NODES_EACH} nodes, fastest of ${RUNS} runs`,
  );
  let whole = Number.NaN;
  for (const way of ["whole", "open", "plan"] as const) {
    const { fastest, busy, memory } = JSON.parse(alone(way, file));
    if (way === "whole") whole = busy;
    const cost = `${fastest.toFixed(0)} ms, ${busy.toFixed(0)} ms of CPU, +${(memory / 1e6).toFixed(0)} MB at the peak`;
    console.log(`${way.padEnd(6)} ${cost}, ${(whole / busy).toFixed(1)} times less CPU than "whole"`);
  }
}

const [first, second] = process.argv.slice(2);
if (second !== undefined && first === "generate") generate(second);
else if (second !== undefined && (first === "open" || first === "plan" || first === "whole"))
  await measure(first, second);
else {
  const directory = fs.mkdtempSync(path.join(first ?? os.tmpdir(), "onnx-bench-"));
  try {
    report(directory);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}
