// The structural verifier, tested by sabotage: each fault is found by its own finding and by no other.
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import type { Checkpoint, Config, Format } from "../src/checkpoint/checkpoint.ts";
import { encodeGgufArray, encodeGgufEntry, type GgufEntry } from "../src/checkpoint/gguf-metadata.ts";
import { ExpandError } from "../src/errors.ts";
import { finish, type RunEvent } from "../src/events.ts";
import { JsonDocument, type JsonValue } from "../src/json.ts";
import { byteLength, type Dtype } from "../src/tensor/dtype.ts";
import type { TensorRef } from "../src/tensor/reference.ts";
import { type ByteSource, fileSource, memorySource } from "../src/tensor/source.ts";
import { githubAnnotations, githubSummary } from "../src/verification/report/github.ts";
import { junitText } from "../src/verification/report/junit.ts";
import { markdownText } from "../src/verification/report/markdown.ts";
import { terminalText } from "../src/verification/report/terminal.ts";
import { type Finding, type VerificationReport, verdictOf } from "../src/verification/report.ts";
import { verifyStructure } from "../src/verification/structure.ts";

interface Raw {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly data: Buffer;
}
/** A checkpoint to take apart: mutable on purpose. */
interface Model {
  tensors: Map<string, Raw>;
  documents: Map<string, { [key: string]: JsonValue }>;
  assets: Map<string, string>;
}

/** Values that depend on the name, so that no tensor can pass for another. Small finite floats. */
function values(name: string, dtype: Dtype, shape: readonly number[]): Raw {
  const data = Buffer.alloc(byteLength(dtype, shape) ?? 0);
  let block = createHash("sha256").update(name).digest();
  const width = dtype === "F32" ? 4 : 2;
  for (let at = 0; at < data.length; at += width) {
    if (at % 64 === 0) block = createHash("sha256").update(block).digest();
    const value = ((block[(at / width) % 32] ?? 0) + 1) / 512;
    if (dtype === "F32") data.writeFloatLE(value, at);
    else {
      const wide = Buffer.alloc(4);
      wide.writeFloatLE(value);
      wide.copy(data, at, 2);
    }
  }
  return { dtype, shape, data };
}

const H = 8;
const BLOCK: Readonly<Record<string, readonly number[]>> = {
  "input_layernorm.weight": [H],
  "mlp.down_proj.weight": [H, 16],
  "mlp.gate_proj.weight": [16, H],
  "mlp.up_proj.weight": [16, H],
  "post_attention_layernorm.weight": [H],
  "self_attn.k_proj.weight": [4, H],
  "self_attn.o_proj.weight": [H, H],
  "self_attn.q_proj.weight": [H, H],
  "self_attn.v_proj.weight": [4, H],
};
const CLOSING = ["self_attn.o_proj.weight", "mlp.down_proj.weight"];
const LLAMA = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_size: H,
  intermediate_size: 16,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  num_hidden_layers: 4,
  vocab_size: 10,
  rms_norm_eps: 1e-5,
  torch_dtype: "float32",
  _name_or_path: "tiny",
};

function model(config: { [key: string]: JsonValue }, blocks: number, shapes = BLOCK, dtype: Dtype = "F32"): Model {
  const tensors = new Map<string, Raw>();
  const add = (name: string, shape: readonly number[]): void => void tensors.set(name, values(name, dtype, shape));
  add("model.embed_tokens.weight", [10, H]);
  for (let at = 0; at < blocks; at++) {
    for (const [inner, shape] of Object.entries(shapes)) add(`model.layers.${at}.${inner}`, shape);
  }
  add("model.norm.weight", [H]);
  add("lm_head.weight", [10, H]);
  const documents = new Map([["config.json", { ...config, num_hidden_layers: blocks }]]);
  return { tensors, documents, assets: new Map([["tokenizer.json", "{}"]]) };
}

const llama = (): Model => model(LLAMA, 4);

function clone(source: Model): Model {
  return {
    tensors: new Map([...source.tensors].map(([name, raw]) => [name, { ...raw, data: Buffer.from(raw.data) }])),
    documents: new Map([...source.documents].map(([name, value]) => [name, structuredClone(value)])),
    assets: new Map(source.assets),
  };
}

/** Entry j says which source block stands at j; the second time a source block appears it is a closed copy. */
function expanded(
  source: Model,
  layout: readonly number[],
  close: (inner: string, raw: Raw) => Buffer | undefined = (inner, raw) =>
    CLOSING.includes(inner) ? Buffer.alloc(raw.data.length) : undefined,
): Model {
  const made = clone(source);
  const placed = new Set<number>();
  for (const name of source.tensors.keys()) if (name.includes(".layers.")) made.tensors.delete(name);
  for (const [at, from] of layout.entries()) {
    const copy = placed.has(from);
    placed.add(from);
    for (const [name, raw] of source.tensors) {
      const inner = name.split(`.layers.${from}.`)[1];
      if (inner === undefined) continue;
      const data = (copy ? close(inner, raw) : undefined) ?? Buffer.from(raw.data);
      made.tensors.set(`model.layers.${at}.${inner}`, { ...raw, data });
    }
  }
  setting(made, "num_hidden_layers", layout.length);
  return made;
}

function setting(made: Model, key: string, value: JsonValue): void {
  made.documents.set("config.json", { ...made.documents.get("config.json"), [key]: value });
}

function raw(made: Model, name: string): Raw {
  const found = made.tensors.get(name);
  if (found === undefined) throw new Error(`the test has no ${name}`);
  return found;
}

/** With a directory, the bytes are in a file there; else in memory. */
function opened(made: Model, location: string, directory?: string, format: Format = "safetensors"): Checkpoint {
  const documents = [...made.documents].map(
    ([name, value]) => [name, JsonDocument.parse(name, JSON.stringify(value))] as const,
  );
  return assemble(made.tensors, { dialect: "hf", documents: new Map(documents) }, location, format, {
    assets: new Map([...made.assets].map(([name, text]) => [name, memorySource(name, Buffer.from(text))])),
    ...(directory === undefined ? {} : { directory }),
  });
}

function assemble(
  raws: ReadonlyMap<string, Raw>,
  config: Config,
  location: string,
  format: Format,
  more: { readonly assets?: ReadonlyMap<string, ByteSource>; readonly directory?: string } = {},
): Checkpoint {
  const data = Buffer.concat([...raws.values()].map((each) => each.data));
  let source = memorySource("model", data);
  if (more.directory !== undefined) {
    fs.writeFileSync(path.join(more.directory, location), data);
    source = fileSource(path.join(more.directory, location));
  }
  const tensors = new Map<string, TensorRef>();
  let offset = 0;
  for (const [name, { dtype, shape, data: bytes }] of raws) {
    tensors.set(name, { kind: "stored", dtype, shape, bytes: bytes.length, source, offset });
    offset += bytes.length;
  }
  const shards = [{ name: "model", source, dataStart: 0, tensors: [...raws.keys()] }];
  return { format, location, config, tensors, shards, assets: more.assets ?? new Map() };
}

const LAYOUT = [0, 1, 1, 2, 3, 3];

async function verified(before: Model, after: Model): Promise<VerificationReport> {
  return finish(verifyStructure(opened(before, "before"), opened(after, "after")));
}

function told(report: VerificationReport): readonly string[] {
  return report.findings.map((each) => `${each.severity} ${each.code} | ${each.at} | ${each.message}`);
}

function kinds(report: VerificationReport): string {
  return report.blocks.map((each) => `${each.kind[0]}${each.from ?? ""}`).join(" ");
}

t.test("a copy after every second block is found, and is identity", async (t) => {
  const report = await verified(llama(), expanded(llama(), LAYOUT));
  t.strictSame(told(report), []);
  t.equal(report.verdict, "identity");
  t.equal(kinds(report), "o0 o1 c1 o2 o3 c3");
  t.strictSame(report.blocks[2]?.closed, [
    { branch: "attention", factor: "projection", tensors: ["model.layers.2.self_attn.o_proj.weight"] },
    { branch: "mlp", factor: "projection", tensors: ["model.layers.2.mlp.down_proj.weight"] },
  ]);
  t.equal(report.schema, "expand-checkpoint/verification/1");
  t.strictSame(JSON.parse(JSON.stringify(report)), report);
});

t.test("layouts that others make are found too", async (t) => {
  for (const [title, layout, expected] of [
    ["no copy at all", [0, 1, 2, 3], "o0 o1 o2 o3"],
    ["a suffix", [0, 1, 2, 3, 2, 3], "o0 o1 o2 o3 c2 c3"],
    ["two copies of one block", [0, 1, 1, 1, 2, 3], "o0 o1 c1 c1 o2 o3"],
    ["a copy far from its source", [0, 1, 2, 0, 3], "o0 o1 o2 c0 o3"],
  ] as const) {
    const report = await verified(llama(), expanded(llama(), layout));
    t.strictSame(told(report), [], title);
    t.equal(kinds(report), expected, title);
    t.equal(report.verdict, "identity", title);
  }
});

interface Sabotage {
  readonly title: string;
  readonly layout?: readonly number[];
  readonly close?: Parameters<typeof expanded>[2];
  readonly harm?: (after: Model) => void;
  readonly found: readonly string[];
  readonly verdict?: VerificationReport["verdict"];
  readonly skipped?: readonly string[];
}

const at = (block: number, inner: string): string => `model.layers.${block}.${inner}`;

const SABOTAGE: readonly Sabotage[] = [
  {
    title: "one flipped bit in an original",
    harm: (after) =>
      raw(after, at(3, "mlp.up_proj.weight")).data.writeUInt8(
        raw(after, at(3, "mlp.up_proj.weight")).data.readUInt8(77) ^ 1,
        77,
      ),
    found: [
      "refutes original-differs | model.layers.3.mlp.up_proj.weight | differs from BEFORE's model.layers.2.mlp.up_proj.weight in 1 of 512 bytes, the first at byte 77 (element 19 is 0.261726)",
    ],
  },
  {
    title: "one flipped bit outside the blocks",
    harm: (after) => raw(after, "lm_head.weight").data.writeUInt8(0xff, 319),
    found: [
      "refutes original-differs | lm_head.weight | differs from BEFORE's in 1 of 320 bytes, the first at byte 319 (element 79 is NaN)",
    ],
  },
  {
    title: "one value of a zeroed tensor that is not zero",
    harm: (after) => raw(after, at(2, "mlp.down_proj.weight")).data.writeFloatLE(Number.NaN, 12),
    found: [
      "refutes copy-not-closed | block 2, mlp branch | model.layers.2.mlp.down_proj.weight does not hold 0 everywhere: it differs in 2 of 512 bytes, the first at byte 14 (element 3 is NaN)",
    ],
  },
  {
    title: "one restored projection",
    close: (inner, tensor) => (inner === "self_attn.o_proj.weight" ? Buffer.alloc(tensor.data.length) : undefined),
    layout: [0, 1, 1, 2, 3],
    found: [
      "refutes copy-not-closed | block 2, mlp branch | model.layers.2.mlp.down_proj.weight does not hold 0 everywhere: it differs in 252 of 512 bytes, the first at byte 2 (element 0 is 0.294922)",
    ],
  },
  {
    title: "a copy in which nothing is closed",
    close: () => undefined,
    layout: [0, 1, 1, 2, 3],
    found: [
      "refutes copy-not-closed | block 2, attention branch | model.layers.2.self_attn.o_proj.weight does not hold 0 everywhere: it differs in 126 of 256 bytes, the first at byte 2 (element 0 is 0.228516)",
      "refutes copy-not-closed | block 2, mlp branch | model.layers.2.mlp.down_proj.weight does not hold 0 everywhere: it differs in 252 of 512 bytes, the first at byte 2 (element 0 is 0.294922)",
    ],
  },
  {
    title: "a copy with another change",
    harm: (after) => raw(after, at(5, "self_attn.q_proj.weight")).data.writeUInt8(0, 3),
    found: [
      "refutes copy-differs | model.layers.5.self_attn.q_proj.weight | differs from BEFORE's model.layers.3.self_attn.q_proj.weight in 1 of 256 bytes, the first at byte 3 (element 0 is 8.44887e-39)",
    ],
  },
  {
    title: "a dropped tensor",
    harm: (after) => after.tensors.delete(at(1, "mlp.gate_proj.weight")),
    found: ["refutes tensor-missing | block 1 | has no model.layers.1.mlp.gate_proj.weight"],
  },
  {
    title: "a dropped shard",
    harm: (after) => {
      for (const name of [...after.tensors.keys()]) if (name.startsWith("model.layers.3.")) after.tensors.delete(name);
    },
    found: [
      "refutes tensor-missing | block 3 | has no model.layers.3.input_layernorm.weight, model.layers.3.mlp.down_proj.weight, model.layers.3.mlp.gate_proj.weight and 6 more",
    ],
  },
  {
    title: "an extra tensor",
    harm: (after) => after.tensors.set(at(2, "self_attn.o_proj.bias"), values("bias", "F32", [H])),
    found: [
      "refutes tensor-added | after | holds what BEFORE gives no reason for: model.layers.2.self_attn.o_proj.bias",
    ],
  },
  {
    title: "swapped originals",
    layout: [0, 2, 1, 2, 3],
    close: (inner, tensor) => (CLOSING.includes(inner) ? Buffer.alloc(tensor.data.length) : undefined),
    found: ["refutes block-order | block 1 | is BEFORE's block 2, but stands before BEFORE's block 1"],
    skipped: ["settings"],
  },
  {
    title: "a lost block",
    layout: [0, 1, 3, 3],
    found: ["refutes block-missing | BEFORE's block 2 | is not among the 4 blocks of AFTER"],
    skipped: ["settings"],
  },
  {
    title: "a block from elsewhere",
    layout: [0, 1, 1, 2, 3],
    close: (inner, tensor) => values(`elsewhere ${inner}`, tensor.dtype, tensor.shape).data,
    found: ["refutes block-unknown | block 2 | is neither a block of BEFORE nor a closed copy of one"],
    skipped: ["settings"],
  },
  {
    title: "a wrong block count",
    harm: (after) => setting(after, "num_hidden_layers", 4),
    found: ["refutes setting-stale | config.json: num_hidden_layers | expected 6, found 4"],
  },
  {
    title: "a changed setting",
    harm: (after) => setting(after, "rms_norm_eps", 1e-6),
    found: ["refutes setting-changed | config.json: rms_norm_eps | expected 0.00001, found 0.000001"],
  },
  {
    title: "an added setting",
    harm: (after) => setting(after, "attention_bias", true),
    found: ["refutes setting-changed | config.json: attention_bias | expected nothing, found true"],
  },
  {
    title: "a cast tensor",
    harm: (after) => after.tensors.set("lm_head.weight", values("lm_head.weight", "BF16", [10, H])),
    found: ["refutes dtype-changed | outside the blocks | expected F32, found BF16 (lm_head.weight)"],
  },
  {
    title: "a reshaped tensor",
    harm: (after) =>
      after.tensors.set(at(0, "mlp.up_proj.weight"), { ...raw(after, at(0, "mlp.up_proj.weight")), shape: [H, 16] }),
    found: [
      "refutes shape-changed | block 0 | expected shape [16, 8], found [8, 16] (model.layers.0.mlp.up_proj.weight)",
    ],
  },
  {
    title: "minus zero",
    harm: (after) => raw(after, at(2, "mlp.down_proj.weight")).data.writeFloatLE(-0, 8),
    found: ["info negative-zero | block 2, mlp branch | model.layers.2.mlp.down_proj.weight holds -0"],
    verdict: "identity",
  },
  {
    title: "a lost tokenizer",
    harm: (after) => after.assets.delete("tokenizer.json"),
    found: ["warns asset-missing | tokenizer.json | is in BEFORE and not in AFTER"],
    verdict: "identity",
  },
  {
    title: "a changed tokenizer",
    harm: (after) => after.assets.set("tokenizer.json", "[]"),
    found: ["warns asset-changed | tokenizer.json | differs from BEFORE's from byte 0 on"],
    verdict: "identity",
  },
  {
    title: "a tokenizer of another size",
    harm: (after) => after.assets.set("tokenizer.json", "[1]"),
    found: ["warns asset-changed | tokenizer.json | expected 2 bytes, found 3"],
    verdict: "identity",
  },
  {
    title: "another name",
    harm: (after) => setting(after, "_name_or_path", "other"),
    found: ['info label-changed | config.json: _name_or_path | was "tiny", is "other"'],
    verdict: "identity",
  },
  {
    title: "a dtype under its new name",
    harm: (after) => {
      const { torch_dtype, ...rest } = after.documents.get("config.json") ?? {};
      after.documents.set("config.json", { ...rest, dtype: torch_dtype ?? null });
    },
    found: [],
    verdict: "identity",
  },
  {
    title: "lost settings",
    harm: (after) => after.documents.delete("config.json"),
    found: [
      "leaves-open settings-missing | config.json | is in BEFORE and not in AFTER, so nothing says what AFTER computes",
    ],
    verdict: "inconclusive",
  },
];

for (const { title, layout, close, harm, found, verdict, skipped } of SABOTAGE) {
  t.test(`${title} is found, and nothing else`, async (t) => {
    const after = expanded(llama(), layout ?? LAYOUT, close);
    harm?.(after);
    const report = await verified(llama(), after);
    t.strictSame(told(report), found);
    t.equal(report.verdict, verdict ?? "not-identity");
    t.strictSame(report.skipped, skipped ?? []);
  });
}
