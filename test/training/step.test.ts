// Training steps on small models: every layout makes the same step, and the step is the one that was asked for.
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import { tinyLlama, writeTinyHf } from "../../fixtures/hf.ts";
import { tinyOnnx, writeTinyOnnx } from "../../fixtures/onnx.ts";
import { type Attributes, nodeOf } from "../../src/autodiff/message.ts";
import { Tape } from "../../src/autodiff/tape.ts";
import type { Batch } from "../../src/corpus/batch.ts";
import type { ExpandError } from "../../src/errors.ts";
import { openCheckpoint } from "../../src/formats/open.ts";
import { checkGraph } from "../../src/graph/check.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { decodeModel, OnnxType } from "../../src/graph/onnx.ts";
import { nodesIn } from "../../src/graph/walk.ts";
import { findInstallation } from "../../src/runtime/installation.ts";
import { loopGraph } from "../../src/training/step/loop-graph.ts";
import { estimateMemory } from "../../src/training/step/memory.ts";
import { narrowProducts } from "../../src/training/step/precision.ts";
import { emitGradients, type Prepared, prepare } from "../../src/training/step/prepare.ts";
import { bodiesOf, Sessions } from "../../src/training/step/sessions.ts";
import { stepGraph } from "../../src/training/step/step-graph.ts";
import type { StepResult, Trainer, TrainerOptions } from "../../src/training/step/trainer.ts";
import { gradientName } from "../../src/training/step/whole.ts";
import { batchOf, difference, expanded, FIXTURES, labelled, snapshot, trainableIn, trainerOf } from "./tiny.ts";

const skip = findInstallation() === undefined ? "onnxruntime-node is not installed" : false;
const root = t.testdir({});
const LLAMA = await expanded(path.join(FIXTURES, "llama"), path.join(root, "llama"));
const MIXTRAL = await expanded(path.join(FIXTURES, "mixtral"), path.join(root, "mixtral"));
const GEMMA2 = await expanded(path.join(FIXTURES, "gemma2"), path.join(root, "gemma2"), [1, 3]);
const GGUF = await expanded(path.join(FIXTURES, "llama.gguf"), path.join(root, "llama.gguf"));

async function onnx(flavour: Parameters<typeof tinyOnnx>[0]): Promise<string> {
  const source = path.join(root, `${flavour}-source`);
  writeTinyOnnx(source, tinyOnnx(flavour, { blocks: 2 }), {
    external: 64,
    data: "model.onnx.data",
    settings: ["config"],
  });
  return expanded(source, path.join(root, flavour));
}

/** Opens, uses, closes. */
async function using<Result>(
  directory: string,
  options: Partial<TrainerOptions>,
  use: (trainer: Trainer) => Promise<Result>,
): Promise<Result> {
  const trainer = await trainerOf(directory, options);
  try {
    return await use(trainer);
  } finally {
    await trainer.close();
  }
}

const STEPS: readonly (readonly Batch[])[] = [1, 2, 1].map((step) => [batchOf(step), batchOf(step + 10)]);
const RATES = [1e-2, 2e-2, 1e-2];

interface Made {
  readonly results: readonly StepResult[];
  readonly state: ReadonlyMap<string, Float32Array>;
}

/** Three steps of two micro-batches. */
function made(directory: string, options: Partial<TrainerOptions>): Promise<Made> {
  return using(directory, { accumulate: 2, loopSteps: 2, ...options }, async (trainer) => ({
    results: await trainer.run(STEPS, RATES),
    state: await snapshot(trainer),
  }));
}

for (const [name, directory] of Object.entries({ LLAMA, MIXTRAL, GEMMA2, GGUF, gpt2: "fused-gpt2" })) {
  t.test(
    `${name}: all layouts, with and without checkpointing, make the same steps, bit for bit`,
    { skip },
    async (t) => {
      const model = name === "gpt2" ? await onnx("fused-gpt2") : directory;
      // A quantized copy stays closed, and its norms can learn nothing: those of an original block are trained instead.
      const trainable =
        name === "GGUF" ? new Set(["blk.1.attn_norm.weight", "blk.1.ffn_norm.weight"]) : trainableIn(model);
      const host = await made(model, { trainable });
      t.ok(host.results.every(({ finite }) => finite));
      t.ok(
        (host.results[2]?.loss ?? 9) < (host.results[0]?.loss ?? 0),
        `learns: ${host.results.map(({ loss }) => loss)}`,
      );
      const others = [
        { checkpointing: true },
        { layout: "graph" },
        { layout: "loop" },
        { layout: "loop", checkpointing: true },
        { layout: "offload" },
      ] as const satisfies readonly Partial<TrainerOptions>[];
      for (const options of name === "LLAMA" ? others : others.slice(-2)) {
        const other = await made(model, { trainable, ...options });
        const how = JSON.stringify(options);
        t.equal(difference(host.state, other.state), 0, how);
        t.same(
          other.results.map(({ loss, tokens }) => ({ loss, tokens })),
          host.results.map(({ loss, tokens }) => ({ loss, tokens })),
          how,
        );
        for (const [at, { norm }] of other.results.entries()) {
          const expected = host.results[at]?.norm ?? 0;
          t.ok(Math.abs(norm - expected) <= 1e-6 * expected, `norm ${norm}, ${expected}`);
        }
      }
    },
  );
}

t.test("quantized weights of a foreign graph are read inside of a Loop", { skip }, async (t) => {
  const model = await onnx("qdq-int4");
  const [host, loop] = [await made(model, {}), await made(model, { layout: "loop" })];
  t.ok(host.results.every(({ finite }) => finite));
  t.equal(difference(host.state, loop.state), 0);
});

t.test("clipped steps agree to the rounding of the norm", { skip }, async (t) => {
  const host = await made(LLAMA, { clip: 0.05 });
  t.ok(host.results.every(({ norm }) => norm > 0.05));
  for (const layout of ["graph", "loop", "offload"] as const) {
    const other = await made(LLAMA, { clip: 0.05, layout });
    t.ok(difference(host.state, other.state) < 1e-5, `${layout}: ${difference(host.state, other.state)}`);
  }
});

t.test("clipping leaves a gradient of that norm, and tells the norm before", { skip }, async (t) => {
  const [batch, adam] = [batchOf(1), { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, decay: 0 }];
  const norms = new Map<number | undefined, number>();
  for (const clip of [undefined, 0.25, 1e6]) {
    await using(LLAMA, { adam, ...(clip === undefined ? {} : { clip }) }, async (trainer) => {
      const [result] = await trainer.run([[batch]], [0]);
      const { m } = await trainer.state();
      // After one step m is (1 - beta1) g.
      const norm =
        Math.sqrt([...m.values()].reduce((sum, each) => sum + each.reduce((all, x) => all + x * x, 0), 0)) / 0.1;
      norms.set(clip, norm);
      t.ok(Math.abs(norm - Math.min(result?.norm ?? 0, clip ?? 1e9)) < 1e-5, `clip ${clip}: ${norm}`);
    });
  }
  t.equal(norms.get(undefined), norms.get(1e6));
});

t.test("micro-batches learn what one large batch does, to rounding", { skip }, async (t) => {
  const [first, second] = [batchOf(1), batchOf(2)];
  // Unequal counts: a mean of means would show.
  const short = labelled(second, (label, at) => (at < 8 ? -100n : label));
  const large: Batch = {
    batch: 4,
    context: 6,
    ids: BigInt64Array.from([...first.ids, ...short.ids]),
    labels: BigInt64Array.from([...first.labels, ...short.labels]),
    documents: [],
  };
  const small = await using(LLAMA, { accumulate: 2 }, async (trainer) => ({
    results: await trainer.run([[first, short]], [1e-2]),
    state: await snapshot(trainer),
  }));
  const whole = await using(LLAMA, { batch: 4 }, async (trainer) => ({
    results: await trainer.run([[large]], [1e-2]),
    state: await snapshot(trainer),
  }));
  t.equal(small.results[0]?.tokens, 13);
  t.equal(whole.results[0]?.tokens, 13);
  t.ok(Math.abs((small.results[0]?.loss ?? 0) - (whole.results[0]?.loss ?? 1)) < 1e-6);
  for (const kind of ["m", "v"]) {
    const of = (state: Made["state"]) => new Map([...state].filter(([key]) => key.startsWith(`${kind} `)));
    t.ok(
      difference(of(small.state), of(whole.state)) < 1e-5,
      `${kind}: ${difference(of(small.state), of(whole.state))}`,
    );
  }
});

t.test("an ignored label takes exactly its own loss away, whatever the token", { skip }, async (t) => {
  await using(LLAMA, {}, async (trainer) => {
    const whole = batchOf(3);
    const alone = (place: number): Batch => labelled(whole, (label, at) => (at === place ? label : -100n));
    const all = await trainer.loss(whole);
    t.equal(all.tokens, 10);
    const each = [];
    for (const place of [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]) each.push((await trainer.loss(alone(place))).sum);
    t.ok(Math.abs(each.reduce((sum, loss) => sum + loss, 0) - all.sum) < 1e-4);
    // A boundary between documents in the middle of a row: only the label there is gone.
    const cut = await trainer.loss(labelled(whole, (label, at) => (at === 2 ? -100n : label)));
    t.equal(cut.tokens, 9);
    t.ok(Math.abs(all.sum - cut.sum - (each[2] ?? 0)) < 1e-4);
    t.same(await trainer.loss(labelled(whole, () => -100n)), { sum: 0, tokens: 0 });
    const before = await snapshot(trainer);
    const [nothing] = await trainer.run([[labelled(whole, () => -100n)]], [1]);
    t.same(nothing, { loss: 0, tokens: 0, norm: 0, finite: true, skipped: false });
    t.equal(difference(before, await snapshot(trainer)), 0, "a step without a label changes nothing");
  });
});

t.test("a row of ignored labels gives no gradient", { skip }, async (t) => {
  const batch = batchOf(4);
  const first = { ...batch, batch: 1, ids: batch.ids.slice(0, 6), labels: batch.labels.slice(0, 6) };
  const masked = labelled(batch, (label, at) => (at < 6 ? label : -100n));
  const step = (options: Partial<TrainerOptions>, one: Batch): Promise<Made["state"]> =>
    using(LLAMA, options, async (trainer) => {
      await trainer.run([[one]], [1e-2]);
      return snapshot(trainer);
    });
  t.ok(difference(await step({}, masked), await step({ batch: 1 }, first)) < 1e-5);
});

t.test(
  "only output projections get a gradient at first, everything else from the second step on",
  { skip },
  async (t) => {
    await using(LLAMA, {}, async (trainer) => {
      const touched = async (): Promise<string[]> =>
        [...(await trainer.state()).v].filter(([, v]) => v.some((value) => value !== 0)).map(([name]) => name);
      const all = trainer.parameters.map(({ name }) => name);
      t.equal(all.length, 9);
      await trainer.run([[batchOf(1)]], [1e-2]);
      t.same(
        await touched(),
        all.filter((name) => /o_proj|down_proj/.test(name)),
      );
      await trainer.run([[batchOf(2)]], [1e-2]);
      t.same(await touched(), all);
    });
  },
);

t.test("what is frozen is no parameter, and its file is only read", { skip }, async (t) => {
  const file = path.join(LLAMA, "model.safetensors");
  const hash = (): string => createHash("sha256").update(fs.readFileSync(file)).digest("hex");
  const before = hash();
  await using(LLAMA, {}, async (trainer) => {
    await trainer.run([[batchOf(1)]], [1]);
    t.same(new Set(trainer.parameters.map(({ name }) => name)), trainableIn(LLAMA));
  });
  t.equal(hash(), before);
});

t.test("a run that is loaded from a state goes on bit for bit", { skip }, async (t) => {
  const whole = await made(LLAMA, { clip: 1 });
  const state = await using(LLAMA, { accumulate: 2, clip: 1 }, async (trainer) => {
    await trainer.run(STEPS.slice(0, 1), RATES);
    return structuredClone(await trainer.state());
  });
  t.equal(state.step, 1);
  await using(LLAMA, { accumulate: 2, clip: 1 }, async (trainer) => {
    await trainer.load(state);
    await trainer.run(STEPS.slice(1), RATES.slice(1));
    t.equal(difference(whole.state, await snapshot(trainer)), 0);
    t.equal((await trainer.state()).step, 3);
  });
});

for (const layout of ["host", "graph", "loop", "offload"] as const) {
  t.test(
    `${layout}: under f16 a step that overflows is skipped, and the next has half the scale`,
    { skip },
    async (t) => {
      await using(LLAMA, { layout, dtype: "f16", loopSteps: 4 }, async (trainer) => {
        // Large values make large gradients of the output projection behind them: f32 overflows, as f16 would long before.
        const state = structuredClone(await trainer.state());
        const values = state.weights.get("model.layers.2.self_attn.v_proj.weight");
        for (const [at, value] of values?.entries() ?? []) values?.fill(value * 2 ** 14, at, at + 1);
        await trainer.load({ ...state, scale: { scale: 2 ** 127, good: 7 } });
        const before = await snapshot(trainer);
        const [first] = await trainer.run([[batchOf(1)]], [1e-2]);
        t.match(first, { finite: false, skipped: true, scale: 2 ** 127, tokens: 10, bad: [/^model\.layers\.2\./] });
        t.equal(difference(before, await snapshot(trainer)), 0);
        t.same((await trainer.state()).scale, { scale: 2 ** 126, good: 0 });
        await trainer.load({ ...(await trainer.state()), scale: { scale: 2 ** 127, good: 7 } });
        const results = await trainer.run(
          Array.from({ length: 4 }, () => [batchOf(1)]),
          [1e-2, 1e-2, 1e-2, 1e-2],
        );
        t.same(
          results.map(({ skipped }) => skipped),
          [true, true, true, true],
        );
        t.same(
          results.map(({ scale }) => scale),
          [127, 126, 125, 124].map((power) => 2 ** power),
        );
        t.equal((await trainer.state()).step, 0, "a skipped step is no update");
        await trainer.load({ ...(await trainer.state()), scale: { scale: 1024, good: 1999 } });
        const [good] = await trainer.run([[batchOf(1)]], [1e-2]);
        t.match(good, { finite: true, skipped: false, scale: 1024 });
        t.same((await trainer.state()).scale, { scale: 2048, good: 0 });
      });
    },
  );

  t.test(`${layout}: a step that is not finite changes nothing, is named, and is the last`, { skip }, async (t) => {
    await using(LLAMA, { layout, loopSteps: 4 }, async (trainer) => {
      const state = structuredClone(await trainer.state());
      const name = "model.layers.2.mlp.down_proj.weight";
      state.weights.get(name)?.fill(3e38);
      await trainer.load(state);
      const before = await snapshot(trainer);
      const results = await trainer.run([[batchOf(1)], [batchOf(2)]], [1e-2, 1e-2]);
      t.equal(results.length, 1);
      t.match(results[0], { finite: false, skipped: false, bad: [] });
      t.equal(difference(before, await snapshot(trainer)), 0);
    });
  });
}

for (const layout of ["host", "loop", "offload"] as const) {
  t.test(
    `${layout}: a loss that is not finite is traced to the block and the weight it comes from`,
    { skip },
    async (t) => {
      const name = "model.layers.2.mlp.down_proj.weight";
      await using(LLAMA, { layout, accumulate: 2, loopSteps: 2, dtype: "f16" }, async (trainer) => {
        const step = [batchOf(1), batchOf(2)];
        t.equal(await trainer.trace(step), undefined, "all is finite");
        const state = structuredClone(await trainer.state());
        state.weights.get(name)?.fill(Number.NaN, 3, 4);
        await trainer.load(state);
        const results = await trainer.run([step, step], [1e-2, 1e-2]);
        t.equal(results.length, 1, "no further step is made, though the loss is scaled");
        t.match(results[0], { finite: false, skipped: false, bad: [] });
        const fault = await trainer.trace(step);
        t.equal(fault?.broken, name);
        t.ok(
          fault?.tensors.every((tensor) => tensor.startsWith("model.layers.2.")),
          String(fault?.tensors),
        );
        // Products of finite weights that are not: in the other half of that block.
        state.weights.get(name)?.fill(0, 3, 4);
        state.weights.get("model.layers.2.self_attn.o_proj.weight")?.fill(3e38);
        await trainer.load(state);
        const other = await trainer.trace(step);
        t.equal(other?.broken, undefined);
        t.ok(other?.tensors.includes("model.layers.2.self_attn.o_proj.weight"), String(other?.tensors));
      });
    },
  );
}

t.test("a weight of the checkpoint that is not finite is named, slices and 16 bits too", { skip }, async (t) => {
  const folder = path.join(root, "mixtral-broken");
  fs.cpSync(MIXTRAL, folder, { recursive: true });
  const { tensors } = await openCheckpoint(folder);
  const name = [...tensors.keys()].find((each) => each.includes("layers.0.") && each.includes("experts")) ?? "";
  const tensor = tensors.get(name);
  if (tensor?.kind !== "stored" || tensor.source.path === undefined) throw new TypeError(name);
  const file = fs.openSync(tensor.source.path, "r+");
  // Infinity, in bf16 or as the upper half of an f32.
  fs.writeSync(file, Buffer.from([0x80, 0x7f]), 0, 2, tensor.offset + (tensor.dtype === "F32" ? 2 : 0));
  fs.closeSync(file);
  await using(folder, {}, async (trainer) => {
    t.equal((await trainer.trace([batchOf(1)]))?.broken, name);
  });
});

/** All but the Loops themselves. */
function countNodes(graphs: readonly Graph[], into: boolean): number {
  const nodes = graphs.flatMap(({ model }) => [
    ...(into ? nodesIn(model.graph?.node ?? []) : (model.graph?.node ?? [])),
  ]);
  return nodes.filter(({ opType }) => opType !== "Loop").length;
}

t.test(
  "what a Loop holds is opened by itself, where onnxruntime looks into the main graph only",
  { skip },
  async (t) => {
    for (const dtype of ["f32", "f16"] as const) {
      await prepared(LLAMA, { dtype, checkpointing: true }, async (ready) => {
        const graph = loopGraph(ready, 2);
        const bodies = bodiesOf(ready.tape, graph);
        t.equal(bodies.length, 2, "of steps, and of micro-batches");
        t.equal(countNodes([graph, ...bodies], false), countNodes([graph], true), "every node is in one of them");
        const opened: string[] = [];
        const closed: Graph[] = [];
        const sessions = new Sessions(async (model, name) => {
          const session = await ready.sessions.of(model, name);
          opened.push(name);
          return { ...session, close: async () => void closed.push(model) };
        }, ready.tape);
        const first = await sessions.of(graph, "steps");
        t.equal(await sessions.of(graph, "steps"), first);
        t.same(opened, ["steps, step", "steps, micro-batch", "steps"]);
        t.equal(closed.length, 2);
        await sessions.of(ready.forward, "loss");
        t.equal(closed.at(-1), graph, "a device holds the weights once");
        await sessions.of(graph, "steps");
        t.same(opened.slice(3), ["loss", "steps"], "placed once is placed");
        t.equal(closed.at(-1), ready.forward);
      });
    }
  },
);

t.test("a scale that nothing needs changes no step: f16 on the CPU computes in f32", { skip }, async (t) => {
  // onnxruntime's CPU kernels of f16 are casts around f32; it drops pairs of casts. What f16 rounds is seen on CUDA only.
  const plain = await made(LLAMA, {});
  const scaled = await made(LLAMA, { dtype: "f16" });
  t.ok(difference(plain.state, scaled.state) < 1e-3, `${difference(plain.state, scaled.state)}`);
});

async function prepared<Result>(
  directory: string,
  options: Partial<TrainerOptions>,
  use: (prepared: Prepared) => Result | Promise<Result>,
): Promise<Result> {
  const ready = await prepare({
    checkpoint: await openCheckpoint(directory),
    trainable: trainableIn(directory),
    batch: 2,
    context: 6,
    accumulate: 2,
    layout: "host",
    checkpointing: false,
    dtype: "f32",
    adam: { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, decay: 0.1 },
    device: "cpu",
    threads: 1,
    folder: path.join(root, "scratch"),
    ...options,
  });
  try {
    return await use(ready);
  } finally {
    await ready.runtime.close();
  }
}

for (const dtype of ["f16", "bf16"] as const) {
  t.test(
    `${dtype}: products are in 16 bits, state and losses in f32, in graphs that hold together`,
    { skip },
    async (t) => {
      for (const graphOf of [stepGraph, (ready: Prepared) => loopGraph(ready, 2)]) {
        await prepared(LLAMA, { dtype, checkpointing: true }, (ready) => {
          const graph = graphOf(ready);
          checkGraph(graph);
          const type = dtype === "f16" ? OnnxType.FLOAT16 : OnnxType.BFLOAT16;
          const products = ready.tape.nodes.filter(({ opType }) => /^(?:Gemm|MatMul|FusedMatMul)$/.test(opType));
          t.ok(products.length > 100, `${products.length} products`);
          for (const { output } of products) t.equal(ready.tape.typeOf(output[0] ?? "").type, type);
          for (const { input } of ready.store.parts) t.equal(ready.tape.typeOf(input).type, OnnxType.FLOAT);
          t.equal(ready.tape.typeOf(ready.loss.sum).type, OnnxType.FLOAT);
          t.equal(ready.tape.typeOf(ready.loss.gradient).type, OnnxType.FLOAT);
        });
      }
    },
  );
}

t.test("a product in 16 bits keeps its attributes; one that turns its batches stays in f32", async (t) => {
  const fused = (output: string, attributes: Attributes) =>
    nodeOf({ domain: "com.microsoft", opType: "FusedMatMul" }, ["x", "x"], [output], attributes);
  const tape = new Tape({
    ...{ opset: 23, domains: new Map([["com.microsoft", 1]]), files: new Map(), inputs: ["x"], outputs: ["y", "z"] },
    ...{ initializers: new Map(), varying: new Set<string>() },
    nodes: [fused("y", { alpha: { float: 0.5 }, transB: 1, transBatchA: 0 }), fused("z", { transBatchB: 1 })],
    types: new Map(["x", "y", "z"].map((name) => [name, { type: OnnxType.FLOAT, shape: [2, 2, 2] }])),
  });
  narrowProducts(tape, OnnxType.FLOAT16);
  const products = tape.nodes.filter(({ opType }) => opType === "FusedMatMul");
  const types = products.map(({ output }) => tape.typeOf(output[0] ?? "").type);
  t.same(types, [OnnxType.FLOAT16, OnnxType.FLOAT]);
  const said = products.map(({ attribute }) => attribute.map(({ name, i, f }) => [name, Number(i) || f]));
  t.same(said, [
    [
      ["alpha", 0.5],
      ["transB", 1],
      ["transBatchA", 0],
    ],
    [["transBatchB", 1]],
  ]);
});

t.test("a frozen weight of 16 bits is read as it is stored", { skip }, async (t) => {
  await prepared(LLAMA, { dtype: "bf16" }, ({ forward }) => {
    const frozen = new Set((forward.model.graph?.initializer ?? []).map(({ name }) => name));
    const readers = forward.model.graph?.node.filter(({ input }) => input.some((name) => frozen.has(name)));
    const direct = readers?.filter(({ opType, input }) => opType === "Gemm" && frozen.has(input[1] ?? ""));
    t.ok((direct?.length ?? 0) >= 28, `${direct?.length} products read a weight without a cast`);
  });
});

t.test(
  "checkpointing survives onnxruntime: blocks are computed twice in the model that it runs",
  { skip },
  async (t) => {
    const counts = new Map<boolean, number>();
    const peaks = new Map<boolean, number>();
    for (const checkpointing of [false, true]) {
      await prepared(LLAMA, { checkpointing }, async (ready) => {
        for (const [input, gradient] of emitGradients(ready)) ready.tape.output(gradientName(input), gradient);
        const file = path.join(root, "optimized.onnx");
        const session = await ready.sessions.of(ready.tape.toGraph("gradients"), "gradients", { optimizedPath: file });
        t.ok(session.outputs.length > 0);
        const nodes = decodeModel(fs.readFileSync(file)).graph?.node ?? [];
        counts.set(checkpointing, nodes.filter(({ opType }) => opType === "Gemm").length);
        peaks.set(checkpointing, peakOf(ready, nodes));
      });
    }
    // Three blocks from the copy on, of which each computes five products again: not those that close a branch, which nothing reads backwards.
    t.equal((counts.get(true) ?? 0) - (counts.get(false) ?? 0), 15, "products computed again");
    t.ok(
      (peaks.get(true) ?? 0) < 0.8 * (peaks.get(false) ?? 0),
      `${peaks.get(true)} < 0.8 * ${peaks.get(false)} bytes`,
    );
  },
);

/** Bytes of values alive at a time, run in the order of the nodes; of those values whose type the tape knows. */
function peakOf({ tape }: Prepared, nodes: readonly { readonly input: string[]; readonly output: string[] }[]): number {
  const last = new Map(nodes.flatMap(({ input }, at) => input.map((name) => [name, at] as const)));
  const bytes = (name: string): number =>
    tape.has(name) ? tape.shapeOf(name).reduce((product, size) => product * size, 4) : 0;
  let [alive, peak] = [0, 0];
  for (const [at, { input, output }] of nodes.entries()) {
    for (const name of output) if (last.has(name)) alive += bytes(name);
    peak = Math.max(peak, alive);
    for (const name of new Set(input))
      if (last.get(name) === at && nodes.some((node) => node.output.includes(name))) alive -= bytes(name);
  }
  return peak;
}

t.test("weights behind links, and in two folders, are trained on as they are", { skip }, async (t) => {
  const plain = await made(LLAMA, {});
  // As the Hub's cache has it: names that link to blobs.
  const cache = path.join(root, "cache");
  fs.mkdirSync(path.join(cache, "blobs"), { recursive: true });
  fs.mkdirSync(path.join(cache, "snapshot"));
  for (const name of fs.readdirSync(LLAMA)) {
    fs.copyFileSync(path.join(LLAMA, name), path.join(cache, "blobs", `blob-${name}`));
    fs.symlinkSync(path.join("..", "blobs", `blob-${name}`), path.join(cache, "snapshot", name));
  }
  t.equal(difference(plain.state, (await made(path.join(cache, "snapshot"), {})).state), 0);
  const sharded = await expanded(path.join(FIXTURES, "llama-sharded"), path.join(root, "sharded"));
  const whole = await made(sharded, {});
  const second = fs.readdirSync(sharded).find((name) => name.startsWith("model-00002")) ?? "";
  fs.mkdirSync(path.join(root, "elsewhere"));
  fs.renameSync(path.join(sharded, second), path.join(root, "elsewhere", second));
  fs.symlinkSync(path.join(root, "elsewhere", second), path.join(sharded, second));
  t.equal(difference(whole.state, (await made(sharded, { folder: path.join(root, "two") })).state), 0);
  t.ok(fs.existsSync(path.join(root, "two")), "linked together in the scratch folder");
});

const REFUSALS: readonly [
  title: string,
  options: () => Promise<Partial<TrainerOptions>>,
  error: Pick<ExpandError, "tag" | "message"> & { readonly fix: string },
][] = [
  [
    "a tensor that the checkpoint lacks",
    async () => ({ trainable: new Set(["model.layers.9.mlp.up_proj.weight"]) }),
    {
      tag: "usage",
      message: `${LLAMA}: has no tensor "model.layers.9.mlp.up_proj.weight", which is to be trained`,
      fix: "Use the mask of this checkpoint.",
    },
  ],
  [
    "bf16 on the CPU",
    async () => ({ dtype: "bf16" }),
    {
      tag: "usage",
      message: "onnxruntime multiplies no bf16 matrices on the CPU",
      fix: "Use --dtype f32, or --device cuda.",
    },
  ],
  [
    "a quantized tensor",
    async () => ({ checkpoint: await openCheckpoint(GGUF), trainable: new Set(["blk.2.attn_output.weight"]) }),
    {
      tag: "unsupported",
      message: '"blk.2.attn_output.weight": is stored as Q8_0, which no gradient step can change',
      fix: "Expand an unquantized checkpoint (F32, F16 or BF16) and train that one.",
    },
  ],
];

for (const [title, options, error] of REFUSALS) {
  t.test(`${title} is refused`, { skip }, async (t) => {
    await t.rejects(trainerOf(LLAMA, await options()), error);
  });
}

t.test("a tensor that takes no part is refused", { skip }, async (t) => {
  const folder = path.join(root, "inert");
  const name = "model.layers.0.self_attn.rotary_emb.inv_freq";
  writeTinyHf(folder, tinyLlama({ blocks: 1, tensors: { ...tinyLlama().tensors, [name]: [4] } }));
  await t.rejects(trainerOf(folder, { trainable: new Set([name]) }), {
    tag: "unsupported",
    message:
      '"model.layers.0.self_attn.rotary_emb.inv_freq": is to be trained, but takes no part in the computation of logits',
    fix: "Leave it out of the mask.",
  });
});

t.test("a state of other tensors, and a batch of another size, are refused", { skip }, async (t) => {
  await using(LLAMA, {}, async (trainer) => {
    const state = await trainer.state();
    const name = "model.layers.2.self_attn.q_proj.weight";
    await t.rejects(trainer.load({ ...state, m: new Map() }), {
      tag: "input",
      message: `the saved state of "${trainer.parameters[0]?.name}" (m) has none`,
    });
    await t.rejects(trainer.load({ ...state, v: new Map(state.v).set(name, new Float32Array(3)) }), {
      message: `the saved state of "${name}" (v) has 3 values; 256 were expected`,
    });
    await t.rejects(trainer.run([[batchOf(1, 1)]], [1]), {
      tag: "bug",
      message: "a batch is [1, 6]; the graph takes [2, 6]",
    });
  });
});

t.test("a step without labels among others changes nothing, in a Loop too", { skip }, async (t) => {
  const empty = labelled(batchOf(2), () => -100n);
  const steps = [[batchOf(1)], [empty], [batchOf(3)]];
  const made = (layout: "host" | "loop") =>
    using(LLAMA, { layout, loopSteps: 3 }, async (trainer) => ({
      results: await trainer.run(steps, RATES),
      state: await snapshot(trainer),
    }));
  const [host, loop] = [await made("host"), await made("loop")];
  t.equal(difference(host.state, loop.state), 0);
  t.same(
    loop.results.map(({ tokens }) => tokens),
    [10, 0, 10],
  );
});

t.test("a signal stops between steps", { skip }, async (t) => {
  const stop = new AbortController();
  await using(LLAMA, { signal: stop.signal }, async (trainer) => {
    await trainer.run([[batchOf(1)]], [1e-2]);
    stop.abort();
    await t.rejects(trainer.run([[batchOf(1)]], [1e-2]), { tag: "interrupted", message: "interrupted" });
    t.equal((await trainer.state()).step, 1, "and the state can be saved");
  });
});

t.test("memory is told by kind, and falls with checkpointing and offload", async (t) => {
  const options = {
    checkpoint: await openCheckpoint(LLAMA),
    trainable: trainableIn(LLAMA),
    batch: 8,
    context: 64,
    layout: "host",
    checkpointing: false,
    dtype: "f32",
  } as const;
  const plain = estimateMemory(options);
  // 9 tensors of one block, f32: weight, m, v.
  t.equal(plain.state, (16 * 16 * 2 + 16 * 8 * 2 + 3 * 24 * 16 + 32) * 12);
  t.equal(plain.gradients, (plain.state / 3) * 2, "the runtime has them too");
  t.equal(plain.total, plain.weights + plain.state + plain.gradients + plain.activations);
  t.ok(estimateMemory({ ...options, checkpointing: true }).activations < plain.activations);
  t.ok(estimateMemory({ ...options, layout: "offload" }).weights < plain.weights);
  t.equal(estimateMemory({ ...options, layout: "loop" }).state, plain.state * 2);
});
