// Trains the copies of a model of SmolLM2-135M's shape on CUDA by every layout and type, and prints speed, memory, utilisation and how far
// the losses are from the CPU's. Every session is opened with the CPU shut out, and what Loops hold is opened by itself, so that a node placed
// there is an error and not a slow run. f32 is without TF32.
//
//   npx tsx test/gpu/train.ts WORK
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { writeTinyHf } from "../../fixtures/hf.ts";
import { expand } from "../../src/commands/expand.ts";
import type { Batch } from "../../src/corpus/batch.ts";
import { finish } from "../../src/events.ts";
import { openCheckpoint } from "../../src/formats/open.ts";
import { elementCount } from "../../src/tensor/dtype.ts";
import { openTrainer, type TrainerOptions } from "../../src/training/step/trainer.ts";

const HIDDEN = 576;
const INNER = 1536;
const HEADS = 9;
const KV = 192;
const VOCABULARY = 49_152;
const BATCH = 8;
const CONTEXT = 512;
const STEPS = 16;
/** Dense products of 16-bit floats, and of f32 without TF32, in FLOP/s by device name: NVIDIA's data sheets. */
const PEAKS: readonly (readonly [RegExp, { readonly half: number; readonly single: number }])[] = [
  [/H100|H200/, { half: 989e12, single: 67e12 }],
  [/A100/, { half: 312e12, single: 19.5e12 }],
  [/L4\b/, { half: 121e12, single: 30.3e12 }],
  [/4090/, { half: 165e12, single: 82.6e12 }],
];

type Way = Pick<TrainerOptions, "layout" | "dtype"> & { readonly loopSteps?: number };
const WAYS: readonly Way[] = [
  { layout: "host", dtype: "f32" },
  { layout: "graph", dtype: "f32" },
  { layout: "loop", dtype: "f32", loopSteps: 8 },
  { layout: "loop", dtype: "bf16", loopSteps: 8 },
  { layout: "loop", dtype: "bf16", loopSteps: 1 },
  { layout: "loop", dtype: "f16", loopSteps: 8 },
  { layout: "offload", dtype: "f32" },
];

const work = process.argv[2] ?? "";
fs.mkdirSync(work, { recursive: true });
const expanded = await prepared();
const checkpoint = await openCheckpoint(expanded);
const { tensors } = JSON.parse(fs.readFileSync(path.join(expanded, "mask.json"), "utf8"));
const trainable = new Set(Object.keys(tensors).filter((name) => tensors[name] === "trainable"));
const device = execFileSync("nvidia-smi", ["--query-gpu=name", "--format=csv,noheader"], { encoding: "utf8" }).trim();
const reference = await losses({ layout: "host", dtype: "f32" }, "cpu", 2);
console.log(`${device}; ${trainable.size} trainable tensors; ${BATCH} x ${CONTEXT} tokens a step`);
let failed = false;
for (const way of WAYS) {
  const name = `${way.layout}${way.loopSteps === undefined ? "" : ` of ${way.loopSteps}`} ${way.dtype}`;
  try {
    const measured = await measure(way);
    const drift = Math.max(...reference.map((loss, at) => Math.abs((measured.losses[at] ?? Number.NaN) - loss) / loss));
    const good = drift < (way.dtype === "f32" ? 1e-4 : 2e-2);
    failed ||= !good;
    console.log(
      `${name.padEnd(18)} ${measured.tokens.toFixed(0).padStart(8)} tokens/s  ${(measured.memory / 1e3).toFixed(1)} GB  MFU ${mfu(measured.tokens, way.dtype)}  ` +
        `opened in ${measured.opened.toFixed(1)} s, evaluated and back in ${measured.evaluated.toFixed(1)} s, nodes on the CPU 0, losses ${drift.toExponential(1)} from the CPU's${good ? "" : "  FAILED"}`,
    );
  } catch (error) {
    failed = true;
    console.log(`${name.padEnd(18)} FAILED: ${error instanceof Error ? error.message : String(error)}`);
  }
}
process.exitCode = failed ? 1 : 0;

async function prepared(): Promise<string> {
  const [source, output] = [path.join(work, "source"), path.join(work, "expanded")];
  if (!fs.existsSync(source)) {
    writeTinyHf(source, {
      config: {
        architectures: ["LlamaForCausalLM"],
        model_type: "llama",
        hidden_size: HIDDEN,
        intermediate_size: INNER,
        num_hidden_layers: 30,
        num_attention_heads: HEADS,
        num_key_value_heads: HEADS / 3,
        vocab_size: VOCABULARY,
        max_position_embeddings: 2048,
        tie_word_embeddings: true,
      },
      blocks: 30,
      dtype: "F32",
      seed: 0,
      tensors: {
        "model.embed_tokens.weight": [VOCABULARY, HIDDEN],
        "model.layers.{i}.input_layernorm.weight": [HIDDEN],
        "model.layers.{i}.self_attn.q_proj.weight": [HIDDEN, HIDDEN],
        "model.layers.{i}.self_attn.k_proj.weight": [KV, HIDDEN],
        "model.layers.{i}.self_attn.v_proj.weight": [KV, HIDDEN],
        "model.layers.{i}.self_attn.o_proj.weight": [HIDDEN, HIDDEN],
        "model.layers.{i}.post_attention_layernorm.weight": [HIDDEN],
        "model.layers.{i}.mlp.gate_proj.weight": [INNER, HIDDEN],
        "model.layers.{i}.mlp.up_proj.weight": [INNER, HIDDEN],
        "model.layers.{i}.mlp.down_proj.weight": [HIDDEN, INNER],
        "model.norm.weight": [HIDDEN],
      },
    });
  }
  if (!fs.existsSync(output)) await finish(expand({ source, output, every: 5, verify: "none" }));
  return output;
}

function batchOf(step: number): Batch {
  const size = BATCH * CONTEXT;
  const token = (at: number): bigint => BigInt((at * 7919 + step * 104_729) % VOCABULARY);
  return {
    batch: BATCH,
    context: CONTEXT,
    ids: BigInt64Array.from({ length: size }, (_, at) => token(at)),
    labels: BigInt64Array.from({ length: size }, (_, at) => token(at + 1)),
    documents: [],
  };
}

function options(way: Way, on: TrainerOptions["device"]): TrainerOptions {
  return {
    ...{
      checkpoint,
      trainable,
      batch: BATCH,
      context: CONTEXT,
      accumulate: 1,
      checkpointing: true,
      device: on,
      ...way,
    },
    ...{ adam: { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, decay: 0.1 }, clip: 1, folder: path.join(work, "scratch") },
  };
}

async function losses(way: Way, on: TrainerOptions["device"], steps: number): Promise<readonly number[]> {
  const trainer = await openTrainer(options(way, on));
  try {
    const results = await trainer.run(
      Array.from({ length: steps }, (_, step) => [batchOf(step)]),
      new Array<number>(steps).fill(1e-4),
    );
    return results.map(({ loss }) => loss);
  } finally {
    await trainer.close();
  }
}

interface Measured {
  readonly losses: readonly number[];
  /** A second. */
  readonly tokens: number;
  /** MB. */
  readonly memory: number;
  /** Seconds. */
  readonly opened: number;
  readonly evaluated: number;
}

async function measure(way: Way): Promise<Measured> {
  const begun = performance.now();
  const trainer = await openTrainer(options(way, "cuda"));
  try {
    const opened = (performance.now() - begun) / 1000;
    const found: number[] = [];
    const together = way.loopSteps ?? 1;
    let [started, counted] = [0, 0];
    for (let step = 0; step < STEPS; step += together) {
      // The first run allocates and chooses kernels.
      if (step === together) started = performance.now();
      const numbers = Array.from({ length: together }, (_, at) => step + at);
      const results = await trainer.run(
        numbers.map((number) => [batchOf(number)]),
        numbers.map(() => 1e-4),
      );
      found.push(...results.map(({ loss }) => loss));
      if (started > 0) counted += together * BATCH * CONTEXT;
    }
    const tokens = counted / ((performance.now() - started) / 1000);
    const memory = usedMemory();
    const turned = performance.now();
    // Another session takes the place of this one, and gives it back.
    const { sum, tokens: positions } = await trainer.loss(batchOf(STEPS));
    const [next] = await trainer.run([[batchOf(STEPS)]], [1e-4]);
    const gap = Math.abs(sum / positions - (next?.loss ?? Number.NaN));
    if (!(gap < 1e-2)) throw new TypeError(`the loss without a step is ${sum / positions}, with it ${next?.loss}`);
    return { losses: found, tokens, memory, opened, evaluated: (performance.now() - turned) / 1000 };
  } finally {
    await trainer.close();
  }
}

/** MB that this process holds on the device. */
function usedMemory(): number {
  const words = ["--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"];
  const lines = execFileSync("nvidia-smi", words, { encoding: "utf8" }).trim().split("\n");
  const own = lines.map((line) => line.split(",").map(Number)).find(([pid]) => pid === process.pid);
  // In a container the numbers of processes differ: then all of them.
  return own?.[1] ?? lines.reduce((sum, line) => sum + (Number(line.split(",")[1]) || 0), 0);
}

/** Products of a step over the device's peak: forward 2 a weight and token, as much again behind the lowest copy, and for the copies' weights. */
function mfu(tokens: number, dtype: Way["dtype"]): string {
  const peak = PEAKS.find(([name]) => name.test(device))?.[1];
  if (peak === undefined) return "?";
  let [all, trained] = [0, 0];
  for (const [name, tensor] of checkpoint.tensors) {
    if (tensor.shape.length < 2) continue;
    all += elementCount(tensor.shape) ?? 0;
    if (trainable.has(name)) trained += elementCount(tensor.shape) ?? 0;
  }
  // The lowest copy is the 6th block of 36; embedding and head are one matrix.
  const behind = all * (31 / 36);
  const flops = 2 * (all + behind + trained) * tokens;
  return `${((100 * flops) / (dtype === "f32" ? peak.single : peak.half)).toFixed(0)} %`;
}
