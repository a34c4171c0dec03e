// ONNX models through the verbs, as a user meets them: expanded, planned, replayed, masked, inspected, verified and refused.
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import { ONNX_FLAVOURS, REFUSED_FLAVOURS, tinyOnnx, writeTinyOnnx } from "../../fixtures/onnx.ts";
import { inspect } from "../../src/commands/inspect.ts";
import { mask } from "../../src/commands/mask.ts";
import { plan } from "../../src/commands/plan.ts";
import { verify } from "../../src/commands/verify.ts";
import { ExpandError } from "../../src/errors.ts";
import { finish } from "../../src/events.ts";
import { type ExpandOptions, expand, openCheckpoint } from "../../src/index.ts";

t.setTimeout(240_000);
const home = t.testdir();
let count = 0;

/** A directory with a tiny model, all settings and an asset. */
function source(flavour: (typeof ONNX_FLAVOURS)[number], external?: number): string {
  const directory = path.join(home, `source-${count++}`);
  writeTinyOnnx(directory, tinyOnnx(flavour), {
    settings: ["transformers.js", "genai"],
    files: { "tokenizer.json": "{}\n" },
    ...(external === undefined ? {} : { external }),
  });
  return directory;
}

const fresh = (): string => path.join(home, `out-${count++}`);
const run = (options: Pick<ExpandOptions, "source" | "output"> & Partial<ExpandOptions>) => finish(expand(options));
const json = (...parts: string[]) => JSON.parse(fs.readFileSync(path.join(...parts), "utf8"));

async function failure(work: Promise<unknown>): Promise<{ tag: string; message: string; fix: string | undefined }> {
  try {
    await work;
  } catch (error) {
    if (error instanceof ExpandError) return { tag: error.tag, message: error.message, fix: error.fix };
    throw error;
  }
  throw new ExpandError("bug", "nothing was refused");
}

t.test("a directory is expanded with its settings, its tokenizer, a plan, a mask and a proof", async (t) => {
  const before = source("dynamo");
  const output = fresh();
  const report = await run({ source: before, output, add: 2 });
  t.equal(report.verification?.verdict, "identity");
  t.same(
    report.plan.blocks.map(({ kind, from }) => `${kind} ${from}`),
    ["original 0", "copy 0", "original 1", "original 2", "copy 2"],
  );
  const names = ["config.json", "genai_config.json", "manifest.json", "mask.json", "model.onnx", "model.onnx_data"];
  t.same(fs.readdirSync(output).sort(), [
    ...names,
    "model.onnx_data_1",
    "plan.json",
    "source.json",
    "tokenizer.json",
    "verification.json",
  ]);
  const config = json(output, "config.json");
  t.equal(config.num_hidden_layers, 5);
  t.equal(config.layer_types.length, 5);
  t.equal(config["transformers.js_config"].use_external_data_format, 2, "two data files");
  const { decoder } = json(output, "genai_config.json").model;
  t.equal(decoder.num_hidden_layers, 5);
  t.same(decoder.sliding_window.layers, [0, 1, 3, 4], "windows of blocks 0 and 2, and of their copies");
  const { tensors, counts } = json(output, "mask.json");
  const trainable = Object.keys(tensors).filter((name) => tensors[name] === "trainable");
  t.equal(trainable.length, 18);
  t.ok(trainable.every((name) => /^copy\.[14]\./.test(name)));
  t.equal(counts.trainable.tensors, 18);
  const after = await openCheckpoint(output);
  t.same(Object.keys(tensors), [...after.tensors.keys()], "one entry for each initializer");
  t.equal((await finish(verify({ before, after: output }))).verdict, "identity");
});

t.test("every flavour is expanded and proved, or refused with its border", async (t) => {
  for (const flavour of ONNX_FLAVOURS) {
    const before = source(flavour);
    const output = fresh();
    if (REFUSED_FLAVOURS.includes(flavour)) {
      const { tag, message } = await failure(run({ source: before, output, add: 1 }));
      t.equal(tag, "unsupported", flavour);
      t.match(message, /between ".+" and ".+"/, flavour);
      t.notOk(fs.existsSync(output), `${flavour}: nothing is written`);
    } else t.equal((await run({ source: before, output, add: 1 })).verification?.verdict, "identity", flavour);
  }
});

t.test("a plan says which borders were found and what it costs, and replays to the same bytes", async (t) => {
  const before = source("genai-biases");
  const { plan: made } = await finish(plan({ source: before, after: [1] }));
  t.match(made.notes, [
    /^the residual stream enters the blocks as \/model\/embed_tokens\/Gather_output_0 and leaves them as /,
    /^the blocks end at \/model\/layers\.1\/input_layernorm\/output_3, /,
  ]);
  t.equal(made.cost.zeroBytes >= 48 * 32 * 4, true, "one file of zeros for all");
  const [one, two, saved] = [fresh(), fresh(), path.join(home, "saved.json")];
  await run({ source: before, output: one, after: [1] });
  fs.copyFileSync(path.join(one, "plan.json"), saved);
  await run({ source: before, output: two, plan: saved });
  for (const name of ["model.onnx", "model.onnx_data", "plan.json", "mask.json"]) {
    t.ok(fs.readFileSync(path.join(one, name)).equals(fs.readFileSync(path.join(two, name))), name);
  }
  const other = await failure(run({ source: source("genai"), output: fresh(), plan: saved }));
  t.equal(other.tag, "plan");
  t.match(other.message, /the plan was made for a checkpoint with headers [0-9a-f]{12}, this one has [0-9a-f]{12}/);
});

t.test("data files go whole under their names, and are linked where that is asked for", async (t) => {
  const before = source("genai", 1024);
  const output = fresh();
  const report = await run({ source: before, output, add: 1, link: true, hash: false });
  t.equal(report.verification?.verdict, "identity");
  const inode = (directory: string): number => fs.statSync(path.join(directory, "model.onnx_data")).ino;
  t.equal(inode(output), inode(before));
  t.equal(json(output, "config.json")["transformers.js_config"].use_external_data_format, 2);
  t.notOk(JSON.stringify(json(output, "manifest.json")).includes("sha256"), "no hashes were asked for");
  const again = await failure(run({ source: before, output, add: 1 }));
  t.equal(again.tag, "output");
  t.equal((await run({ source: before, output, add: 2, force: true })).verification?.verdict, "identity");
});

t.test("an .onnx file is an output too: side files take its name", async (t) => {
  const before = source("genai-int4", 64);
  const output = path.join(fresh(), "larger.onnx");
  const report = await run({ source: path.join(before, "model.onnx"), output, add: 1, masks: ["torch"] });
  t.equal(report.output, output);
  t.equal(report.verification?.verdict, "identity");
  t.equal(json(path.dirname(output), "genai_config.json").model.decoder.filename, "larger.onnx");
  for (const name of ["larger.plan.json", "larger.mask.json", "larger.manifest.json"]) {
    t.ok(fs.existsSync(path.join(path.dirname(output), name)), name);
  }
  t.same(report.refused, [
    {
      recipe: "torch",
      reason: "trainers of PyTorch models do not read ONNX; expand the checkpoint that the graph was exported from",
    },
  ]);
  t.equal((await finish(verify({ before, after: output }))).verdict, "identity");
});

t.test("masks and inspections find copies that no file tells of", async (t) => {
  const before = source("traced");
  const output = fresh();
  await run({ source: before, output, after: [0, 1] });
  for (const name of ["mask.json", "plan.json"]) fs.rmSync(path.join(output, name));
  const found = await finish(mask({ source: output }));
  t.equal(found.found, "identity");
  t.same(found.mask.blocks, [1, 3]);
  t.equal(found.mask.counts.trainable.tensors, 18);
  const refused = await finish(mask({ source: output, recipe: "peft" }));
  t.equal(refused.result.kind, "refused");
  const { architecture } = await finish(inspect({ source: output }));
  t.same(
    architecture?.blocks.map(({ identity }) => identity),
    [false, true, false, true, false],
  );
  t.equal(architecture?.modelType, "qwen3");
  const unknown = await finish(inspect({ source: source("post-norm") }));
  t.match(unknown.refusal?.message, /a norm after the Add: post-norm/);
});

t.test("what would harm the source, or mean nothing, is refused with a fix", async (t) => {
  const before = source("genai", 1024);
  const file = path.join(before, "model.onnx");
  t.same(await failure(run({ source: file, output: path.join(before, "larger.onnx"), add: 1 })), {
    tag: "output",
    message: `${path.join(before, "model.onnx_data")}: is a file of the source ${file}`,
    fix: "Choose an output in another directory.",
  });
  t.same(await failure(run({ source: before, output: path.join(home, "x.gguf"), add: 1 })), {
    tag: "usage",
    message: `${path.join(home, "x.gguf")}: the source is onnx; expand keeps the format and cannot write a .gguf file`,
    fix: "Name a directory, or a .onnx file.",
  });
  t.same(await failure(finish(plan({ source: before, stack: "encoder" }))), {
    tag: "usage",
    message: 'an ONNX model has one stack, "graph"; not "encoder"',
    fix: "Remove --stack.",
  });
  const config = path.join(before, "config.json");
  fs.writeFileSync(config, JSON.stringify({ ...json(config), num_hidden_layers: 7, layer_types: undefined }));
  t.same(await failure(finish(plan({ source: before }))), {
    tag: "unsupported",
    message: "config.json: says 7 blocks, but the graph has 3 blocks",
    fix: "Put the .onnx file, its data and its own settings into a directory of their own.",
  });
  const both = { model_type: "t5", num_layers: 3, num_decoder_layers: 3, d_model: 32 };
  fs.writeFileSync(config, JSON.stringify(both));
  t.match((await failure(finish(plan({ source: before })))).message, /are both 3, and the graph does not say which/);
});
