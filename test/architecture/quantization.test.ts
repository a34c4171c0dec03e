// Quantized Hugging Face checkpoints: what is stored for a weight, the bytes that make it 0, and skip lists that keep their meaning.
import t from "tap";
import type { ConfigEdit } from "../../src/architecture/architecture.ts";
import {
  type Quantization,
  quantizationOf,
  type StoredWeight,
} from "../../src/architecture/hf/quantization/quantization.ts";
import { type Layout, sourceIndex } from "../../src/architecture/layout.ts";
import type { Checkpoint } from "../../src/checkpoint/checkpoint.ts";
import { ExpandError } from "../../src/errors.ts";
import { JsonDocument, type JsonValue } from "../../src/json.ts";
import type { Dtype } from "../../src/tensor/dtype.ts";
import { memorySource } from "../../src/tensor/source.ts";
import { copiesOf, editsOf, understood } from "./hf-model.ts";

type Tensors = Readonly<Record<string, Dtype>>;

function checkpointOf(documents: Readonly<Record<string, JsonValue>>, tensors: Tensors): Checkpoint {
  const source = memorySource("model.safetensors", new Uint8Array(0));
  return {
    format: "safetensors",
    location: "model",
    config: {
      dialect: "hf",
      documents: new Map(
        Object.entries(documents).map(([name, value]) => [name, JsonDocument.parse(name, JSON.stringify(value))]),
      ),
    },
    tensors: new Map(
      Object.entries(tensors).map(([name, dtype]) => [
        name,
        { kind: "stored", dtype, shape: [0], bytes: 0, source, offset: 0 },
      ]),
    ),
    shards: [],
    assets: new Map(),
  };
}

const quantized = (config: JsonValue, tensors: Tensors): Quantization =>
  quantizationOf(checkpointOf({ "config.json": { quantization_config: config } }, tensors));

const MODULE = "model.layers.0.self_attn.o_proj";
const WEIGHT = `${MODULE}.weight`;
const EXPERTS = "model.layers.0.mlp.experts.down_proj";

/** The form of one weight, without the module's name. */
function storedOf(config: JsonValue, tensors: Tensors, weight = WEIGHT): StoredWeight | undefined {
  return quantized(config, tensors).stored(weight, (name) => name in tensors);
}

function caught(run: () => unknown): ExpandError {
  try {
    run();
  } catch (error) {
    if (error instanceof ExpandError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

const FORMS: readonly {
  readonly title: string;
  readonly config: JsonValue;
  readonly tensors: Tensors;
  readonly weight?: string;
  readonly zero: readonly [tensor: string, byte: number];
}[] = [
  {
    title: "GPTQ closes with scales 0 and leaves qzeros, qweight and g_idx",
    config: { quant_method: "gptq", bits: 4, checkpoint_format: "gptq" },
    tensors: {
      [`${MODULE}.qweight`]: "I32",
      [`${MODULE}.scales`]: "F16",
      [`${MODULE}.qzeros`]: "I32",
      [`${MODULE}.g_idx`]: "I32",
    },
    zero: [`${MODULE}.scales`, 0],
  },
  {
    title: "AWQ closes with scales 0",
    config: { quant_method: "awq", version: "gemm" },
    tensors: { [`${MODULE}.qweight`]: "I32", [`${MODULE}.scales`]: "F16", [`${MODULE}.qzeros`]: "I32" },
    zero: [`${MODULE}.scales`, 0],
  },
  {
    title: "AutoRound in auto_gptq packing is GPTQ",
    config: { quant_method: "auto-round", packing_format: "auto_round:auto_gptq" },
    tensors: { [`${MODULE}.qweight`]: "I32", [`${MODULE}.scales`]: "F16", [`${MODULE}.qzeros`]: "I32" },
    zero: [`${MODULE}.scales`, 0],
  },
  {
    title: "NF4 closes with code 7 in both halves of each byte",
    config: { quant_method: "bitsandbytes", load_in_4bit: true },
    tensors: {
      [WEIGHT]: "U8",
      [`${WEIGHT}.absmax`]: "U8",
      [`${WEIGHT}.quant_map`]: "F32",
      [`${WEIGHT}.nested_absmax`]: "F32",
      [`${WEIGHT}.nested_quant_map`]: "F32",
      [`${WEIGHT}.quant_state.bitsandbytes__nf4`]: "U8",
    },
    zero: [WEIGHT, 0x77],
  },
  {
    title: "NF4 packed into a bf16 storage type closes with the same bytes",
    config: { load_in_4bit: true, bnb_4bit_quant_storage: "bfloat16" },
    tensors: {
      [WEIGHT]: "BF16",
      [`${WEIGHT}.absmax`]: "F32",
      [`${WEIGHT}.quant_map`]: "F32",
      [`${WEIGHT}.quant_state.bitsandbytes__nf4`]: "U8",
    },
    zero: [WEIGHT, 0x77],
  },
  {
    title: "FP4 closes with 0x00",
    config: { quant_method: "bitsandbytes", load_in_4bit: true },
    tensors: {
      [WEIGHT]: "U8",
      [`${WEIGHT}.absmax`]: "F32",
      [`${WEIGHT}.quant_map`]: "F32",
      [`${WEIGHT}.quant_state.bitsandbytes__fp4`]: "U8",
    },
    zero: [WEIGHT, 0],
  },
  {
    title: "LLM.int8 closes with 0x00 and keeps SCB",
    config: { quant_method: "bitsandbytes", load_in_8bit: true },
    tensors: { [WEIGHT]: "I8", [`${MODULE}.SCB`]: "F32", [`${MODULE}.weight_format`]: "U8" },
    zero: [WEIGHT, 0],
  },
  {
    title: "fine-grained FP8 closes with 0x00 and keeps the scales",
    config: { quant_method: "fp8", weight_block_size: [128, 128] },
    tensors: { [WEIGHT]: "F8_E4M3", [`${WEIGHT}_scale_inv`]: "F32" },
    zero: [WEIGHT, 0],
  },
  {
    title: "fused FP8 experts have their scales behind an underscore",
    config: { quant_method: "fp8" },
    tensors: { [EXPERTS]: "F8_E4M3", [`${EXPERTS}_scale_inv`]: "F32" },
    weight: EXPERTS,
    zero: [EXPERTS, 0],
  },
  {
    title: "fbgemm FP8 closes with 0x00",
    config: { quant_method: "fbgemm_fp8" },
    tensors: { [WEIGHT]: "F8_E4M3", [`${WEIGHT}_scale`]: "F32", [`${MODULE}.input_scale_ub`]: "F32" },
    zero: [WEIGHT, 0],
  },
  {
    title: "compressed-tensors float closes with 0x00",
    config: { quant_method: "compressed-tensors", format: "float-quantized" },
    tensors: { [WEIGHT]: "F8_E4M3", [`${WEIGHT}_scale`]: "BF16", [`${MODULE}.input_scale`]: "BF16" },
    zero: [WEIGHT, 0],
  },
  {
    title: "compressed-tensors packed integers close with scale 0",
    config: { quant_method: "compressed-tensors", format: "pack-quantized" },
    tensors: {
      [`${WEIGHT}_packed`]: "I32",
      [`${WEIGHT}_scale`]: "BF16",
      [`${WEIGHT}_zero_point`]: "I32",
      [`${WEIGHT}_shape`]: "I64",
      [`${WEIGHT}_g_idx`]: "I32",
    },
    zero: [`${WEIGHT}_scale`, 0],
  },
  {
    title: "compressed-tensors 8-bit integers close with scale 0, whatever the zero point",
    config: { quant_method: "compressed-tensors", format: "int-quantized" },
    tensors: { [WEIGHT]: "I8", [`${WEIGHT}_scale`]: "BF16", [`${WEIGHT}_zero_point`]: "I8" },
    zero: [`${WEIGHT}_scale`, 0],
  },
  {
    title: "compressed-tensors NVFP4 closes with 0x00",
    config: { quant_method: "compressed-tensors", format: "nvfp4-pack-quantized" },
    tensors: {
      [`${WEIGHT}_packed`]: "U8",
      [`${WEIGHT}_scale`]: "F8_E4M3",
      [`${WEIGHT}_global_scale`]: "F32",
      [`${MODULE}.input_global_scale`]: "F32",
    },
    zero: [`${WEIGHT}_packed`, 0],
  },
  {
    title: "ModelOpt NVFP4 closes with 0x00",
    config: { quant_method: "modelopt", quant_algo: "NVFP4" },
    tensors: {
      [WEIGHT]: "U8",
      [`${WEIGHT}_scale`]: "F8_E4M3",
      [`${WEIGHT}_scale_2`]: "F32",
      [`${MODULE}.input_scale`]: "F32",
    },
    zero: [WEIGHT, 0],
  },
  {
    title: "ModelOpt FP8 closes with 0x00",
    config: { quant_method: "modelopt", quant_algo: "FP8" },
    tensors: { [WEIGHT]: "F8_E4M3", [`${WEIGHT}_scale`]: "F32", [`${MODULE}.input_scale`]: "F32" },
    zero: [WEIGHT, 0],
  },
  {
    title: "MXFP4 experts of gpt-oss close with blocks 0x00",
    config: { quant_method: "mxfp4" },
    tensors: { [`${EXPERTS}_blocks`]: "U8", [`${EXPERTS}_scales`]: "U8", [`${EXPERTS}_bias`]: "BF16" },
    weight: EXPERTS,
    zero: [`${EXPERTS}_blocks`, 0],
  },
  {
    title: "HQQ closes with scale 0",
    config: { quant_method: "hqq", quant_config: {}, skip_modules: ["lm_head"] },
    tensors: {
      [`${MODULE}.W_q`]: "U8",
      [`${MODULE}.scale`]: "F16",
      [`${MODULE}.zero`]: "F16",
      [`${MODULE}.nbits`]: "I32",
      [`${MODULE}.packing`]: "U8",
    },
    zero: [`${MODULE}.scale`, 0],
  },
  {
    title: "EETQ closes with weight_scales 0 and leaves the permuted weight",
    config: { quant_method: "eetq" },
    tensors: { [WEIGHT]: "I8", [`${WEIGHT}_scales`]: "F16" },
    zero: [`${WEIGHT}_scales`, 0],
  },
  {
    title: "BitNet closes with four codes 1 per byte",
    config: { quant_method: "bitnet" },
    tensors: { [WEIGHT]: "U8", [`${WEIGHT}_scale`]: "BF16" },
    zero: [WEIGHT, 0x55],
  },
  {
    title: "an unpacked BitNet weight closes with 0x00",
    config: { quant_method: "bitnet" },
    tensors: { [WEIGHT]: "BF16", [`${WEIGHT}_scale`]: "BF16" },
    zero: [WEIGHT, 0],
  },
];

for (const { title, config, tensors, weight = WEIGHT, zero } of FORMS) {
  t.test(title, async (t) => {
    const stored = storedOf(config, tensors, weight);
    const own = Object.keys(tensors).filter((name) => !/[._]bias$/.test(name));
    t.same([...(stored?.names ?? [])].sort(), own.sort());
    t.same(stored?.zero, [{ tensor: zero[0], pattern: Uint8Array.of(zero[1]), value: 0 }]);
  });
}

t.test("the bytes that close a weight decode to exactly 0 in each form", async (t) => {
  const values = (name: string): Uint8Array => {
    const form = FORMS.find(({ title }) => title.startsWith(name));
    const zero = form === undefined ? undefined : storedOf(form.config, form.tensors, form.weight)?.zero[0];
    return zero?.pattern ?? Uint8Array.of(0xff);
  };
  // bitsandbytes functional.py: the first half of a byte is its high nibble; w = table[code] * absmax.
  const nf4 = [-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635];
  nf4.push(
    -0.18477343022823334,
    -0.09105003625154495,
    0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
  );
  nf4.push(0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1);
  const [packed = 0] = values("NF4 closes");
  for (const code of [packed >> 4, packed & 15]) t.equal((nf4[code] ?? 1) * 3.5, 0);
  // bitsandbytes dDequantizeFP4: sign, then 3 bits; 000 is 0. E2M1 (NVFP4, MXFP4): the same code.
  const e2m1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6];
  for (const name of ["FP4", "compressed-tensors NVFP4", "ModelOpt NVFP4", "MXFP4"]) {
    const [byte = 0] = values(name);
    for (const code of [byte >> 4, byte & 15]) t.equal((code & 8 ? -1 : 1) * (e2m1[code & 7] ?? 1) * 448, 0, name);
  }
  // A zero point of any size, v1 (stored z - 1) or v2, times a scale of 0.
  const scale = (bytes: Uint8Array): number => (bytes.every((byte) => byte === 0) ? 0 : 1);
  for (const name of ["GPTQ", "AWQ", "compressed-tensors packed", "compressed-tensors 8-bit", "HQQ", "EETQ"]) {
    for (const q of [0, 7, 15])
      for (const z of [-1, 0, 8, 16]) t.equal(Math.abs((q - z) * scale(values(name))), 0, name);
  }
  // F8_E4M3, bits 0: exponent and mantissa 0, so 0 * 2^-6; INT8: 0 * SCB / 127.
  for (const name of ["fine-grained", "fbgemm", "compressed-tensors float", "ModelOpt FP8", "LLM.int8"]) {
    t.same(values(name), Uint8Array.of(0), name);
  }
  // transformers integrations/bitnet.py unpack_weights: 2 bits each, minus 1.
  const [bits = 0] = values("BitNet");
  for (const shift of [0, 2, 4, 6]) t.equal(((bits >> shift) & 3) - 1, 0);
});

t.test("a module on the skip list is stored plainly", async (t) => {
  for (const { config } of FORMS) t.equal(storedOf(config, { [WEIGHT]: "BF16" }), undefined);
  t.equal(storedOf({ quant_method: "fp8" }, {}), undefined);
});

t.test("a parameter of a module that is not a linear is no quantized weight", async (t) => {
  const tensors: Tensors = { "model.layers.0.mlp.router.scale": "BF16" };
  t.equal(storedOf({ quant_method: "fp8" }, tensors, "model.layers.0.mlp.router.weight"), undefined);
});

t.test("without quantization every weight is plain and there is nothing to edit", async (t) => {
  const quantization = quantizationOf(
    checkpointOf({ "config.json": { quantization_config: null } }, { [WEIGHT]: "F16" }),
  );
  t.equal(quantization.method, "none");
  t.equal(quantization.note, undefined);
  t.equal(
    quantization.stored(WEIGHT, () => true),
    undefined,
  );
  t.equal(quantization.attached("model.layers.0.self_attn.k_scale"), false);
  t.same(quantization.edits([], ["model.layers."]), []);
});

t.test(
  "scales of the key-value cache belong to the quantization, and the plan says that copies stay quantized",
  async (t) => {
    const quantization = quantized({ quant_method: "fp8" }, {});
    t.equal(quantization.attached("model.layers.0.self_attn.k_scale"), true);
    t.equal(quantization.attached("model.layers.0.self_attn.v_proj.v_scale"), true);
    t.equal(quantization.attached("model.layers.0.self_attn.o_proj.weight"), false);
    t.equal(
      quantization.note,
      "The weights are quantized (fp8). Copies stay quantized, so an optimizer cannot train their quantized weights directly: use LoRA on the copies, or dequantize first.",
    );
  },
);

t.test("a form that the method does not have is refused with the tensors' types", async (t) => {
  const cases: readonly [JsonValue, Tensors, string][] = [
    [
      { quant_method: "awq", version: "gemm" },
      { [`${MODULE}.qweight`]: "I16", [`${MODULE}.scales`]: "F16", [`${MODULE}.qzeros`]: "F16" },
      `${WEIGHT}: expected a form of awq or a plain weight, found ${MODULE}.qweight (I16), ${MODULE}.scales (F16)`,
    ],
    [
      { quant_method: "modelopt", quant_algo: "MIXED_PRECISION" },
      { [WEIGHT]: "U8", [`${WEIGHT}_scale`]: "BF16", [`${MODULE}.pre_quant_scale`]: "BF16" },
      `${WEIGHT}: expected a form of modelopt or a plain weight, found ${WEIGHT} (U8), ${WEIGHT}_scale (BF16)`,
    ],
    [
      { quant_method: "bitsandbytes", load_in_4bit: true },
      { [WEIGHT]: "U8", [`${WEIGHT}.absmax`]: "F32", [`${WEIGHT}.quant_map`]: "F32" },
      `${WEIGHT}: expected a form of bitsandbytes or a plain weight, found ${WEIGHT} (U8), ${WEIGHT}.absmax (F32), ${WEIGHT}.quant_map (F32)`,
    ],
    [
      null,
      { [WEIGHT]: "I8" },
      `${WEIGHT}: expected a floating-point weight, since no quantization is named, found ${WEIGHT} (I8)`,
    ],
  ];
  for (const [config, tensors, message] of cases) {
    const error = caught(() => storedOf(config, tensors));
    t.same([error.tag, error.message], ["unsupported", message]);
    t.equal(error.fix, "Expand the checkpoint it was quantized from, then quantize the result.");
  }
});

t.test("methods without an exact zero are refused by name", async (t) => {
  const cases: readonly [JsonValue, string][] = [
    [{ quant_method: "aqlm" }, "the weights are quantized with aqlm (codebooks), which has no exact zero here"],
    [
      { quant_method: "quark" },
      "the weights are quantized with quark (per-module schemes of its own), which has no exact zero here",
    ],
    [
      { quant_method: "torchao" },
      "the weights are quantized with torchao (serialized tensor subclasses), which has no exact zero here",
    ],
    [
      { quant_method: "gptq", checkpoint_format: "marlin" },
      'the weights are quantized with gptq (checkpoint_format "marlin"), which has no exact zero here',
    ],
    [
      { quant_method: "awq", version: "gemv_fast" },
      'the weights are quantized with awq (version "gemv_fast"), which has no exact zero here',
    ],
    [
      { quant_method: "auto-round", packing_format: "itrex" },
      'the weights are quantized with auto-round (packing_format "itrex"), which has no exact zero here',
    ],
    [
      { quant_method: "compressed-tensors", format: "marlin-24" },
      'the weights are quantized with compressed-tensors (format "marlin-24"), which has no exact zero here',
    ],
    [
      { quant_method: "compressed-tensors", format: "dense", sparsity_config: { format: "sparse-24-bitmask" } },
      'the weights are quantized with compressed-tensors (sparsity_config.format "sparse-24-bitmask"), which has no exact zero here',
    ],
    [{ quant_method: "brandnew" }, 'expected a known quant_method, found "brandnew"'],
  ];
  for (const [config, message] of cases) {
    const error = caught(() => quantized(config, {}));
    t.same([error.tag, error.message], ["unsupported", `config.json: ${message}`]);
    t.equal(error.fix, "Expand the checkpoint it was quantized from, then quantize the result.");
  }
  const names = [
    "vptq",
    "spqr",
    "higgs",
    "fp_quant",
    "quanto",
    "sinq",
    "metal",
    "fouroversix",
    "gemma",
    "nvfp4",
    "gguf",
  ];
  for (const name of names) t.equal(caught(() => quantized({ quant_method: name }, {})).tag, "unsupported", name);
});

t.test("settings that contradict each other or say nothing are refused", async (t) => {
  const cases: readonly [Readonly<Record<string, JsonValue>>, string, string | undefined][] = [
    [
      { "config.json": { quantization_config: { quant_method: "fp8" } }, "quantize_config.json": { bits: 4 } },
      'quantize_config.json: names the quantization "gptq", but config.json names "fp8"',
      "Remove the settings that do not describe the weights.",
    ],
    [
      { "config.json": { text_config: { quantization_config: { bits: 4 } } } },
      "config.json: has a text_config.quantization_config without a quant_method",
      "Add the quant_method that the weights were made with.",
    ],
    [
      { "config.json": { quantization_config: [4] } },
      "config.json: expected an object at quantization_config, found [4]",
      undefined,
    ],
  ];
  for (const [documents, message, fix] of cases) {
    const error = caught(() => quantizationOf(checkpointOf(documents, {})));
    t.same([error.message, error.fix], [message, fix]);
  }
});

t.test("every file that names a quantization is read", async (t) => {
  const cases: readonly [Readonly<Record<string, JsonValue>>, string][] = [
    [{ "config.json": { text_config: { quantization_config: { quant_method: "FP8" } } } }, "fp8"],
    [{ "config.json": { compression_config: { format: "pack-quantized" } } }, "compressed-tensors"],
    [{ "config.json": {}, "hf_quant_config.json": { quantization: { quant_algo: "NVFP4" } } }, "modelopt"],
    [{ "config.json": {}, "quantize_config.json": { bits: 4, group_size: 128 } }, "gptq"],
    [{ "config.json": {}, "quant_config.json": { w_bit: 4, version: "GEMM" } }, "awq"],
    [{ "config.json": { quantization_config: { load_in_8bit: true } } }, "bitsandbytes"],
    [{ "config.json": {} }, "none"],
  ];
  for (const [documents, method] of cases) t.equal(quantizationOf(checkpointOf(documents, {})).method, method);
});

/** `blocks` originals; `after` names the blocks that are followed by a copy of themselves. */
function layoutOf(blocks: number, ...after: readonly number[]): Layout {
  return Array.from({ length: blocks }, (_, from) => from).flatMap((from) => [
    { kind: "original" as const, from: sourceIndex(from) },
    ...(after.includes(from) ? [{ kind: "copy" as const, from: sourceIndex(from) }] : []),
  ]);
}

const LINEARS = ["self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj"];

/** FP8 tensors of a Llama with these plain modules. */
function llama(blocks: number, plain: readonly string[], prefix = "model.layers."): Tensors {
  const tensors: Record<string, Dtype> = { "model.embed_tokens.weight": "BF16", "lm_head.weight": "BF16" };
  for (let i = 0; i < blocks; i++) {
    tensors[`${prefix}${i}.input_layernorm.weight`] = "BF16";
    for (const linear of LINEARS) {
      const module = `${prefix}${i}.${linear}`;
      const isPlain = plain.some((name) => module === name || module.startsWith(`${name}.`));
      tensors[`${module}.weight`] = isPlain ? "BF16" : "F8_E4M3";
      if (!isPlain) tensors[`${module}.weight_scale_inv`] = "F32";
    }
  }
  return tensors;
}

function listEdit(
  config: { readonly [key: string]: JsonValue },
  tensors: Tensors,
  layout: Layout,
  prefixes: readonly string[] = ["model.layers."],
): readonly ConfigEdit[] {
  return quantized(config, tensors).edits(layout, prefixes);
}

t.test("entries without a block number stay as they are", async (t) => {
  const modules = ["lm_head", "self_attn", "model.layers.*.mlp.gate", "re:.*", "mlp.gate"];
  const config = { quant_method: "mxfp4", modules_to_not_convert: modules };
  t.same(listEdit(config, llama(4, []), layoutOf(4, 1, 3)), []);
});

t.test("entries of a block follow it and are repeated for its copies", async (t) => {
  const before = ["lm_head", "model.layers.1.self_attn.o_proj", "model.layers.3.mlp"];
  const edits = listEdit(
    { quant_method: "fbgemm_fp8", modules_to_not_convert: before },
    llama(4, before),
    layoutOf(4, 1, 2),
  );
  t.same(edits, [
    {
      document: "config.json",
      path: "quantization_config.modules_to_not_convert",
      before,
      after: ["lm_head", "model.layers.1.self_attn.o_proj", "model.layers.2.self_attn.o_proj", "model.layers.5.mlp"],
    },
  ]);
});

t.test("blocks behind the stack (multi-token prediction) keep their entries", async (t) => {
  const plain = ["model.layers.4.self_attn.q_proj"];
  const [edit] = listEdit({ quant_method: "fp8", modules_to_not_convert: plain }, llama(5, plain), layoutOf(4, 1));
  t.same(edit?.after, ["model.layers.5.self_attn.q_proj"]);
});

t.test(
  "model.layers.1, which some readers also find in model.layers.10, becomes module names that no reader misreads",
  async (t) => {
    const before = ["model.layers.1"];
    const [edit] = listEdit(
      { quant_method: "fp8", modules_to_not_convert: before },
      llama(24, before),
      layoutOf(24, 0),
    );
    t.same(
      edit?.after,
      ["model.layers.2.self_attn", "model.layers.2.input_layernorm", "model.layers.2.mlp"].sort(byList(edit)),
    );
    // The three readers, as in the releases: transformers 5.23, 5.0 to 5.22, and 4 (AWQ, FP8).
    const entries = edit?.after as readonly string[];
    const readers: readonly ((key: string, name: string) => boolean)[] = [
      (key, name) => new RegExp(`^(?:${key})(?:(?<=\\.)|(?=\\.|$))`).test(name) || name.endsWith(key),
      (key, name) => new RegExp(`^(?:${key})`).test(name) || name.endsWith(key),
      (key, name) => name.includes(key),
    ];
    for (const reader of readers) {
      for (let at = 0; at < 25; at++) {
        for (const linear of LINEARS) {
          const name = `model.layers.${at}.${linear}`;
          t.equal(
            entries.some((key) => reader(key, name)),
            at === 2,
            name,
          );
        }
      }
    }
  },
);

/** Order of modules is the order of tensors, which is no part of the meaning. */
function byList(edit: ConfigEdit | undefined): (a: string, b: string) => number {
  const order = edit?.after as readonly string[];
  return (a, b) => order.indexOf(a) - order.indexOf(b);
}

t.test("the plain renumbering of model.layers.1 stays when it misleads no reader", async (t) => {
  const before = ["model.layers.1"];
  const [edit] = listEdit({ quant_method: "fp8", modules_to_not_convert: before }, llama(4, before), layoutOf(4, 0));
  t.same(edit?.after, ["model.layers.2"]);
});

t.test("block numbers in patterns are renumbered where they can be read", async (t) => {
  const ignore = ["re:model\\.layers\\.3\\.mlp.*", "re:.*layers\\.1\\.self_attn\\.o_proj$", "re:.*lm_head"];
  const tensors = llama(4, ["model.layers.3.mlp", "model.layers.1.self_attn.o_proj"]);
  const [edit] = listEdit({ quant_method: "compressed-tensors", ignore }, tensors, layoutOf(4, 1));
  t.same(edit?.after, [
    "re:model\\.layers\\.4\\.mlp.*",
    "re:.*layers\\.1\\.self_attn\\.o_proj$",
    "re:.*layers\\.2\\.self_attn\\.o_proj$",
    "re:.*lm_head",
  ]);
});

t.test("a pattern over several block numbers becomes the module names it found", async (t) => {
  const ignore = ["re:model\\.layers\\.(0|2)\\.self_attn\\.q_proj"];
  const tensors = llama(4, ["model.layers.0.self_attn.q_proj", "model.layers.2.self_attn.q_proj"]);
  const [edit] = listEdit({ quant_method: "compressed-tensors", ignore }, tensors, layoutOf(4, 1, 2));
  t.same(edit?.after, [
    "model.layers.0.self_attn.q_proj",
    "model.layers.3.self_attn.q_proj",
    "model.layers.4.self_attn.q_proj",
  ]);
});

t.test("targets of each group are renumbered", async (t) => {
  const config = {
    quant_method: "compressed-tensors",
    config_groups: {
      group_0: { targets: ["Linear"] },
      group_1: { targets: ["model.layers.3.self_attn.q_proj"], weights: { num_bits: 8 } },
    },
  };
  const edits = listEdit(config, llama(4, []), layoutOf(4, 0));
  t.same(edits, [
    {
      document: "config.json",
      path: "quantization_config.config_groups.group_1.targets",
      before: ["model.layers.3.self_attn.q_proj"],
      after: ["model.layers.4.self_attn.q_proj"],
    },
  ]);
});

t.test("globs keep what they find, in both of ModelOpt's files", async (t) => {
  const names = ["lm_head", "model.layers.3.mlp*", "model.layers.1*"];
  const plain = ["model.layers.3.mlp", "model.layers.1", "model.layers.10", "model.layers.11"];
  const checkpoint = checkpointOf(
    {
      "config.json": { quantization_config: { quant_method: "modelopt", ignore: names } },
      "hf_quant_config.json": { producer: { name: "modelopt" }, quantization: { exclude_modules: names } },
    },
    llama(12, plain),
  );
  const edits = quantizationOf(checkpoint).edits(layoutOf(12, 0), ["model.layers."]);
  t.same(
    edits.map(({ document, path }) => `${document} ${path}`),
    ["config.json quantization_config.ignore", "hf_quant_config.json quantization.exclude_modules"],
  );
  for (const edit of edits) {
    const after = edit.after as readonly string[];
    t.same(after.slice(0, 2), ["lm_head", "model.layers.4.mlp*"]);
    const linears = after.filter((name) => LINEARS.some((linear) => name.endsWith(linear)));
    const expected = [2, 11, 12].flatMap((at) => LINEARS.map((linear) => `model.layers.${at}.${linear}`));
    t.same([...linears].sort(), expected.sort());
  }
});

t.test("GPTQModel's dynamic rules keep their order and their values", async (t) => {
  const dynamic = {
    "-:model\\.layers\\.2\\.mlp\\..*": {},
    "+:.*\\.1\\..*o_proj.*": { bits: 8 },
    ".*down_proj": { bits: 4 },
  };
  const tensors: Record<string, Dtype> = {};
  for (let i = 0; i < 4; i++) for (const linear of LINEARS) tensors[`model.layers.${i}.${linear}.qweight`] = "I32";
  const [edit] = listEdit({ quant_method: "gptq", dynamic }, tensors, layoutOf(4, 1));
  t.same(Object.entries(edit?.after as object), [
    ["-:model\\.layers\\.3\\.mlp\\..*", {}],
    ["+:.*\\.1\\..*o_proj.*", { bits: 8 }],
    ["+:.*\\.2\\..*o_proj.*", { bits: 8 }],
    [".*down_proj", { bits: 4 }],
  ]);
});

t.test("a number that also counts experts is told apart from the block's", async (t) => {
  const tensors: Record<string, Dtype> = {};
  for (let i = 0; i < 4; i++) {
    for (let e = 0; e < 4; e++) tensors[`model.layers.${i}.mlp.experts.${e}.down_proj.qweight`] = "I32";
  }
  const [edit] = listEdit({ quant_method: "gptq", dynamic: { "-:.*\\.3\\..*down_proj": {} } }, tensors, layoutOf(4, 0));
  const keys = Object.keys(edit?.after as object);
  const found = (name: string): boolean => keys.some((key) => new RegExp(`^(?:${key.slice(2)})`).test(name));
  for (let at = 0; at < 5; at++) {
    const from = at === 0 ? 0 : at - 1;
    for (let e = 0; e < 4; e++) {
      t.equal(
        found(`model.layers.${at}.mlp.experts.${e}.down_proj`),
        from === 3 || e === 3,
        `block ${at}, expert ${e}`,
      );
    }
  }
});

t.test("entries under another reader's name of the stack are renumbered too, other stacks are not", async (t) => {
  const before = [
    "model.language_model.layers.2.mlp.down_proj",
    "language_model.model.layers.2.mlp.down_proj",
    "layers.2.mlp.gate_proj",
    "visual.blocks.2.attn",
  ];
  const tensors = llama(4, [], "model.language_model.layers.");
  const [edit] = listEdit(
    { quant_method: "bitsandbytes", load_in_4bit: true, llm_int8_skip_modules: before },
    { ...tensors, "visual.blocks.2.attn.weight": "BF16" },
    layoutOf(4, 0),
    ["model.language_model.layers.", "language_model.model.layers."],
  );
  t.same(edit?.after, [
    "model.language_model.layers.3.mlp.down_proj",
    "language_model.model.layers.3.mlp.down_proj",
    "layers.3.mlp.gate_proj",
    "visual.blocks.2.attn",
  ]);
});

t.test("an entry whose meaning cannot be kept is refused with its text", async (t) => {
  const cases: readonly string[] = [
    "re:(?P<block>model\\.layers\\.2)\\.mlp", // Python's own syntax
    "re:model\\.layers\\.(", // no pattern at all
    "re:text\\.layers\\.(2|3)\\.mlp", // numbers of a stack that the file does not name so
  ];
  for (const entry of cases) {
    const error = caught(() =>
      listEdit({ quant_method: "compressed-tensors", ignore: [entry] }, llama(4, []), layoutOf(4, 0)),
    );
    t.equal(error.tag, "unsupported");
    t.equal(
      error.message,
      `config.json: quantization_config.ignore: the entry ${JSON.stringify(entry)} cannot be rewritten for other block numbers so that it names the same modules`,
    );
    t.equal(error.fix, "Replace the entry by full module names, then expand again.");
  }
});

t.test("a setting that names a block and has no rule is refused", async (t) => {
  const error = caught(() =>
    listEdit(
      { quant_method: "gptq", meta: { quantizer: { skipped: ["model.layers.1.mlp"] } } },
      llama(4, []),
      layoutOf(4, 0),
    ),
  );
  t.equal(
    error.message,
    'config.json: quantization_config.meta.quantizer.skipped.0 names a block in "model.layers.1.mlp", and no rule covers that setting',
  );
  t.equal(error.fix, "Remove the setting if nothing reads it.");
});

t.test("modules_in_block_to_quantize names no block and stays", async (t) => {
  const config = {
    quant_method: "gptq",
    modules_in_block_to_quantize: [["self_attn.q_proj"], ["mlp.down_proj"]],
    block_name_to_quantize: "model.layers",
  };
  t.same(listEdit(config, llama(4, []), layoutOf(4, 0)), []);
});

t.test("a module that only some blocks leave unquantized does not make the checkpoint look damaged", async (t) => {
  const projections = "self_attn.{q_proj,k_proj,v_proj,o_proj}.weight mlp.{gate_proj,up_proj,down_proj}.weight";
  const rest = "input_layernorm.weight post_attention_layernorm.weight";
  const fp8 = `${projections} self_attn.{k_proj,v_proj,o_proj}.weight_scale_inv mlp.{gate_proj,up_proj,down_proj}.weight_scale_inv`;
  const architecture = understood({
    config: {
      model_type: "llama",
      num_hidden_layers: 3,
      hidden_size: 16,
      quantization_config: {
        quant_method: "fp8",
        modules_to_not_convert: ["lm_head", "model.layers.1.self_attn.q_proj"],
      },
    },
    count: 3,
    block: (index) => `${fp8} ${rest}${index === 1 ? "" : " self_attn.q_proj.weight_scale_inv"}`,
    dtype: (name) =>
      /scale_inv$/.test(name)
        ? "F32"
        : /norm|embed|lm_head|layers\.1\.self_attn\.q_proj/.test(name)
          ? "BF16"
          : "F8_E4M3",
  });
  t.equal(architecture.blocks.length, 3);
  t.same(editsOf(architecture.adapt(copiesOf(3, 0))), {
    num_hidden_layers: 4,
    "quantization_config.modules_to_not_convert": ["lm_head", "model.layers.2.self_attn.q_proj"],
  });
});
