// Times steps of training for train_step.py: reads "step" or "loss" a line, answers each with its seconds. First answers with what it took to
// open the trainer.
//
//   npx tsx train_step.ts EXPANDED BATCH CONTEXT LAYOUT THREADS CHECKPOINTING   (on or off)
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import readline from "node:readline";
import type { Batch } from "../../src/corpus/batch.ts";
import { openCheckpoint } from "../../src/formats/open.ts";
import { openRuntime } from "../../src/runtime/runtime.ts";
import { openTrainer } from "../../src/training/step/trainer.ts";

const [expanded = "", batch = 1, context = 256, layout = "host", threads = 2, checkpointing = "on"] =
  process.argv.slice(2);
const { tensors } = JSON.parse(fs.readFileSync(path.join(expanded, "mask.json"), "utf8"));
const trainable = new Set(Object.keys(tensors).filter((name) => tensors[name] === "trainable"));
const size = Number(batch) * Number(context);
const step: Batch = {
  batch: Number(batch),
  context: Number(context),
  ids: BigInt64Array.from({ length: size }, (_, at) => BigInt((at * 7919) % 40_000)),
  labels: BigInt64Array.from({ length: size }, (_, at) => BigInt(((at + 1) * 7919) % 40_000)),
  documents: [],
};

const peak = await gemmPeak();
let begun = performance.now();
const trainer = await openTrainer({
  ...{ checkpoint: await openCheckpoint(expanded), trainable, batch: step.batch, context: step.context },
  ...{ accumulate: 1, layout: layout as "host", checkpointing: checkpointing === "on", dtype: "f32" },
  ...{ adam: { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, decay: 0.1 }, clip: 1, device: "cpu", threads: Number(threads) },
  folder: fs.mkdtempSync(path.join(os.tmpdir(), "train-step-")),
});
answer({ open: seconds(), gemm: peak });
for await (const line of readline.createInterface(process.stdin)) {
  begun = performance.now();
  if (line === "step") {
    const [result] = await trainer.run([[step]], [1e-4]);
    answer({ seconds: seconds(), loss: result?.loss, peak: process.resourceUsage().maxRSS / 1024 });
  } else if (line === "loss") {
    await trainer.loss(step);
    answer({ seconds: seconds() });
  } else break;
}
await trainer.close();

function seconds(): number {
  return (performance.now() - begun) / 1000;
}

function answer(value: object): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** FLOP/s of one large f32 product on the runtime. */
async function gemmPeak(): Promise<number> {
  const { GraphBuilder } = await import("../../src/graph/builder.ts");
  const { encodeModel, OnnxType } = await import("../../src/graph/onnx.ts");
  const n = 1024;
  const graph = new GraphBuilder("gemm");
  const [a, b] = ["a", "b"].map((name) => graph.input(name, OnnxType.FLOAT, [n, n]));
  graph.node("MatMul", [a ?? "", b ?? ""], {}, "c");
  graph.output("c", OnnxType.FLOAT, [n, n]);
  const runtime = await openRuntime({ device: "cpu", threads: Number(threads) });
  try {
    const session = await runtime.open(encodeModel(graph.build().model));
    const value = { dtype: "float32", shape: [n, n], data: new Float32Array(n * n).fill(0.5) } as const;
    const times: number[] = [];
    for (let run = 0; run < 8; run++) {
      const started = performance.now();
      await session.run({ a: value, b: value });
      times.push(performance.now() - started);
    }
    return (2 * n ** 3) / (Math.min(...times) / 1000);
  } finally {
    await runtime.close();
  }
}
