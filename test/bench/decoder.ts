// What it takes to make a forward graph of a checkpoint and to open it: reading the settings, building, creating the session with the
// weights mapped from the checkpoint's own files.
//   npx tsx test/bench/decoder.ts DIRECTORY     a safetensors checkpoint, such as synthesize.ts makes
import path from "node:path";
import process from "node:process";
import { buildDecoder } from "../../src/decoder/build.ts";
import { readSpec } from "../../src/decoder/read.ts";
import { openCheckpoint } from "../../src/formats/open.ts";
import { encodeModel } from "../../src/graph/onnx.ts";
import { openRuntime } from "../../src/runtime/runtime.ts";

async function timed<Result>(what: string, work: () => Result | Promise<Result>): Promise<Result> {
  const begun = performance.now();
  const result = await work();
  console.log(`${what.padEnd(26)} ${(performance.now() - begun).toFixed(0).padStart(6)} ms`);
  return result;
}

const directory = process.argv[2] ?? "fixtures/llama";
const runtime = await openRuntime({ device: "cpu" });
const checkpoint = await timed("open the checkpoint", () => openCheckpoint(directory));
const spec = await timed("read its settings", () => readSpec(checkpoint));
const graph = await timed("build the graph", () => buildDecoder(spec));
const model = await timed("serialize it", () => encodeModel(graph.model));
const session = await timed("create the session", () => runtime.open(model, { folder: path.resolve(directory) }));
console.log(
  `${spec.blocks.length} blocks, ${graph.model.graph?.node.length} nodes, ${(model.length / 1e6).toFixed(2)} MB; peak ${Math.round(process.resourceUsage().maxRSS / 1024)} MB`,
);
await session.close();
await runtime.close();
