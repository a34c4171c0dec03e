// The structural verifier, tested by sabotage: each fault is found by its own finding and by no other.
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import type { ConfigEdit } from "../src/architecture/architecture.ts";
import type { Checkpoint, Config, Format } from "../src/checkpoint/checkpoint.ts";
import { encodeGgufArray, encodeGgufEntry, type GgufEntry } from "../src/checkpoint/gguf-metadata.ts";
import { ExpandError } from "../src/errors.ts";
import { finish, type RunEvent } from "../src/events.ts";
import { JsonDocument, type JsonValue } from "../src/json.ts";
import { byteLength, type Dtype } from "../src/tensor/dtype.ts";
import { filled, type TensorRef } from "../src/tensor/reference.ts";
import { type ByteSource, fileSource, memorySource } from "../src/tensor/source.ts";
import { Comparison } from "../src/verification/comparison.ts";
import { githubAnnotations, githubSummary } from "../src/verification/report/github.ts";
import { junitText } from "../src/verification/report/junit.ts";
import { markdownText } from "../src/verification/report/markdown.ts";
import { terminalText } from "../src/verification/report/terminal.ts";
import { type Finding, type VerificationReport, verdictOf } from "../src/verification/report.ts";
import { compareSettings } from "../src/verification/settings.ts";
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

/** Values that depend on the name, so that no tensor can pass for another: small finite floats, repeated after 4 KiB. */
function values(name: string, dtype: Dtype, shape: readonly number[]): Raw {
  const data = Buffer.alloc(byteLength(dtype, shape) ?? 0);
  const width = dtype === "F32" ? 4 : 2;
  const tile = Buffer.alloc(Math.min(4096, Math.ceil(data.length / width) * width));
  let digest = createHash("sha256").update(name).digest();
  for (let at = 0; at < tile.length; at += width) {
    if (at % 64 === 0) digest = createHash("sha256").update(digest).digest();
    const value = Buffer.alloc(4);
    value.writeFloatLE(((digest[(at / width) % 32] ?? 0) + 1) / 512);
    value.copy(tile, at, 4 - width);
  }
  return { dtype, shape, data: data.fill(tile) };
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
    title: "a 2 in a zeroed tensor",
    harm: (after) => raw(after, at(2, "mlp.down_proj.weight")).data.writeFloatLE(2, 508),
    found: [
      "refutes copy-not-closed | block 2, mlp branch | model.layers.2.mlp.down_proj.weight does not hold 0 everywhere: it differs in 1 of 512 bytes, the first at byte 511 (element 127 is 2)",
    ],
  },
  {
    title: "an original with a zeroed projection",
    layout: [0, 1, 2, 3],
    harm: (after) => raw(after, at(1, "self_attn.o_proj.weight")).data.fill(0),
    found: [
      "refutes original-differs | model.layers.1.self_attn.o_proj.weight | differs from BEFORE's in 126 of 256 bytes, the first at byte 2 (element 0 is 0)",
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
    close: (inner, tensor) =>
      inner.includes("norm") ? undefined : values(`elsewhere ${inner}`, tensor.dtype, tensor.shape).data,
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

t.test("two experts of a copy that are not zero are both named, and no other", async (t) => {
  const experts = (inner: string): boolean => /experts\.\d\.w2\.weight$/.test(inner);
  const before = mixtral();
  const zero = (inner: string, each: Raw): Buffer | undefined =>
    inner === "self_attn.o_proj.weight" || experts(inner) ? Buffer.alloc(each.data.length) : undefined;
  const whole = expanded(before, LAYOUT, zero);
  t.equal((await verified(before, whole)).verdict, "identity");
  const name = (expert: number): string => at(2, `block_sparse_moe.experts.${expert}.w2.weight`);
  for (const expert of [0, 2]) raw(whole, name(expert)).data.writeFloatLE(1, 4);
  const report = await verified(before, whole);
  t.strictSame(told(report), [
    `refutes copy-not-closed | block 2, moe branch | ${name(0)} does not hold 0 everywhere: it differs in 2 of 512 bytes, the first at byte 6 (element 1 is 1); neither does ${name(2)}`,
  ]);
  t.strictSame(report.findings[0]?.tensors, [name(0), name(2)]);
});

t.test("a mixture of experts with only its attention closed is not identity", async (t) => {
  const before = mixtral();
  const report = await verified(
    before,
    expanded(before, [0, 1, 1, 2, 3], (inner, each) =>
      inner === "self_attn.o_proj.weight" ? Buffer.alloc(each.data.length) : undefined,
    ),
  );
  t.strictSame(
    report.findings.map((each) => [each.code, each.at, each.tensors]),
    [
      [
        "copy-not-closed",
        "block 2, moe branch",
        [0, 1, 2].map((expert) => at(2, `block_sparse_moe.experts.${expert}.w2.weight`)),
      ],
    ],
  );
});

function mixtral(): Model {
  const shapes: Record<string, readonly number[]> = { "block_sparse_moe.gate.weight": [3, H] };
  for (const [inner, shape] of Object.entries(BLOCK)) if (!inner.startsWith("mlp.")) shapes[inner] = shape;
  for (const expert of [0, 1, 2]) {
    for (const part of ["w1", "w2", "w3"]) {
      shapes[`block_sparse_moe.experts.${expert}.${part}.weight`] = part === "w2" ? [H, 16] : [16, H];
    }
  }
  return model({ ...LLAMA, model_type: "mixtral", num_local_experts: 3, num_experts_per_tok: 2 }, 4, shapes);
}

t.test("a restored bias is found by its name", async (t) => {
  const before = model({ ...LLAMA, mlp_bias: true }, 4, {
    ...BLOCK,
    "mlp.down_proj.bias": [H],
    "mlp.gate_proj.bias": [16],
    "mlp.up_proj.bias": [16],
  });
  const report = await verified(before, expanded(before, [0, 1, 1, 2, 3]));
  t.strictSame(told(report), [
    "refutes copy-not-closed | block 2, mlp branch | model.layers.2.mlp.down_proj.bias does not hold 0 everywhere: it differs in 16 of 32 bytes, the first at byte 2 (element 0 is 0.25)",
  ]);
});

const GEMMA = {
  ...LLAMA,
  model_type: "gemma2",
  layer_types: ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
  sliding_window: 4,
};
const GAINS = ["post_attention_layernorm.weight", "post_feedforward_layernorm.weight"];

function gemma(): Model {
  return model(
    GEMMA,
    4,
    { ...BLOCK, "pre_feedforward_layernorm.weight": [H], "post_feedforward_layernorm.weight": [H] },
    "BF16",
  );
}

/** -1 in bfloat16: a gain of 1+w is then 0. */
const minusOnes = (each: Raw): Buffer => Buffer.alloc(each.data.length, Buffer.from([0x80, 0xbf]));
const byGain = (inner: string, each: Raw): Buffer | undefined => (GAINS.includes(inner) ? minusOnes(each) : undefined);

/** Block types as they stand at the new places. */
function gemmaExpanded(before: Model, layout: readonly number[], close: Parameters<typeof expanded>[2]): Model {
  const made = expanded(before, layout, close);
  setting(
    made,
    "layer_types",
    layout.map((from) => GEMMA.layer_types[from] ?? ""),
  );
  return made;
}
const PERIOD = [0, 1, 0, 1, 2, 3];

t.test("a branch behind a norm may be closed by its gain or by its projection, and by one of them only", async (t) => {
  const zeros = (each: Raw): Buffer => Buffer.alloc(each.data.length);
  const gains = await verified(gemma(), gemmaExpanded(gemma(), PERIOD, byGain));
  t.strictSame(told(gains), []);
  t.equal(gains.verdict, "identity");
  t.strictSame(
    gains.blocks[2]?.closed?.map((each) => each.factor),
    ["norm-gain", "norm-gain"],
  );
  const projections = await verified(
    gemma(),
    gemmaExpanded(gemma(), PERIOD, (inner, each) => (CLOSING.includes(inner) ? zeros(each) : undefined)),
  );
  t.strictSame(told(projections), []);
  t.strictSame(
    projections.blocks[2]?.closed?.map((each) => each.factor),
    ["projection", "projection"],
  );
  const both = await verified(
    gemma(),
    gemmaExpanded(gemma(), PERIOD, (inner, each) => (inner === CLOSING[0] ? zeros(each) : byGain(inner, each))),
  );
  t.strictSame(
    told(both),
    [2, 3].map(
      (block) =>
        `refutes copy-dead | block ${block}, attention branch | its projection (model.layers.${block}.self_attn.o_proj.weight) and its norm-gain (model.layers.${block}.post_attention_layernorm.weight) are both closed: the branch adds 0, and can never learn to add anything else`,
    ),
  );
  t.equal(both.verdict, "not-identity");
  t.strictSame(
    both.blocks[2]?.closed?.map((each) => each.factor),
    ["norm-gain", "norm-gain"],
    "the preferred factor counts as the one that closes",
  );
});

t.test("a gain of 0 does not close a norm that multiplies by 1+w", async (t) => {
  const report = await verified(
    gemma(),
    gemmaExpanded(gemma(), PERIOD, (inner, each) =>
      GAINS.includes(inner) ? Buffer.alloc(each.data.length) : undefined,
    ),
  );
  t.equal(report.verdict, "not-identity");
  t.equal(
    told(report)[0],
    "refutes copy-not-closed | block 2, attention branch | model.layers.2.post_attention_layernorm.weight does not hold -1 everywhere: it differs in 16 of 16 bytes, the first at byte 0 (element 0 is 0)",
  );
});

t.test("a block that was dead before is a warning, one that a copy kills is a refutation", async (t) => {
  const before = gemma();
  for (const inner of CLOSING) raw(before, at(1, inner)).data.fill(0);
  const killed = await verified(before, gemmaExpanded(before, PERIOD, byGain));
  t.strictSame(
    killed.findings.map((each) => [each.severity, each.code, each.block]),
    [
      ["refutes", "copy-dead", 3],
      ["refutes", "copy-dead", 3],
    ],
  );
  for (const inner of GAINS) raw(before, at(1, inner)).data.set(minusOnes(raw(before, at(1, inner))));
  const dead = await verified(before, gemmaExpanded(before, PERIOD, byGain));
  t.strictSame(
    dead.findings.map((each) => [each.severity, each.code, each.block]),
    [
      ["warns", "copy-dead", 3],
      ["warns", "copy-dead", 3],
    ],
  );
  t.match(dead.findings[0]?.message, /its source block cannot either$/);
  t.equal(dead.verdict, "identity");
});

t.test("a stale per-block list is found, and nothing else", async (t) => {
  const report = await verified(gemma(), expanded(gemma(), PERIOD, byGain));
  t.strictSame(told(report), [
    'refutes setting-stale | config.json: layer_types | expected ["sliding_attention","full_attention","sliding_attention","full_attention","slid... (6 entries), found ["sliding_attention","full_attention","sliding_attention","full_attention"] (4 entries)',
  ]);
});

t.test("a layout that shifts the pattern is identity only where readers follow the list, which is said", async (t) => {
  const report = await verified(gemma(), gemmaExpanded(gemma(), [0, 1, 1, 2, 3], byGain));
  t.equal(report.verdict, "identity");
  t.ok(report.findings.length > 0);
  t.ok(report.findings.every((each) => each.code === "reader-differs" && each.severity === "warns"));
});

t.test("an expanded checkpoint can be expanded again, copies of copies included", async (t) => {
  const once = expanded(llama(), LAYOUT);
  const same = await verified(once, clone(once));
  t.equal(same.verdict, "identity");
  t.equal(kinds(same), "o0 o1 o2 o3 o4 o5");
  const twice = await verified(once, expanded(once, [0, 1, 2, 2, 3, 4, 5]));
  t.strictSame(told(twice), []);
  t.equal(kinds(twice), "o0 o1 o2 c2 o3 o4 o5");
});

t.test("two source blocks that samples cannot tell apart are told apart by all their bytes", async (t) => {
  const wide = { ...BLOCK, "self_attn.q_proj.weight": [512, H] as const };
  const before = model({ ...LLAMA, num_attention_heads: 128, head_dim: 4 }, 4, wide);
  for (const inner of Object.keys(wide)) raw(before, at(2, inner)).data.set(raw(before, at(1, inner)).data);
  raw(before, at(2, "self_attn.q_proj.weight")).data.writeFloatLE(9, 0);
  const report = await verified(before, expanded(before, [0, 1, 2, 3, 1, 2]));
  t.strictSame(told(report), []);
  t.equal(kinds(report), "o0 o1 o2 o3 c1 c2");
});

t.test(
  "the output of a script that casts to fp16 and writes no settings keeps its layout and loses its proof",
  async (t) => {
    const after = expanded(llama(), LAYOUT);
    for (const [name, each] of after.tensors) {
      const zero = each.data.every((byte) => byte === 0);
      const cast = values(name, "F16", each.shape);
      after.tensors.set(name, zero ? { ...cast, data: Buffer.alloc(cast.data.length) } : cast);
    }
    after.documents.delete("config.json");
    const report = await finish(verifyStructure(opened(llama(), "before"), opened(after, "after", undefined, "torch")));
    t.equal(kinds(report), "o0 o1 c1 o2 o3 c3");
    t.equal(report.verdict, "not-identity");
    t.strictSame(
      report.findings.map((each) => `${each.code} ${each.at} ${each.tensors?.length ?? ""}`),
      [
        "dtype-changed blocks 0, 1, 2 and 3 more 54",
        "dtype-changed outside the blocks 3",
        "settings-missing config.json ",
      ],
    );
    t.match(
      report.findings[0]?.message,
      /^54 tensors are not as in BEFORE, the first: expected F32, found F16 \(.+ and 6 more\)$/,
      "what all blocks have in common is said once",
    );
    t.strictSame(report.blocks[5]?.closed?.length, 2);
  },
);

function gguf(
  layout: readonly number[] = [0, 1, 2, 3],
  family = "llama",
): { raws: Map<string, Raw>; entries: Map<string, GgufEntry> } {
  const raws = new Map<string, Raw>([["token_embd.weight", values("token_embd.weight", "F32", [10, 32])]]);
  const placed = new Set<number>();
  const tail = family === "glm4" ? 1 : 0;
  const blocks = tail === 0 ? layout : [...layout, 4];
  for (const [index, from] of blocks.entries()) {
    const stems = from === 4 ? [...GGUF_STEMS, ...GGUF_TAIL] : GGUF_STEMS;
    for (const stem of stems) {
      const norm = stem.endsWith("norm");
      const made = values(`blk.${from}.${stem}`, norm ? "F32" : "Q8_0", norm ? [32] : [4, 32]);
      const close = placed.has(from) && (stem === "attn_output" || stem === "ffn_down");
      raws.set(`blk.${index}.${stem}.weight`, close ? { ...made, data: Buffer.alloc(made.data.length) } : made);
    }
    placed.add(from);
  }
  raws.set("output_norm.weight", values("output_norm.weight", "F32", [32]));
  const entries = [
    encodeGgufEntry("general.architecture", "string", family),
    encodeGgufEntry("general.name", "string", "tiny"),
    encodeGgufEntry(`${family}.block_count`, "u32", blocks.length),
    encodeGgufEntry(`${family}.embedding_length`, "u32", 32),
    encodeGgufEntry(`${family}.attention.head_count`, "u32", 4),
    encodeGgufArray(
      `${family}.attention.head_count_kv`,
      "u32",
      blocks.map((from) => (from % 2 === 0 ? 2 : 1)),
    ),
    encodeGgufArray(`${family}.rope.dimension_sections`, "u32", [1, 1, 1, 1]),
    ...(tail === 0 ? [] : [encodeGgufEntry(`${family}.nextn_predict_layers`, "u32", tail)]),
  ];
  return { raws, entries: new Map(entries.map((entry) => [entry.key, entry])) };
}
const GGUF_STEMS = [
  "attn_norm",
  "attn_q",
  "attn_k",
  "attn_v",
  "attn_output",
  "ffn_norm",
  "ffn_gate",
  "ffn_up",
  "ffn_down",
];
const GGUF_TAIL = ["nextn.eh_proj", "nextn.enorm", "nextn.hnorm"];

function openedGguf(made: ReturnType<typeof gguf>, location: string, bigEndian = false): Checkpoint {
  const metadata = { version: 3, bigEndian, alignment: 32, entries: made.entries };
  return assemble(made.raws, { dialect: "gguf", metadata }, location, "gguf");
}

async function verifiedGguf(
  before: ReturnType<typeof gguf>,
  after: ReturnType<typeof gguf>,
): Promise<VerificationReport> {
  return finish(verifyStructure(openedGguf(before, "before"), openedGguf(after, "after")));
}

t.test("a GGUF expansion is found in quantized tensors and per-block arrays", async (t) => {
  const report = await verifiedGguf(gguf(), gguf([0, 1, 1, 2, 3, 3]));
  t.strictSame(told(report), []);
  t.equal(report.verdict, "identity");
  t.equal(kinds(report), "o0 o1 c1 o2 o3 c3");
});

t.test("multi-token-prediction blocks stay last and are compared", async (t) => {
  const [before, after] = [gguf([0, 1, 2, 3], "glm4"), gguf([0, 1, 1, 2, 3], "glm4")];
  const report = await verifiedGguf(before, after);
  t.strictSame(told(report), []);
  t.equal(kinds(report), "o0 o1 c1 o2 o3");
  after.raws.get("blk.5.nextn.enorm.weight")?.data.writeFloatLE(2, 8);
  after.raws.delete("blk.5.nextn.hnorm.weight");
  t.strictSame(told(await verifiedGguf(before, after)), [
    "refutes tensor-missing | block 5, after the stack | has no blk.5.nextn.hnorm.weight",
    "refutes original-differs | blk.5.nextn.enorm.weight | differs from BEFORE's blk.4.nextn.enorm.weight in 2 of 128 bytes, the first at byte 10 (element 2 is 2)",
  ]);
});

t.test("GGUF metadata must be as it was, but for what the layout demands", async (t) => {
  const set = (entry: GgufEntry) => (after: ReturnType<typeof gguf>) => void after.entries.set(entry.key, entry);
  for (const [title, harm, found] of [
    [
      "a stale array",
      set(encodeGgufArray("llama.attention.head_count_kv", "u32", [2, 1, 2, 1])),
      "refutes setting-stale | llama.attention.head_count_kv | expected [2,1,1,2,1,1] (6 entries), found [2,1,2,1] (4 entries) (array of u32)",
    ],
    [
      "a stale count",
      set(encodeGgufEntry("llama.block_count", "u32", 4)),
      "refutes setting-stale | llama.block_count | expected 6, found 4 (u32)",
    ],
    [
      "a count of another type",
      set(encodeGgufEntry("llama.block_count", "u64", 6)),
      "refutes setting-stale | llama.block_count | expected 6, found 6 (u64)",
    ],
    [
      "a changed array",
      set(encodeGgufArray("llama.rope.dimension_sections", "u32", [1, 1, 1, 2])),
      "refutes setting-changed | llama.rope.dimension_sections | expected [1,1,1,1] (4 entries) (array of u32), found [1,1,1,2] (4 entries) (array of u32)",
    ],
    [
      "a lost key",
      (after: ReturnType<typeof gguf>) => void after.entries.delete("llama.attention.head_count"),
      "refutes setting-changed | llama.attention.head_count | expected 4 (u32), found nothing",
    ],
    [
      "a new name",
      set(encodeGgufEntry("general.name", "string", "big")),
      'info label-changed | general.name | was "tiny" (string), is "big" (string)',
    ],
    ["numbered parts", set(encodeGgufEntry("split.count", "u16", 2)), undefined],
  ] as const) {
    const after = gguf([0, 1, 1, 2, 3, 3]);
    harm(after);
    t.strictSame(told(await verifiedGguf(gguf(), after)), found === undefined ? [] : [found], title);
  }
});

t.test("one bit of a quantized zero is not zero", async (t) => {
  const after = gguf([0, 1, 1, 2, 3]);
  after.raws.get("blk.2.ffn_down.weight")?.data.writeUInt8(0x80, 33);
  t.strictSame(told(await verifiedGguf(gguf(), after)), [
    "refutes copy-not-closed | block 2, mlp branch | blk.2.ffn_down.weight does not hold 0 everywhere: it differs in 1 of 136 bytes, the first at byte 33",
  ]);
});

t.test("what cannot be compared by bytes is inconclusive, with the reason", async (t) => {
  const strange = llama();
  setting(strange, "model_type", "strange");
  for (const [before, after, reason] of [
    [
      opened(llama(), "a"),
      openedGguf(gguf(), "b"),
      "BEFORE is safetensors and AFTER is gguf: their tensors have other names and bytes, so only numbers can be compared (--mode numbers)",
    ],
    [
      openedGguf(gguf(), "a"),
      openedGguf(gguf(), "b", true),
      "BEFORE and AFTER store their values in different byte orders, so only numbers can be compared",
    ],
    [opened(strange, "a"), opened(llama(), "b"), /^BEFORE is not understood: .*strange/],
  ] as const) {
    const report = await finish(verifyStructure(before, after));
    t.equal(report.verdict, "inconclusive");
    t.match(report.reason, reason);
    t.strictSame([report.blocks, report.findings, report.bytesCompared], [[], [], 0]);
  }
});

t.test("a layout that changes what an original computes is refuted in the architecture's own words", async (t) => {
  const report = await verifiedGguf(gguf([0, 1, 2, 3], "smollm3"), gguf([0, 1, 1, 2, 3], "smollm3"));
  t.equal(report.verdict, "not-identity");
  t.strictSame(
    report.findings.map((each) => [each.code, each.at]),
    [["placement-unsafe", "after"]],
  );
  t.match(report.findings[0]?.message, /^smollm3: /);
});

t.test("a stack that BEFORE does not have is an error of the caller", async (t) => {
  const run = finish(verifyStructure(opened(llama(), "a"), opened(llama(), "b"), { stack: "vision" }));
  const error = await run.catch((caught: unknown) => caught);
  t.ok(error instanceof ExpandError && error.tag === "usage");
});

t.test("code that the model brings along leaves the verdict open when it changed", async (t) => {
  const before = model({ ...LLAMA, auto_map: { AutoModel: "modeling_tiny.Tiny" } }, 4);
  before.assets.set("modeling_tiny.py", "pass");
  const after = expanded(before, LAYOUT);
  t.equal((await verified(before, after)).verdict, "identity");
  after.assets.set("modeling_tiny.py", "fail");
  const report = await verified(before, after);
  t.equal(report.verdict, "inconclusive");
  t.equal(report.reason, "modeling_tiny.py differs from BEFORE's from byte 0 on");
});

t.test("what sentence-transformers computes behind the model must be the same", async (t) => {
  const before = llama();
  before.assets.set("2_Dense/model.safetensors", "a").set("1_Pooling/config.json", "{}");
  const after = expanded(before, LAYOUT);
  t.equal((await verified(before, after)).verdict, "identity");
  after.assets.set("2_Dense/model.safetensors", "b").delete("1_Pooling/config.json");
  t.strictSame(told(await verified(before, after)), [
    "refutes asset-changed | 2_Dense/model.safetensors | differs from BEFORE's from byte 0 on",
    "refutes asset-missing | 1_Pooling/config.json | is in BEFORE and not in AFTER",
  ]);
});

t.test("a name with an absurd block number is a stray tensor, not a million lost blocks", async (t) => {
  const after = expanded(llama(), LAYOUT);
  const name = at(999_999, "mlp.up_proj.weight");
  after.tensors.set(name, raw(after, at(0, "mlp.up_proj.weight")));
  t.strictSame(told(await verified(llama(), after)), [
    `refutes tensor-added | after | holds what BEFORE gives no reason for: ${name}`,
  ]);
});

t.test("of two stacks the one that grew is the one that is checked", async (t) => {
  const attention = (layer: number, name: string): readonly string[] =>
    ["q", "k", "v", "o"].map((part) => `layer.${layer}.${name}.${part}.weight`);
  const dense = (layer: number): readonly string[] =>
    ["wi", "wo"].map((part) => `layer.${layer}.DenseReluDense.${part}.weight`);
  const stacks = {
    encoder: [...attention(0, "SelfAttention"), ...dense(1)],
    decoder: [...attention(0, "SelfAttention"), ...attention(1, "EncDecAttention"), ...dense(2)],
  };
  const build = (encoder: readonly number[], decoder: readonly number[]): Model => {
    const tensors = new Map([["shared.weight", values("shared", "F32", [10, H])]]);
    for (const [stack, layout] of [
      ["encoder", encoder],
      ["decoder", decoder],
    ] as const) {
      for (const [index, from] of layout.entries()) {
        const norms = stacks[stack].map((name) => `${name.split(".").slice(0, 2).join(".")}.layer_norm.weight`);
        const bias = from === 0 ? ["layer.0.SelfAttention.relative_attention_bias.weight"] : [];
        for (const inner of new Set([...stacks[stack], ...norms, ...bias])) {
          const made = values(`${stack}.${from}.${inner}`, "F32", inner.includes("norm") ? [H] : [H, H]);
          const close = layout.indexOf(from) < index && /\.(?:o|wo)\.weight$/.test(inner);
          tensors.set(
            `${stack}.block.${index}.${inner}`,
            close ? { ...made, data: Buffer.alloc(made.data.length) } : made,
          );
        }
      }
      tensors.set(`${stack}.final_layer_norm.weight`, values(stack, "F32", [H]));
    }
    const config = { model_type: "t5", d_model: H, num_layers: encoder.length, num_decoder_layers: decoder.length };
    return { tensors, documents: new Map([["config.json", config]]), assets: new Map() };
  };
  for (const [stack, encoder, decoder] of [
    ["encoder", [0, 1, 1], [0, 1]],
    ["decoder", [0, 1], [0, 1, 1]],
  ] as const) {
    const report = await verified(build([0, 1], [0, 1]), build(encoder, decoder));
    t.strictSame(told(report), [], stack);
    t.equal(report.stack, stack);
    t.equal(kinds(report), "o0 o1 c1", stack);
  }
});

t.test("buffers that every reader computes may be lost", async (t) => {
  const before = model(LLAMA, 4, { ...BLOCK, "self_attn.rotary_emb.inv_freq": [2] });
  const after = expanded(before, [0, 1, 1, 2, 3]);
  for (const block of [0, 2]) after.tensors.delete(at(block, "self_attn.rotary_emb.inv_freq"));
  const report = await verified(before, after);
  t.strictSame(told(report), [
    "warns tensor-missing | block 0 | has no model.layers.0.self_attn.rotary_emb.inv_freq",
    "warns tensor-missing | block 2, a copy of block 1 | has no model.layers.2.self_attn.rotary_emb.inv_freq",
  ]);
  t.equal(report.verdict, "identity");
});

t.test("settings are compared as values, at any depth", (t) => {
  const config = (text: string, name = "config.json"): Config => ({
    dialect: "hf",
    documents: new Map([[name, JsonDocument.parse(name, text)]]),
  });
  const edit = (path: string, after: JsonValue | undefined): ConfigEdit => ({
    document: "config.json",
    path,
    ...(after === undefined ? {} : { after }),
  });
  for (const [before, after, edits, found] of [
    ['{"a": NaN, "b": 1e4}', '{"a": NaN, "b": 10000.0}', [], []],
    [
      '{"a": [1, [2]]}',
      '{"a": [1, [2], 3]}',
      [],
      ["setting-changed a expected [1,[2]] (2 entries), found [1,[2],3] (3 entries)"],
    ],
    [
      '{"a": [{"b": 1}]}',
      '{"a": [{"b": 1, "c": 2}]}',
      [],
      ['setting-changed a expected [{"b":1}] (1 entries), found [{"b":1,"c":2}] (1 entries)'],
    ],
    ['{"a": {"b": {"c": null}}}', '{"a": {"b": {}}}', [], ["setting-changed a.b.c expected null, found nothing"]],
    ['{"text": {"torch_dtype": "float16"}}', '{"text": {"dtype": "float16"}}', [], []],
    ['{"dtype": "float16"}', '{"dtype": "float32"}', [], ['setting-changed dtype expected "float16", found "float32"']],
    ['{"a": {"x.y": 1}}', '{"a": {"x.y": 2}}', [edit("a.x.y", 2)], []],
    ["{}", "{}", [edit("new", [1])], ["setting-stale new expected [1] (1 entries), found nothing"]],
    ['{"old": 1}', "{}", [edit("old", undefined)], []],
    ['{"old": 1}', '{"old": 1}', [edit("old", undefined)], ["setting-stale old expected nothing, found 1"]],
  ] as const) {
    const told = compareSettings(config(before), config(after), edits).map(
      (each) => `${each.code} ${each.at.replace("config.json: ", "")} ${each.message}`,
    );
    t.strictSame(told, found, `${before} ${after}`);
  }
  const generation = compareSettings(
    config('{"a": 1}', "generation_config.json"),
    config('{"a": 2}', "generation_config.json"),
    [],
  );
  t.strictSame(
    generation.map((each) => each.severity),
    ["warns"],
    "how to sample is not what to compute",
  );
  const gone = compareSettings(config("{}", "generation_config.json"), config("{}"), []);
  t.strictSame(
    gone.map((each) => `${each.severity} ${each.code} ${each.at}`),
    ["warns settings-missing generation_config.json", "info label-changed config.json"],
  );
  const metadata = (entry: GgufEntry): Config => ({
    dialect: "gguf",
    metadata: { version: 3, bigEndian: false, alignment: 32, entries: new Map([[entry.key, entry]]) },
  });
  const float = metadata(encodeGgufEntry("x.scale", "f32", 0.1));
  t.strictSame(compareSettings(float, float, [{ document: "metadata", path: "x.scale", after: 0.1 }]), []);
  t.end();
});

t.test("patterns of any length are compared in phase", async (t) => {
  const pattern = Uint8Array.of(1, 2, 3);
  const data = Buffer.alloc(600_000, pattern);
  const comparison = new Comparison(data.length, undefined);
  const tensor = (bytes: Buffer): TensorRef => ({
    kind: "stored",
    dtype: "U8",
    shape: [bytes.length],
    bytes: bytes.length,
    source: memorySource("pattern", bytes),
    offset: 0,
  });
  const compare = (bytes: Buffer) => finish(comparison.compare(tensor(bytes), filled(tensor(bytes), pattern)));
  t.strictSame(await compare(data), { negativeZero: false });
  data.writeUInt8(9, 599_999);
  t.strictSame((await compare(data)).difference?.first, 599_999);
});

/** Blocks of 3 MiB and a bit, so that every tensor takes several reads. */
function large(): Model {
  const shapes = Object.fromEntries(
    Object.entries(BLOCK).map(([inner, shape]) => [inner, shape.length === 1 ? shape : [...shape.slice(0, 1), H]]),
  );
  return model({ ...LLAMA, intermediate_size: 100_003 }, 2, {
    ...shapes,
    "mlp.up_proj.weight": [100_003, H],
    "mlp.gate_proj.weight": [100_003, H],
    "mlp.down_proj.weight": [H, 100_003],
  });
}

t.test("files are compared piece by piece: the last byte of a long tensor counts, and progress is told", async (t) => {
  const directory = t.testdir();
  const [before, after] = [large(), expanded(large(), [0, 1, 1])];
  const events: RunEvent[] = [];
  const source = opened(before, "before", directory);
  const whole = await finish(verifyStructure(source, opened(after, "after", directory)), (event) => events.push(event));
  t.strictSame(told(whole), []);
  t.equal(
    whole.bytesCompared,
    [...after.tensors.values()].reduce((sum, each) => sum + each.data.length, 2),
  );
  const done = events.flatMap((event) => (event.kind === "bytes" ? [event.done] : []));
  t.ok(
    done.length >= 1 && done.every((bytes, index) => bytes > (done[index - 1] ?? 0) && bytes <= whole.bytesCompared),
  );
  t.strictSame(
    events.flatMap((event) => (event.kind === "phase" ? [event.name] : [])),
    ["find blocks", "compare"],
  );
  const size = 100_003 * H * 4;
  raw(after, at(1, "mlp.up_proj.weight")).data.writeUInt8(0xff, size - 1);
  raw(after, at(2, "mlp.down_proj.weight")).data.writeUInt8(1, size - 2);
  const harmed = await finish(verifyStructure(source, opened(after, "harmed", directory)));
  t.strictSame(told(harmed), [
    `refutes original-differs | model.layers.1.mlp.up_proj.weight | differs from BEFORE's in 1 of ${size} bytes, the first at byte ${size - 1} (element 800023 is NaN)`,
    `refutes copy-not-closed | block 2, mlp branch | model.layers.2.mlp.down_proj.weight does not hold 0 everywhere: it differs in 1 of ${size} bytes, the first at byte ${size - 2} (element 800023 is 9.18355e-41)`,
  ]);
});

t.test("an abort stops the run, while blocks are sought and while they are compared", async (t) => {
  for (const [phase, before] of [
    ["find blocks", llama()],
    ["compare", large()],
  ] as const) {
    const abort = new AbortController();
    const run = verifyStructure(opened(before, "before"), opened(expanded(before, [0, 1, 1]), "after"), {
      signal: abort.signal,
    });
    const stop = (event: RunEvent): void => {
      if (event.kind === "phase" && event.name === phase) abort.abort();
    };
    const error = await finish(run, stop).catch((caught: unknown) => caught);
    t.ok(error instanceof ExpandError && error.tag === "interrupted", phase);
  }
});

/** Without what differs from run to run, and without fingerprints, which have tests of their own. */
function still(report: VerificationReport): VerificationReport {
  const headers = "0123456789abcdef".repeat(4);
  const { before, after } = report;
  return { ...report, seconds: 0.25, before: { ...before, headers }, after: { ...after, headers } };
}

/** Every severity but one, and a name that tries to break out of each text. */
async function harmedReport(): Promise<VerificationReport> {
  const after = expanded(llama(), LAYOUT);
  raw(after, "lm_head.weight").data.writeUInt8(0, 3);
  raw(after, at(2, "mlp.down_proj.weight")).data.writeFloatLE(-0, 8);
  after.tensors.set('evil|`<"&\n::error::%0A\u0000', values("evil", "F32", [1]));
  after.assets.delete("tokenizer.json");
  setting(after, "rms_norm_eps", 1e-6);
  const report = await finish(verifyStructure(opened(llama(), "models/before"), opened(after, "models/after")));
  return still(report);
}

async function lostReport(): Promise<VerificationReport> {
  const report = await finish(
    verifyStructure(opened(llama(), "before"), opened(expanded(llama(), [0, 3, 3]), "after")),
  );
  return still(report);
}

async function inconclusiveReport(): Promise<VerificationReport> {
  const report = await finish(verifyStructure(opened(llama(), "before"), openedGguf(gguf(), "after.gguf")));
  return still(report);
}

async function identityReport(): Promise<VerificationReport> {
  const report = await verified(llama(), expanded(llama(), LAYOUT));
  return still(report);
}

const EXPECTED = new URL("../fixtures/expected/", import.meta.url);

t.test("reports read the same wherever they are shown", async (t) => {
  const reports = {
    identity: await identityReport(),
    harmed: await harmedReport(),
    lost: await lostReport(),
    inconclusive: await inconclusiveReport(),
  };
  for (const [kind, render] of [
    ["terminal", terminalText],
    ["markdown", markdownText],
    ["junit", junitText],
    ["github", githubAnnotations],
  ] as const) {
    const text = Object.entries(reports)
      .map(([name, report]) => `=== ${name}\n${render(report)}\n`)
      .join("");
    const file = new URL(`verification-${kind}.txt`, EXPECTED);
    // Set UPDATE_EXPECTED=1 after a deliberate change, and read the difference before committing it.
    if (process.env.UPDATE_EXPECTED === "1") fs.writeFileSync(file, text);
    t.equal(text, fs.readFileSync(file, "utf8"), kind);
  }
  t.equal(githubSummary(reports.harmed), markdownText(reports.harmed));
});

t.test("a text shows twenty findings of each severity and counts the others", async (t) => {
  const report = await identityReport();
  const finding = (index: number): Finding => ({
    code: "original-differs",
    severity: "refutes",
    at: `tensor ${index}`,
    message: "differs",
    fix: "Write it again.",
  });
  const findings = Array.from({ length: 45 }, (_, index) => finding(index));
  const many = { ...report, findings, verdict: verdictOf(findings) };
  t.equal(many.verdict, "not-identity");
  t.match(terminalText(many), /tensor 19: differs[\s\S]*\nand 25 more; the JSON report has them all$/);
  t.notMatch(terminalText(many), /tensor 20:/);
  t.match(markdownText(many), /\nAnd 25 more; the JSON report has them all\.\n$/);
  t.equal(githubAnnotations(many).split("\n").length, 11);
  t.equal(junitText(many).match(/original-differs: tensor/g)?.length, 45);
});
