// Defects of other tools, as regression tests of ours, end to end. Others of the same list are tested where their code lives:
// placement (expansion/placement), trainers' formulas (expansion/recipes), un-zeroed copies (verification), names (architecture/).
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import { type TinyHf, tinyGemma2, tinyLlama, writeTinyHf } from "../../fixtures/hf.ts";
import { type ExpandOptions, type ExpandReport, expand } from "../../src/commands/expand.ts";
import { ExpandError } from "../../src/errors.ts";
import { finish } from "../../src/events.ts";
import { openCheckpoint } from "../../src/formats/open.ts";

interface Stored {
  readonly dtype: string;
  readonly data: Buffer;
}

/** Tensors of a safetensors directory, by an independent reading of the format. */
function tensorsOf(directory: string): Map<string, Stored> {
  const tensors = new Map<string, Stored>();
  for (const name of fs.readdirSync(directory).filter((file) => file.endsWith(".safetensors"))) {
    const data = fs.readFileSync(path.join(directory, name));
    const start = 8 + Number(data.readBigUInt64LE(0));
    const header: Record<string, { dtype: string; data_offsets: [number, number] }> = JSON.parse(
      data.subarray(8, start).toString(),
    );
    for (const [tensor, { dtype, data_offsets }] of Object.entries(header)) {
      if (tensor === "__metadata__") continue;
      tensors.set(tensor, { dtype, data: data.subarray(start + data_offsets[0], start + data_offsets[1]) });
    }
  }
  return tensors;
}

const run = (source: string, output: string, options: Partial<ExpandOptions> = {}): Promise<ExpandReport> =>
  finish(expand({ source, output, ...options }));

async function refusal(work: () => Promise<unknown>): Promise<string> {
  try {
    await work();
  } catch (error) {
    if (error instanceof ExpandError) return `${error.tag}: ${error.message}`;
    throw error;
  }
  return "not refused";
}

const configOf = (directory: string): Record<string, unknown> =>
  JSON.parse(fs.readFileSync(path.join(directory, "config.json"), "utf8"));

t.test("D5: bf16 and mixed types keep their types and bytes, and config.json is there", async (t) => {
  const directory = t.testdir();
  const source = path.join(directory, "source");
  writeTinyHf(source, tinyLlama({ blocks: 4 }));
  // One tensor in another type, as a checkpoint with F32 norms has it.
  const mixed = path.join(directory, "mixed");
  writeTinyHf(mixed, tinyLlama({ blocks: 4, dtype: "F32" }));
  for (const [model, dtype] of [
    [source, "BF16"],
    [mixed, "F32"],
  ] as const) {
    const out = `${model}-out`;
    await run(model, out, { add: 1 });
    const before = tensorsOf(model);
    const after = tensorsOf(out);
    for (const [name, { data }] of before) t.ok(after.get(name)?.data.equals(data), name);
    t.same([...new Set([...after.values()].map((tensor) => tensor.dtype))], [dtype]);
    t.equal(configOf(out).num_hidden_layers, 5);
  }
});

t.test("D6: an adapter folder with layer_replication is refused by that key; copies own their bytes", async (t) => {
  const directory = t.testdir({
    adapter: {
      "adapter_config.json": JSON.stringify({
        peft_type: "LORA",
        layer_replication: [
          [0, 4],
          [2, 6],
        ],
      }),
      "adapter_model.safetensors": "",
    },
  });
  t.match(await refusal(() => openCheckpoint(path.join(directory, "adapter"))), "layer_replication");
  const source = path.join(directory, "source");
  const out = path.join(directory, "out");
  writeTinyHf(source, tinyLlama({ blocks: 2 }));
  await run(source, out, { add: 1 });
  const copied = (await openCheckpoint(out)).tensors.get("model.layers.2.self_attn.q_proj.weight");
  if (copied?.kind !== "stored") throw new ExpandError("bug", "the copy is not stored");
  const hashOf = (name: string): string =>
    createHash("sha256")
      .update(tensorsOf(out).get(name)?.data ?? "")
      .digest("hex");
  const original = hashOf("model.layers.1.self_attn.q_proj.weight");
  t.equal(hashOf("model.layers.2.self_attn.q_proj.weight"), original);
  const fd = fs.openSync(path.join(out, "model.safetensors"), "r+");
  fs.writeSync(fd, Buffer.from([1, 2, 3, 4]), 0, 4, copied.offset);
  fs.closeSync(fd);
  t.equal(hashOf("model.layers.1.self_attn.q_proj.weight"), original, "the original did not change with its copy");
  t.not(hashOf("model.layers.2.self_attn.q_proj.weight"), original);
});

t.test("D9: zeros are written, never multiplied: Inf, NaN and -0.0 become plain 0x00", async (t) => {
  for (const [dtype, words] of [
    ["F32", [0x3f800000, 0xbf800000, 0x7f800000, 0x7fc00000, 0x80000000, 0xff800000]],
    ["BF16", [0x3f80, 0xbf80, 0x7f80, 0x7fc0, 0x8000, 0xff80]],
    ["F16", [0x3c00, 0xbc00, 0x7c00, 0x7e00, 0x8000, 0x7bff]],
  ] as const) {
    const directory = t.testdir();
    const source = path.join(directory, "source");
    const out = path.join(directory, "out");
    writeTinyHf(source, tinyLlama({ blocks: 2, dtype }));
    const stored = (await openCheckpoint(source)).tensors.get("model.layers.1.mlp.down_proj.weight");
    if (stored?.kind !== "stored") throw new ExpandError("bug", "the projection is not stored");
    const data = Buffer.alloc(words.length * (dtype === "F32" ? 4 : 2));
    for (const [at, word] of words.entries()) {
      if (dtype === "F32") data.writeUInt32LE(word, at * 4);
      else data.writeUInt16LE(word, at * 2);
    }
    const fd = fs.openSync(path.join(source, "model.safetensors"), "r+");
    fs.writeSync(fd, data, 0, data.length, stored.offset);
    fs.closeSync(fd);
    const report = await run(source, out, { add: 1 });
    t.equal(report.verification?.verdict, "identity");
    const copy = tensorsOf(out).get("model.layers.2.mlp.down_proj.weight")?.data;
    t.ok(
      copy?.every((byte) => byte === 0),
      `${dtype}: every byte is 0x00`,
    );
    const original = tensorsOf(out).get("model.layers.1.mlp.down_proj.weight")?.data;
    t.ok(original?.subarray(0, data.length).equals(data), `${dtype}: the original keeps its bytes`);
  }
});

t.test("D9: layer_types follows its blocks: a single copy with a warning, a whole period without", async (t) => {
  const S = "sliding_attention";
  const F = "full_attention";
  const directory = t.testdir();
  const source = path.join(directory, "source");
  const model: TinyHf = tinyGemma2({ blocks: 4, config: { layer_types: [S, F, S, F] } });
  writeTinyHf(source, model);
  const single = await run(source, path.join(directory, "single"), { after: [1] });
  t.same(configOf(path.join(directory, "single")).layer_types, [S, F, F, S, F]);
  t.equal(single.plan.warnings.length, 1);
  const whole = await run(source, path.join(directory, "whole"), { add: 2 });
  t.same(configOf(path.join(directory, "whole")).layer_types, [S, F, S, F, S, F]);
  t.same(whole.plan.warnings, []);
});

t.test(
  "D11: single files and sharded sources work; the index names what is there; a missing shard stops before writing",
  async (t) => {
    const directory = t.testdir();
    const source = path.join(directory, "source");
    const out = path.join(directory, "out");
    writeTinyHf(source, tinyLlama({ blocks: 4, blocksPerShard: 2 }));
    await run(source, out, { add: 2 });
    const index = JSON.parse(fs.readFileSync(path.join(out, "model.safetensors.index.json"), "utf8"));
    const tensors = tensorsOf(out);
    t.same(Object.keys(index.weight_map).sort(), [...tensors.keys()].sort());
    for (const file of new Set<string>(Object.values(index.weight_map)))
      t.ok(fs.existsSync(path.join(out, file)), file);
    const bytes = [...tensors.values()].reduce((sum, tensor) => sum + tensor.data.length, 0);
    t.equal(index.metadata.total_size, bytes);
    fs.rmSync(path.join(source, "model-00002-of-00002.safetensors"));
    const again = path.join(directory, "again");
    t.match(await refusal(() => run(source, again)), "model-00002-of-00002.safetensors");
    t.notOk(fs.existsSync(again), "nothing was written");
  },
);
