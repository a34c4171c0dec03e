// The runtime on real onnxruntime: values in and out, weights that move and come back, and what is said when something is missing.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import t from "tap";
import ts from "typescript";
import { runtimeChecks } from "../src/commands/runtime-checks.ts";
import type { ExpandError } from "../src/errors.ts";
import { GraphBuilder } from "../src/graph/builder.ts";
import { tensorAt } from "../src/graph/graph.ts";
import { encodeModel, OnnxType } from "../src/graph/onnx.ts";
import { findInstallation } from "../src/runtime/installation.ts";
import { openRuntime } from "../src/runtime/runtime.ts";
import type { Value } from "../src/runtime/values.ts";

const real = findInstallation();
// One thread: more would wait for each other by spinning, on a machine that has other work.
const runtime = await openRuntime({ device: "cpu", threads: 1 });
t.teardown(() => runtime.close());

const floats = (shape: readonly number[], ...values: number[]): Value => ({
  dtype: "float32",
  shape,
  data: Float32Array.from(values),
});

/** y = x Wᵀ with W [2, 3] as an input, and half = y as float16. */
function linear(): Uint8Array {
  const graph = new GraphBuilder("linear");
  const x = graph.input("x", OnnxType.FLOAT, ["rows", 3]);
  const w = graph.input("w", OnnxType.FLOAT, [2, 3]);
  const y = graph.node("Gemm", [x, w], { transB: 1 }, "y");
  graph.node("Cast", [y], { to: OnnxType.FLOAT16 }, "half");
  graph.node("Shape", [y], {}, "shape");
  graph.output("y", OnnxType.FLOAT, ["rows", 2]);
  graph.output("half", OnnxType.FLOAT16, ["rows", 2]);
  graph.output("shape", OnnxType.INT64, [2]);
  return encodeModel(graph.build().model);
}

t.test("a model tells its inputs and outputs, and computes", async (t) => {
  const session = await runtime.open(linear());
  t.same(session.inputs, [
    { name: "x", dtype: "float32", shape: ["rows", 3] },
    { name: "w", dtype: "float32", shape: [2, 3] },
  ]);
  t.same(
    session.outputs.map(({ name, dtype }) => [name, dtype]),
    [
      ["y", "float32"],
      ["half", "float16"],
      ["shape", "int64"],
    ],
  );
  const result = await session.run({ x: floats([1, 3], 1, 2, 3), w: floats([2, 3], 1, 0, 0, 0, 1, 1) });
  t.same(result.y, floats([1, 2], 1, 5));
  t.same(result.half, { dtype: "float16", shape: [1, 2], data: Uint16Array.of(0x3c00, 0x4500) });
  t.same(result.shape, { dtype: "int64", shape: [2], data: BigInt64Array.of(1n, 2n) });
  const some = await session.run({ x: floats([1, 3], 1, 2, 3), w: floats([2, 3], 1, 0, 0, 0, 1, 1) }, ["y"]);
  t.same(Object.keys(some), ["y"]);
  await session.close();
});

t.test("a model that asks for more memory than there is says so, and what to do", async (t) => {
  const graph = new GraphBuilder("huge");
  graph.node("ConstantOfShape", [graph.input("shape", OnnxType.INT64, [2])], {}, "y");
  graph.output("y", OnnxType.FLOAT, ["rows", "columns"]);
  const small = await openRuntime({ device: "cpu", threads: 1, memoryFix: "Ask for less." });
  t.teardown(() => small.close());
  const session = await small.open(encodeModel(graph.build().model), { name: "huge" });
  const shape: Value = { dtype: "int64", shape: [2], data: BigInt64Array.of(2n ** 25n, 2n ** 25n) };
  await t.rejects(session.run({ shape }), {
    tag: "backend",
    message: /^huge: onnxruntime ran out of memory on cpu: /,
    fix: "Ask for less.",
  });
});

t.test("held values are moved, not copied, serve several runs, and come back with their memory", async (t) => {
  const session = await runtime.open(linear());
  const data = Float32Array.of(1, 0, 0, 0, 1, 1);
  const held = await runtime.hold({ w: { dtype: "float32", shape: [2, 3], data } });
  t.equal(data.length, 0, "the caller's array is empty");
  for (const x of [1, 2]) {
    const { y } = await session.run({ x: floats([1, 3], x, 2, 3) }, ["y"], [held]);
    t.same(y, floats([1, 2], x, 5));
  }
  const back = await held.release();
  t.same(back.w, floats([2, 3], 1, 0, 0, 0, 1, 1));
  await t.rejects(session.run({ x: floats([1, 3], 1, 2, 3) }, ["y"], [held]), {
    message: "model: onnxruntime refuses: input 'w' is missing in 'feeds'.",
  });
  await session.close();
});

t.test("weights in a file beside the model are found, by path and by folder", async (t) => {
  const graph = new GraphBuilder("external");
  const x = graph.input("x", OnnxType.FLOAT, ["rows", 3]);
  graph.node("Gemm", [x, "w"], { transB: 1 }, "y");
  graph.output("y", OnnxType.FLOAT, ["rows", 2]);
  const { model } = graph.build();
  model.graph?.initializer.push(tensorAt("w", { dtype: "F32", shape: [2, 3], bytes: 24 }, "weights.bin", 4));
  const bytes = encodeModel(model);
  const folder = t.testdir({ "model.onnx": Buffer.from(bytes) });
  fs.writeFileSync(path.join(folder, "weights.bin"), new Uint8Array(Float32Array.of(9, 1, 0, 0, 0, 1, 1).buffer));
  for (const open of [() => runtime.open(path.join(folder, "model.onnx")), () => runtime.open(bytes, { folder })]) {
    const session = await open();
    t.same((await session.run({ x: floats([1, 3], 1, 2, 3) })).y, floats([1, 2], 1, 5));
    await session.close();
  }
  t.match(await refusal(runtime.open(bytes, { name: "lost" })), {
    tag: "unsupported",
    message: /^lost: onnxruntime refuses: /,
  });
});

t.test("what onnxruntime refuses is said in its words, with the model's name", async (t) => {
  await t.rejects(runtime.open(Uint8Array.of(1, 2, 3), { name: "bad.onnx" }), {
    tag: "unsupported",
    message: "bad.onnx: onnxruntime refuses: Failed to load model because protobuf parsing failed.",
    fix: "Check the model, or verify the structure only.",
  });
  const session = await runtime.open(linear());
  await t.rejects(session.run({ x: floats([1, 4], 1, 2, 3) }), {
    tag: "bug",
    message: "x: the shape [1,4] asks for 4 values, the data has 3",
  });
  await session.close();
  await t.rejects(session.run({}), { message: "model: onnxruntime refuses: the session is closed" });
});

t.test("an abort stops before the next run, and does not wait for one that is under way", async (t) => {
  const controller = new AbortController();
  const mine = await openRuntime({ device: "cpu", signal: controller.signal });
  const session = await mine.open(linear());
  const feeds = { x: floats([1, 3], 1, 2, 3), w: floats([2, 3], 1, 0, 0, 0, 1, 1) };
  const running = session.run(feeds);
  controller.abort();
  await t.rejects(running, { tag: "interrupted", message: "interrupted" });
  t.match(await refusal(session.run(feeds)), { tag: "interrupted" });
  await mine.close();
  t.match(await refusal(openRuntime({ device: "cpu", signal: controller.signal })), { tag: "interrupted" });
});

/** A place with a package of that name, or with none. */
function place(t: { teardown(act: () => void): void }, files: Readonly<Record<string, string>>): string {
  const directory = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), "runtime-"));
  t.teardown(() => fs.rmSync(directory, { recursive: true }));
  for (const [name, text] of Object.entries(files)) {
    const file = path.join(directory, "node_modules/onnxruntime-node", name);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, text);
  }
  return pathToFileURL(path.join(directory, "main.js")).href;
}

async function refusal(work: Promise<unknown>): Promise<Pick<ExpandError, "tag" | "message" | "fix" | "exitCode">> {
  try {
    await work;
    throw new Error("nothing was refused");
  } catch (error) {
    const { tag, message, fix, exitCode } = error as ExpandError;
    return { tag, message, fix, exitCode };
  }
}

t.test("without onnxruntime-node: exit 6, and what to install", async (t) => {
  const from = place(t, {});
  t.same(await refusal(openRuntime({ device: "cpu", from })), {
    tag: "backend",
    exitCode: 6,
    message: "the package onnxruntime-node is not installed; models cannot be run without it",
    fix: "Run npm install onnxruntime-node --ignore-scripts beside expand-checkpoint, or verify the structure only.",
  });
  t.same(await runtimeChecks(from), [
    {
      name: "onnxruntime",
      status: "note",
      detail:
        "the package onnxruntime-node is not installed; models cannot be run without it; expansion and --mode structure do not need it",
      fix: "Run npm install onnxruntime-node --ignore-scripts beside expand-checkpoint, or verify the structure only.",
    },
  ]);
});

const PACKAGE = { "package.json": '{"name":"onnxruntime-node","version":"1.2.3","main":"index.js"}' };
const BINDING = `bin/napi-v6/${process.platform}/${process.arch}`;

t.test("a package without a binding for this machine, or that does not load", async (t) => {
  const bare = place(t, { ...PACKAGE, "index.js": "" });
  t.same(await refusal(openRuntime({ device: "cpu", from: bare })), {
    tag: "backend",
    exitCode: 6,
    message: `onnxruntime-node 1.2.3: has no binding for ${process.platform} ${process.arch}`,
    fix: "Run on Linux, Windows or macOS (Apple silicon), or verify the structure only.",
  });
  const broken = place(t, {
    ...PACKAGE,
    "index.js": 'throw new Error("libonnxruntime.so.1: cannot open shared object file\\nand more")',
    [`${BINDING}/onnxruntime_binding.node`]: "",
  });
  t.same(await refusal(openRuntime({ device: "cpu", from: broken })), {
    tag: "backend",
    exitCode: 6,
    message: "onnxruntime-node 1.2.3: cannot be loaded: libonnxruntime.so.1: cannot open shared object file",
    fix: "Install onnxruntime-node again, or verify the structure only.",
  });
});

t.test("CUDA without its files: each is named, with the command that fetches them", async (t) => {
  const [shared, cuda] = ["libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so"];
  const files = { ...PACKAGE, "index.js": "", [`${BINDING}/onnxruntime_binding.node`]: "" };
  const from = place(t, files);
  const found = findInstallation(from);
  if (found?.canUseCuda !== true) {
    const { message, fix } = await refusal(openRuntime({ device: "cuda", from }));
    t.match(message, /runs CUDA on Linux x64 only/);
    t.equal(fix, "Use --device cpu.");
    return;
  }
  t.same(found.missing, [shared, cuda]);
  const script = path.join(path.dirname(new URL(from).pathname), "node_modules/onnxruntime-node/script/install.js");
  t.same(await refusal(openRuntime({ device: "cuda", from })), {
    tag: "backend",
    exitCode: 6,
    message: `${found.binding}: ${shared} and ${cuda} are missing`,
    fix: `Run node ${script} --onnxruntime-node-install=cuda12 where the network is open, or use --device cpu.`,
  });
  const half = place(t, { ...files, [`${BINDING}/${shared}`]: "" });
  const { message } = await refusal(openRuntime({ device: "cuda", from: half }));
  t.match(message, new RegExp(`: ${cuda} is missing$`));
});

t.test("CUDA files that the system's loader refuses: it says why, and nothing falls back to the CPU", async (t) => {
  if (real?.canUseCuda !== true || real.missing.length === 0) {
    t.pass("needs Linux x64 without CUDA files");
    return;
  }
  const from = place(t, {
    ...PACKAGE,
    "index.js": `module.exports = require(${JSON.stringify(new URL(real.module).pathname)})`,
    [`${BINDING}/onnxruntime_binding.node`]: "",
    [`${BINDING}/libonnxruntime_providers_shared.so`]:
      "not a library, whatever its name says, and long enough to be looked at",
    [`${BINDING}/libonnxruntime_providers_cuda.so`]: "",
  });
  const { tag, message, fix } = await refusal(openRuntime({ device: "cuda", from }));
  t.equal(tag, "backend");
  t.match(
    message,
    /^onnxruntime-node 1\.2\.3: cannot use CUDA: .*libonnxruntime_providers_shared\.so: invalid ELF header$/,
  );
  t.equal(
    fix,
    "Install CUDA 12 and cuDNN 9 where the loader finds them (LD_LIBRARY_PATH) and an NVIDIA driver, or use --device cpu.",
  );
  t.equal(process.env.NVIDIA_TF32_OVERRIDE, "0", "no product is rounded to 10 bits of fraction");
});

/** x to the twelfth power: onnxruntime is at it for a while, where x is large. */
function power(): Uint8Array {
  const graph = new GraphBuilder("power");
  const x = graph.input("x", OnnxType.FLOAT, ["n", "n"]);
  let y = x;
  for (let at = 1; at < 12; at++) y = graph.node("MatMul", [y, x], {}, `y${at}`);
  graph.output(y, OnnxType.FLOAT, ["n", "n"]);
  return encodeModel(graph.build().model);
}

t.test("built code runs models in a thread of its own, which is never ended while one runs", async (t) => {
  const directory = t.testdir({ "package.json": '{"type":"module"}' });
  const src = path.join(import.meta.dirname, "../src");
  const options = {
    target: ts.ScriptTarget.ES2023,
    module: ts.ModuleKind.ESNext,
    rewriteRelativeImportExtensions: true,
  };
  for (const file of ["errors.ts", ...fs.readdirSync(path.join(src, "runtime")).map((name) => `runtime/${name}`)]) {
    const target = path.join(directory, file.replace(/\.ts$/, ".js"));
    fs.mkdirSync(path.dirname(target), { recursive: true });
    const text = fs.readFileSync(path.join(src, file), "utf8");
    fs.writeFileSync(target, ts.transpileModule(text, { compilerOptions: options }).outputText);
  }
  const module: typeof import("../src/runtime/runtime.ts") = await import(
    pathToFileURL(path.join(directory, "runtime/runtime.js")).href
  );
  const controller = new AbortController();
  const threaded = await module.openRuntime({ device: "cpu", signal: controller.signal });
  const session = await threaded.open(linear());
  const data = Float32Array.of(1, 0, 0, 0, 1, 1);
  const held = await threaded.hold({ w: { dtype: "float32", shape: [2, 3], data } });
  t.equal(data.length, 0);
  const { y, half } = await session.run({ x: floats([1, 3], 1, 2, 3) }, ["y", "half"], [held]);
  t.same(y, floats([1, 2], 1, 5));
  t.same(half?.data, Uint16Array.of(0x3c00, 0x4500));
  t.same((await held.release()).w, floats([2, 3], 1, 0, 0, 0, 1, 1));
  t.match(await refusal(threaded.open(Uint8Array.of(1))), { tag: "unsupported" });
  const slow = await threaded.open(power());
  const running = slow.run({
    x: { dtype: "float32", shape: [1024, 1024], data: new Float32Array(1024 ** 2).fill(1e-3) },
  });
  // Long enough for the run to begin.
  await setTimeout(50);
  controller.abort();
  t.match(await refusal(running), { tag: "interrupted" });
  await threaded.close();
});
