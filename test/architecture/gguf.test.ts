// GGUF architectures: what claims a tensor, what writes the residual stream, which settings a layout needs, what is refused and why.
import fs from "node:fs";
import path from "node:path";
import t, { type Test } from "tap";
import type { Architecture, ConfigEdit } from "../../src/architecture/architecture.ts";
import { stemOf, wordsOf } from "../../src/architecture/gguf/claim.ts";
import { RECORDS } from "../../src/architecture/gguf/families/records.ts";
import { understandGguf } from "../../src/architecture/gguf/understand.ts";
import { type Layout, sourceIndex } from "../../src/architecture/layout.ts";
import type { Checkpoint } from "../../src/checkpoint/checkpoint.ts";
import {
  encodeGgufArray,
  encodeGgufEntry,
  type GgufEntry,
  type GgufScalar,
  type GgufScalarType,
} from "../../src/checkpoint/gguf-metadata.ts";
import { type ErrorTag, ExpandError } from "../../src/errors.ts";
import { ZERO } from "../../src/tensor/reference.ts";

type Value = readonly [GgufScalarType, GgufScalar | string] | readonly ["array", GgufScalarType, readonly GgufScalar[]];
type Values = Readonly<Record<string, Value>>;

/** A checkpoint without data. Keys that begin with "." get the architecture in front. */
function checkpointOf(metadata: Values, tensors: readonly string[], architecture = ""): Checkpoint {
  const entries = Object.entries(metadata).map(([short, value]): GgufEntry => {
    const key = short.startsWith(".") ? architecture + short : short;
    return value[0] === "array" ? encodeGgufArray(key, value[1], value[2]) : encodeGgufEntry(key, value[0], value[1]);
  });
  const tensor = { kind: "fill", dtype: "F32", shape: [1], bytes: 4, pattern: ZERO } as const;
  return {
    format: "gguf",
    location: "model.gguf",
    config: {
      dialect: "gguf",
      metadata: { version: 3, bigEndian: false, alignment: 32, entries: new Map(entries.map((e) => [e.key, e])) },
    },
    tensors: new Map(tensors.map((name) => [name, tensor])),
    shards: [],
    assets: new Map(),
  };
}

const GLOBALS = ["token_embd.weight", "output_norm.weight", "output.weight"];
const ATTENTION = ["attn_norm.weight", "attn_q.weight", "attn_k.weight", "attn_v.weight", "attn_output.weight"];
const DENSE = ["ffn_norm.weight", "ffn_gate.weight", "ffn_up.weight", "ffn_down.weight"];
const LLAMA = [...ATTENTION, ...DENSE];
const LATENT = ["attn_norm.weight", "attn_q_a.weight", "attn_kv_a_mqa.weight", "attn_output.weight", ...DENSE];
const POST = ["post_attention_norm.weight", "post_ffw_norm.weight"];
const EXPERTS = [
  "ffn_norm.weight",
  "ffn_gate_inp.weight",
  "ffn_gate_exps.weight",
  "ffn_up_exps.weight",
  "ffn_down_exps.weight",
];
const SHARED = ["ffn_gate_shexp.weight", "ffn_up_shexp.weight", "ffn_down_shexp.weight"];
const MAMBA = ["attn_norm.weight", "ssm_in.weight", "ssm_a", "ssm_d", "ssm_out.weight"];
const EVERY_OUTPUT = [...LLAMA, ...EXPERTS, ...SHARED];

interface Model {
  readonly architecture?: string;
  readonly blocks?: number;
  readonly tail?: number;
  /** Tensors of each block, without "blk.N.". */
  readonly names?: readonly string[] | ((block: number) => readonly string[]);
  readonly settings?: Values;
  readonly globals?: readonly string[];
}

function modelOf({
  architecture = "llama",
  blocks = 4,
  tail = 0,
  names = LLAMA,
  settings = {},
  globals = GLOBALS,
}: Model): Checkpoint {
  const inside = Array.from({ length: blocks + tail }, (_, block) => {
    const list = typeof names === "function" ? names(block) : names;
    return list.map((name) => `blk.${block}.${name}`);
  });
  const metadata: Values = {
    "general.architecture": ["string", architecture],
    ".block_count": ["u32", blocks + tail],
    ...(tail === 0 ? {} : { ".nextn_predict_layers": ["u32", tail] as const }),
    ...settings,
  };
  return checkpointOf(metadata, [...globals, ...inside.flat()], architecture);
}

const understood = (model: Model): Architecture => understandGguf(modelOf(model));
const u32 = (value: number): Value => ["u32", value];
const list = (element: GgufScalarType, values: readonly GgufScalar[]): Value => ["array", element, values];
const window: Values = { ".attention.sliding_window": u32(8) };

/** Originals with copies behind some of them; a number that comes twice is copied twice. */
function layoutOf(blocks: number, after: readonly number[], perGroup = 1): Layout {
  return Array.from({ length: blocks }, (_, from) => [
    { kind: "original" as const, from: sourceIndex(from) },
    ...after
      .filter((index) => index === from)
      .flatMap(() =>
        Array.from({ length: perGroup }, (_, i) => ({
          kind: "copy" as const,
          from: sourceIndex(from - perGroup + 1 + i),
        })),
      ),
  ]).flat();
}

function refuses(t: Test, run: () => unknown, tag: ErrorTag, message: string, fix: string): void {
  try {
    run();
  } catch (error) {
    if (!(error instanceof ExpandError)) throw error;
    t.strictSame({ tag: error.tag, message: error.message, fix: error.fix }, { tag, message, fix });
    return;
  }
  t.fail(`was not refused: ${message}`);
}

/** "key: before -> after (type)" for each edit. */
function spelled(edits: readonly ConfigEdit[]): readonly string[] {
  const print = (value: unknown): string => (value === undefined ? "absent" : JSON.stringify(value));
  return edits.map(
    (e) => `${e.path}: ${print(e.before)} -> ${print(e.after)}${e.type === undefined ? "" : ` (${e.type})`}`,
  );
}

t.test("every tensor is in exactly one block, in the tail or outside", async (t) => {
  const checkpoint = modelOf({
    architecture: "glm4moe",
    blocks: 3,
    tail: 1,
    names: (block) => [
      ...ATTENTION,
      ...(block < 1 ? DENSE : [...EXPERTS, "exp_probs_b.bias"]),
      ...(block === 3 ? ["nextn.eh_proj.weight"] : []),
    ],
    settings: { ".leading_dense_block_count": u32(1) },
    globals: [...GLOBALS, "rope_freqs.weight"],
  });
  const architecture = understandGguf(checkpoint);
  const inside = [...architecture.blocks, ...architecture.tail].flatMap((block) => [...block.tensors.values()]);
  t.strictSame([...architecture.outside, ...inside].sort(), [...checkpoint.tensors.keys()].sort());
  t.strictSame(
    architecture.blocks.map(({ index, kind }) => `${index} ${kind}`),
    ["0 attention/dense", "1 attention/moe", "2 attention/moe"],
  );
  t.strictSame(
    architecture.tail.map(({ index, kind, branches }) => [index, kind, branches.length]),
    [[3, "multi_token_prediction", 0]],
  );
  t.equal(architecture.blocks[1]?.tensors.get("attn_q.weight"), "blk.1.attn_q.weight");
  t.equal(architecture.rename("blk.1.attn_q.weight", 40), "blk.40.attn_q.weight");
  t.strictSame(
    [architecture.family, architecture.modelType, architecture.stack, architecture.stacks],
    ["glm4moe", "glm4moe", "text", ["text"]],
  );
});

t.test("a file may leave its multi-token-prediction blocks out", async (t) => {
  const checkpoint = modelOf({
    architecture: "deepseek2",
    blocks: 3,
    settings: { ".block_count": u32(4), ".nextn_predict_layers": u32(1) },
  });
  const architecture = understandGguf(checkpoint);
  t.strictSame([architecture.blocks.length, architecture.tail.length], [3, 0]);
  t.strictSame(spelled(architecture.adapt(layoutOf(3, [2])).edits), ["deepseek2.block_count: 4 -> 5"]);
});

t.test("names with any ending of the format are claimed; scales and rotary tables are buffers", async (t) => {
  const cases: readonly [string, readonly string[], readonly string[]][] = [
    [
      "llama",
      [...LLAMA, "attn_q.bias", "attn_q.scale", "attn_q.input_scale", "attn_rot_embd.weight"],
      ["attn_q.scale", "attn_q.input_scale", "attn_rot_embd.weight"],
    ],
    ["mpt", [...LLAMA, "ffn.act.scales"], []],
    ["hy_v3", [...ATTENTION, ...EXPERTS, "exp_probs_b"], []],
    ["falcon-h1", [...ATTENTION, ...MAMBA, "ffn_norm", "ffn_down.weight"], []],
  ];
  for (const [architecture, names, buffers] of cases) {
    const [block] = understood({ architecture, names }).blocks;
    t.strictSame([...(block?.tensors.keys() ?? [])], [...new Set(names)], architecture);
    t.strictSame([...(block?.buffers ?? [])], buffers, architecture);
  }
});

t.test("a tensor that no rule claims stops the run with its name", async (t) => {
  const cases: readonly [string, readonly string[], readonly string[]][] = [
    ["llama", [...LLAMA, "attn_magic.weight"], ["blk.0.attn_magic.weight"]],
    ["llama", [...LLAMA, "post_ffw_norm.weight"], ["blk.0.post_ffw_norm.weight"]],
    ["llama", [...LLAMA, "attn_output.weight.scale"], ["blk.0.attn_output.weight.scale"]],
    ["qwen2", [...LLAMA, "ffn_down_exps.weight"], ["blk.0.ffn_down_exps.weight"]],
    ["refact", [...LLAMA, "ffn_gate_inp.weight"], ["blk.0.ffn_gate_inp.weight"]],
  ];
  for (const [architecture, names, [tensor]] of cases) {
    const message = `model.gguf: no rule of the architecture "${architecture}" claims the tensor "${tensor}"`;
    const fix = "Update expand-checkpoint; if it is current, report the tensor's name.";
    refuses(t, () => understood({ architecture, names }), "unsupported", message, fix);
  }
  for (const tensor of ["per_layer_token_embd.weight", "blk.00.attn_q.weight", "blk.0", "v.blk.0.attn_q.weight"]) {
    const message = `model.gguf: no rule of the architecture "llama" claims the tensor "${tensor}"`;
    const fix = "Update expand-checkpoint; if it is current, report the tensor's name.";
    refuses(t, () => understood({ globals: [...GLOBALS, tensor] }), "unsupported", message, fix);
  }
});

t.test("blocks that the settings do not count, and blocks that are missing, are damage", async (t) => {
  refuses(
    t,
    () => understood({ settings: { ".block_count": u32(3) } }),
    "damaged",
    'model.gguf: the tensor "blk.3.attn_norm.weight" lies beyond block 2, the last that llama.block_count allows',
    "Convert the model again with a current llama.cpp.",
  );
  refuses(
    t,
    () => understood({ settings: { ".block_count": u32(6) } }),
    "damaged",
    "model.gguf: has no tensors of block 4; 6 blocks were expected, 4 are there",
    "Give the first part of the split model with all parts beside it, or download the file again.",
  );
  refuses(
    t,
    () => understood({ names: [] }),
    "unsupported",
    "model.gguf: holds no blocks: it is not a whole model",
    "Give the file that holds the model's weights.",
  );
  const convert = "Convert the model again with a current llama.cpp.";
  const counts: readonly [Values, string][] = [
    [{ ".block_count": u32(0) }, "is 0, with 0 multi-token-prediction blocks among them"],
    [{ ".block_count": u32(2_000_000) }, "is 2000000, with 0 multi-token-prediction blocks among them"],
    [{ ".nextn_predict_layers": u32(4) }, "is 4, with 4 multi-token-prediction blocks among them"],
  ];
  for (const [settings, found] of counts) {
    const message = `llama.block_count: ${found}; 1 to 512 blocks were expected`;
    refuses(t, () => understood({ settings }), "damaged", message, convert);
  }
  const headless = checkpointOf({ "general.architecture": ["string", "llama"] }, ["blk.0.attn_q.weight"]);
  refuses(
    t,
    () => understandGguf(headless),
    "damaged",
    "llama.block_count: is missing; 1 to 512 blocks were expected",
    convert,
  );
  refuses(
    t,
    () => understood({ tail: 1 }),
    "unsupported",
    "llama.nextn_predict_layers: is 1, but multi-token prediction is not known in this architecture",
    "Update expand-checkpoint.",
  );
});

t.test("files that are no models are refused by what they are", async (t) => {
  const give = "Give the file that holds the model's weights.";
  const cases: readonly [Values, readonly string[], string][] = [
    [
      { "general.type": ["string", "adapter"], "general.architecture": ["string", "llama"] },
      ["blk.0.attn_q.weight.lora_a"],
      "is a LoRA adapter, not a model",
    ],
    [
      { "general.type": ["string", "imatrix"] },
      ["blk.0.attn_q.weight.in_sum2"],
      "is an importance matrix, not a model",
    ],
    [
      { "general.type": ["string", "mmproj"], "general.architecture": ["string", "clip"] },
      ["v.blk.0.ln1.weight"],
      "is a vision or audio projector (mmproj), not a model",
    ],
    [
      { "general.architecture": ["string", "clip"] },
      ["v.blk.0.ln1.weight"],
      "is a vision or audio projector (mmproj), not a model",
    ],
    [
      { "general.type": ["string", "dataset"], "general.architecture": ["string", "llama"] },
      ["x"],
      'is of type "dataset", not a model',
    ],
    [{ "general.architecture": ["string", "llama"] }, [], "holds a vocabulary and no weights"],
  ];
  for (const [metadata, tensors, message] of cases) {
    refuses(t, () => understandGguf(checkpointOf(metadata, tensors)), "unsupported", `model.gguf: ${message}`, give);
  }
  refuses(
    t,
    () => understandGguf(checkpointOf({}, ["x"])),
    "damaged",
    'model.gguf: has no key "general.architecture"',
    "Convert the model again with a current llama.cpp.",
  );
});

t.test("an unknown architecture is refused with the nearest names", async (t) => {
  const cases: readonly [string, string][] = [
    ["qwen4", "Check the name; known are qwen, qwen2, qwen3."],
    ["gemma-2", "Check the name; known are gemma2, gemma, gemma3."],
    ["completely-new", "Update expand-checkpoint."],
    ["constructor", "Update expand-checkpoint."],
  ];
  for (const [architecture, fix] of cases) {
    const message = `model.gguf: the architecture "${architecture}" is not known`;
    refuses(t, () => understood({ architecture }), "unsupported", message, fix);
  }
});

t.test("architectures that cannot be expanded exactly are refused with their reason", async (t) => {
  // Table 2c of the GGUF notes, and what measuring added.
  const refused =
    "arwkv7 baichuan bert deepseek4 dflash eagle3 gemma3n gemma4 gemma4-assistant gptj graniteswitch hrm_text jina-bert-v2 jina-bert-v3 kimi-k3 minicpm3 minimax-01 nomic-bert nomic-bert-moe pockettts qwen4exp rwkv7 t5 t5encoder wavtokenizer-dec";
  const records = Object.entries(RECORDS).filter(([, record]) => "refuse" in record);
  t.strictSame(records.map(([name]) => name).sort(), refused.split(" "));
  for (const [architecture, record] of records) {
    if (!("refuse" in record)) continue;
    const message = `model.gguf: ${architecture} is not expanded: ${record.refuse}`;
    const fix = "Expand the Hugging Face checkpoint of the model where its architecture allows it.";
    refuses(t, () => understood({ architecture }), "unsupported", message, fix);
    t.match(record.refuse, /^[a-z].{20,}[^.]$/, `${architecture} says why, as a clause`);
  }
});

t.test("only the text stack can be chosen", async (t) => {
  t.equal(understandGguf(modelOf({}), { stack: "text" }).stack, "text");
  refuses(
    t,
    () => understandGguf(modelOf({}), { stack: "vision" }),
    "usage",
    'model.gguf: there is no stack "vision"; a GGUF model has only "text"',
    "Remove --stack.",
  );
});

t.test("settings that decide something by block number, and that no rule covers, stop the run", async (t) => {
  const cases: readonly [string, string, Value, string][] = [
    ["rwkv6", "rescale_every_n_layers", u32(6), "6"],
    ["nanbeige", "num_loops", u32(2), "2"],
    ["ernie4_5-moe", "interleave_moe_layer_step", u32(2), "2"],
    ["llama", "attention.shared_kv_layers", u32(10), "10"],
    ["llama", "moe_every_n_layers", u32(2), "2"],
    ["llama", "full_attention_interval", u32(4), "4"],
    ["llama", "n_deepstack_layers", u32(3), "3"],
    ["llama", "hash_layer_count", u32(3), "3"],
    ["llama", "attn_res.block_size", u32(12), "12"],
    ["llama", "decoder_block_count", u32(6), "6"],
  ];
  for (const [architecture, key, value, found] of cases) {
    const message = `${architecture}.${key}: is ${found}: what it decides by block number changes when blocks are inserted`;
    const fix = "Expand the Hugging Face checkpoint of the model where its architecture allows it.";
    refuses(t, () => understood({ architecture, settings: { [`.${key}`]: value } }), "unsupported", message, fix);
  }
  const harmless: readonly [string, string, Value][] = [
    ["nanbeige", "num_loops", u32(1)],
    ["ernie4_5-moe", "interleave_moe_layer_step", u32(1)],
    ["llama", "attention.shared_kv_layers", u32(0)],
  ];
  for (const [architecture, key, value] of harmless) {
    t.equal(
      understood({ architecture, settings: { [`.${key}`]: value } }).blocks.length,
      4,
      `${key} of ${architecture}`,
    );
  }
});

t.test("block counts for which readers compute something else are refused in the source", async (t) => {
  const scale = "readers scale queries by 1/sqrt(embedding_length/head_count) instead of 1/sqrt(key_length)";
  const cases: readonly [string, number, string][] = [
    ["gemma2", 46, scale],
    ["gemma3", 62, scale],
    ["exaone4", 64, "readers switch the sliding window and half of the position encoding on"],
  ];
  for (const [architecture, blocks, why] of cases) {
    refuses(
      t,
      () => understood({ architecture, blocks }),
      "unsupported",
      `${architecture}.block_count: with ${blocks} blocks ${why}`,
      "Expand the Hugging Face checkpoint of the model instead.",
    );
  }
});

t.test("branches hold every weight and bias that writes the residual stream, and nothing else", async (t) => {
  // Architecture, tensors of the block, and for each branch its factors; "*" marks the preferred one.
  const cases: readonly (readonly [string, readonly string[], Readonly<Record<string, string>>])[] = [
    ["llama", LLAMA, { attention: "*attn_output.weight", mlp: "*ffn_down.weight" }],
    [
      "gpt2",
      [...LLAMA, "attn_output.bias", "ffn_down.bias", "ffn_up.bias"],
      { attention: "*attn_output.weight attn_output.bias", mlp: "*ffn_down.weight ffn_down.bias" },
    ],
    [
      "gpt-oss",
      [...ATTENTION, "attn_output.bias", "post_attention_norm.weight", ...EXPERTS.slice(1), "ffn_down_exps.bias"],
      { attention: "*attn_output.weight attn_output.bias", experts: "*ffn_down_exps.weight ffn_down_exps.bias" },
    ],
    [
      "qwen2moe",
      [...ATTENTION, ...EXPERTS, ...SHARED],
      { attention: "*attn_output.weight", experts: "*ffn_down_exps.weight", "shared expert": "*ffn_down_shexp.weight" },
    ],
    [
      "grovemoe",
      [...ATTENTION, ...EXPERTS, "ffn_down_chexps.weight"],
      {
        attention: "*attn_output.weight",
        experts: "*ffn_down_exps.weight",
        "chunk experts": "*ffn_down_chexps.weight",
      },
    ],
    ["mamba", MAMBA, { ssm: "*ssm_out.weight" }],
    [
      "lfm2",
      ["attn_norm.weight", "shortconv.out_proj.weight", ...DENSE],
      { "short convolution": "*shortconv.out_proj.weight", mlp: "*ffn_down.weight" },
    ],
    [
      "falcon-h1",
      [...ATTENTION, ...MAMBA, ...DENSE],
      { attention: "*attn_output.weight", ssm: "*ssm_out.weight", mlp: "*ffn_down.weight" },
    ],
    [
      "rwkv6",
      ["time_mix_output.weight", "channel_mix_value.weight"],
      { "time mix": "*time_mix_output.weight", "channel mix": "*channel_mix_value.weight" },
    ],
    [
      "cogvlm",
      [...LLAMA, "vis_attn_output.weight", "vis_down.weight"],
      {
        attention: "*attn_output.weight",
        "vision attention": "*vis_attn_output.weight",
        mlp: "*ffn_down.weight",
        "vision mlp": "*vis_down.weight",
      },
    ],
    [
      "talkie",
      [...LLAMA.filter((name) => !name.includes("norm")), "layer_output_scale.weight"],
      { attention: "*attn_output.weight", mlp: "*ffn_down.weight", "embedding skip": "*layer_output_scale.weight" },
    ],
    ["deci", ["ffn_norm.weight", "ffn_down.weight"], { mlp: "*ffn_down.weight" }],
    ["deci", [], {}],
    [
      "nemotron_h_moe",
      ["attn_norm.weight", ...EXPERTS.slice(1), "ffn_latent_up.weight", "ffn_down_shexp.weight"],
      { experts: "*ffn_down_exps.weight", "shared expert": "*ffn_down_shexp.weight" },
    ],
    // A norm on the branch's output: one factor or the other, never both.
    ...["gemma2", "gemma3", "olmo2", "exaone4", "glm4", "muse-glimmer", "gemma-embedding", "afmoe", "plamo3"].map(
      (architecture) =>
        [
          architecture,
          [...LLAMA, ...POST],
          {
            attention: "attn_output.weight | *post_attention_norm.weight",
            mlp: "ffn_down.weight | *post_ffw_norm.weight",
          },
        ] as const,
    ),
    [
      "afmoe",
      [...ATTENTION, ...POST, ...EXPERTS, ...SHARED],
      {
        attention: "attn_output.weight | *post_attention_norm.weight",
        mlp: "ffn_down_exps.weight ffn_down_shexp.weight | *post_ffw_norm.weight",
      },
    ],
    [
      "grok",
      [...ATTENTION, "attn_output_norm.weight", ...EXPERTS, "layer_output_norm.weight"],
      {
        attention: "attn_output.weight | *attn_output_norm.weight",
        mlp: "ffn_down_exps.weight | *layer_output_norm.weight",
      },
    ],
    [
      "plamo2",
      [...MAMBA, "post_attention_norm", ...DENSE, "post_ffw_norm"],
      { attention: "ssm_out.weight | *post_attention_norm", mlp: "ffn_down.weight | *post_ffw_norm" },
    ],
    // A bias behind the gain reaches the stream whichever factor is closed.
    [
      "gemma2",
      [...LLAMA, ...POST, "post_ffw_norm.bias"],
      {
        attention: "attn_output.weight | *post_attention_norm.weight",
        mlp: "ffn_down.weight post_ffw_norm.bias | *post_ffw_norm.weight post_ffw_norm.bias",
      },
    ],
    // The same names in front of the network: closing them would not be identity.
    ...["glm4moe", "seed_oss"].map(
      (architecture) =>
        [
          architecture,
          [...LLAMA, "post_attention_norm.weight"],
          { attention: "*attn_output.weight", mlp: "*ffn_down.weight" },
        ] as const,
    ),
    [
      "dbrx",
      [...ATTENTION, "attn_output_norm.weight", ...EXPERTS],
      { attention: "*attn_output.weight", experts: "*ffn_down_exps.weight" },
    ],
  ];
  for (const [architecture, names, expected] of cases) {
    const whole = names.length === 0 ? (block: number) => (block === 0 ? LLAMA : ["attn_norm.weight"]) : names;
    const block = understood({ architecture, names: whole }).blocks.at(-1);
    const found = (block?.branches ?? []).map(({ name, factors, preferred }) => {
      const short = (tensor: string): string => tensor.replace(/^blk\.\d+\./, "");
      const words = factors.map(
        ({ tensors }, at) => (at === preferred ? "*" : "") + tensors.map((f) => short(f.tensor)).join(" "),
      );
      return [name, words.join(" | ")];
    });
    t.strictSame(Object.fromEntries(found), expected, architecture);
    const fixed = (block?.branches ?? []).flatMap(({ factors }) => factors.flatMap(({ tensors }) => tensors));
    t.ok(
      fixed.every(({ pattern, value }) => value === 0 && pattern.length === 1 && pattern[0] === 0),
      "zero is the byte 0 in every type",
    );
    t.strictSame(block?.fixed, []);
  }
});

t.test("a branch whose output projection is missing stops the run", async (t) => {
  const cases: readonly [string, readonly string[], string][] = [
    ["llama", ATTENTION, "has no output projection of its feed-forward branch"],
    ["llama", DENSE, "has no output projection of its attention branch"],
    ["kimi-linear", [...ATTENTION, ...EXPERTS], 'has "ffn_down_exps" but no "ffn_down_shexp"'],
  ];
  for (const [architecture, names, found] of cases) {
    refuses(
      t,
      () => understood({ architecture, names }),
      "unsupported",
      `block 0: ${found}; readers then add the output of a norm to the stream`,
      "Convert the model again with a current llama.cpp.",
    );
  }
});

t.test("kinds tell apart what behaves differently or has other names", async (t) => {
  const cases: readonly [Model, readonly string[]][] = [
    [
      { architecture: "gemma2", settings: window },
      ["sliding_attention/dense", "full_attention/dense", "sliding_attention/dense", "full_attention/dense"],
    ],
    [{ architecture: "gemma3" }, Array(4).fill("attention/dense")],
    [
      {
        architecture: "spark2_5",
        settings: { ".attention.sliding_window_pattern": list("bool", [true, true, false, true]) },
      },
      ["sliding_attention/dense", "sliding_attention/dense", "full_attention/dense", "sliding_attention/dense"],
    ],
    [{ architecture: "smollm3" }, ["attention/dense", "attention/dense", "attention/dense", "attention/dense/no_rope"]],
    [
      { names: (block) => (block === 2 ? [...LLAMA, "attn_q.bias"] : LLAMA) },
      ["attention/dense", "attention/dense", "attention/dense (2)", "attention/dense"],
    ],
    [{ architecture: "falcon-h1", blocks: 1, names: [...ATTENTION, ...MAMBA, ...DENSE] }, ["attention+ssm/dense"]],
    [{ architecture: "kimi-linear", blocks: 1, names: [...LLAMA, "ssm_conv1d_q.weight"] }, ["linear_attention/dense"]],
    [
      {
        architecture: "qwen35",
        blocks: 4,
        names: (block) => [...(block === 3 ? ATTENTION : ["ssm_out.weight"]), ...DENSE],
      },
      ["linear_attention/dense", "linear_attention/dense", "linear_attention/dense", "attention/dense"],
    ],
    [
      { architecture: "rwkv6", blocks: 1, names: ["time_mix_output.weight", "channel_mix_value.weight"] },
      ["rwkv/dense"],
    ],
    [
      { architecture: "deci", blocks: 2, names: (block) => (block === 0 ? LLAMA : ["attn_norm.weight"]) },
      ["attention/dense", "empty"],
    ],
  ];
  for (const [model, kinds] of cases) {
    t.strictSame(
      understood(model).blocks.map(({ kind }) => kind),
      kinds,
      model.architecture ?? "llama",
    );
  }
});

t.test("the period is that of what blocks do by number, and optional where a list can say it", async (t) => {
  const cases: readonly [Model, number, boolean][] = [
    [{}, 1, false],
    [{ architecture: "gemma2", settings: window }, 2, true],
    [{ architecture: "gemma3", settings: window }, 6, true],
    [{ architecture: "gemma3" }, 1, false],
    [{ architecture: "olmo2", settings: { ".attention.sliding_window": u32(0) } }, 1, false],
    [{ architecture: "gemma3", settings: { ...window, ".attention.sliding_window_pattern": u32(3) } }, 3, true],
    [
      {
        architecture: "gemma2",
        settings: { ...window, ".attention.sliding_window_pattern": list("bool", [true, false, true, false]) },
      },
      1,
      false,
    ],
    [{ architecture: "plamo3", settings: window }, 8, true],
    [{ architecture: "smollm3" }, 4, false],
    [{ architecture: "smallthinker", settings: window }, 4, false],
    [{ architecture: "smallthinker" }, 1, false],
    [{ architecture: "afmoe" }, 4, false],
    [{ architecture: "llama4", settings: { ".interleave_moe_layer_step": u32(3) } }, 12, false],
    [
      {
        architecture: "llama4",
        settings: { ".interleave_moe_layer_step": u32(3), ".attention.sliding_window": u32(0) },
      },
      3,
      false,
    ],
    [{ architecture: "qwen3next", names: EVERY_OUTPUT.filter((name) => !DENSE.slice(1).includes(name)) }, 4, true],
    [{ architecture: "qwen35", settings: { ".full_attention_interval": u32(2) } }, 2, true],
    [
      { architecture: "qwen35", settings: { ".attention.recurrent_layers": list("bool", [true, true, true, false]) } },
      1,
      false,
    ],
  ];
  for (const [model, period, optional] of cases) {
    const architecture = understood(model);
    t.strictSame([architecture.period, architecture.periodIsOptional], [period, optional], JSON.stringify(model));
  }
});

/** Model, copies, and the edits besides the block count; a warning when `warns` says what it speaks of. */
interface Adapted {
  readonly model: Model;
  readonly after: readonly number[];
  readonly perGroup?: number;
  readonly edits: readonly string[];
  readonly warns?: RegExp;
}

const ADAPTED: Readonly<Record<string, Adapted>> = {
  "nothing but the block count changes in a plain model": { model: {}, after: [0, 2], edits: [] },
  "lists with one element per block follow the layout; others keep their bytes, whatever their length": {
    model: {
      architecture: "openelm",
      settings: {
        ".attention.head_count": list("i32", [4, 8, 4, 8]),
        ".attention.head_count_kv": list("i32", [2, 1, 2, 1]),
        ".feed_forward_length": list("i32", [10, 11, 12, 13]),
        ".rope.dimension_sections": list("i32", [16, 24, 24, 0]),
      },
    },
    after: [1, 3],
    edits: [
      "openelm.attention.head_count: [4,8,4,8] -> [4,8,8,4,8,8]",
      "openelm.attention.head_count_kv: [2,1,2,1] -> [2,1,1,2,1,1]",
      "openelm.feed_forward_length: [10,11,12,13] -> [10,11,11,12,13,13]",
    ],
  },
  "scalars for all blocks stay": { model: { settings: { ".attention.head_count_kv": u32(2) } }, after: [1], edits: [] },
  "lists about experts, clamps and rope follow the layout": {
    model: {
      architecture: "granite_swa",
      settings: {
        ".expert_used_count": list("u32", [1, 2, 3, 4]),
        ".expert_feed_forward_length": list("i32", [8, 9, 8, 9]),
        ".attention.rope_pattern": list("i32", [1, 0, 1, 0]),
        ".swiglu_clamp_exp": list("f32", [0, 0.5, 0, 2]),
        ".swiglu_clamp_shexp": list("f32", [1, 0, 1, 0]),
        ".attention.compress_ratios": list("u32", [0, 0, 4, 128]),
        ".attention.sliding_window_pattern": list("i32", [1, 1, 0, 1]),
      },
    },
    after: [3],
    edits: [
      "granite_swa.expert_feed_forward_length: [8,9,8,9] -> [8,9,8,9,9]",
      "granite_swa.expert_used_count: [1,2,3,4] -> [1,2,3,4,4]",
      "granite_swa.attention.sliding_window_pattern: [1,1,0,1] -> [1,1,0,1,1]",
      "granite_swa.attention.compress_ratios: [0,0,4,128] -> [0,0,4,128,128]",
      "granite_swa.attention.rope_pattern: [1,0,1,0] -> [1,0,1,0,0]",
      "granite_swa.swiglu_clamp_exp: [0,0.5,0,2] -> [0,0.5,0,2,2]",
      "granite_swa.swiglu_clamp_shexp: [1,0,1,0] -> [1,0,1,0,0]",
    ],
  },
  "xielu's lists have no architecture in front": {
    model: {
      architecture: "apertus",
      settings: { "xielu.alpha_n": list("f32", [0.5, 1, 2, 4]), "xielu.eps": ["f32", 0.5] },
    },
    after: [1],
    edits: ["xielu.alpha_n: [0.5,1,2,4] -> [0.5,1,1,2,4]"],
  },
  "copies of a leading dense block are dense": {
    model: {
      architecture: "deepseek2",
      settings: { ".leading_dense_block_count": u32(1), ".attention.q_lora_rank": u32(8) },
    },
    after: [0, 0],
    edits: ["deepseek2.leading_dense_block_count: 1 -> 3"],
  },
  "copies of other blocks leave the number of dense blocks alone": {
    model: {
      architecture: "deepseek2",
      settings: { ".leading_dense_block_count": u32(1), ".attention.q_lora_rank": u32(8) },
    },
    after: [1, 3],
    edits: [],
  },
  "a window pattern that follows from the number is written out": {
    model: { architecture: "gemma2", settings: window },
    after: [1, 3],
    edits: ["gemma2.attention.sliding_window_pattern: absent -> [true,false,false,true,false,false] ([bool])"],
    warns:
      /^gemma2\.attention\.sliding_window_pattern is written as a list, .* whole groups of 2 blocks are right in every version\.$/,
  },
  "a period in the file is written out as a list": {
    model: { architecture: "gemma3", settings: { ...window, ".attention.sliding_window_pattern": u32(3) } },
    after: [0],
    edits: ["gemma3.attention.sliding_window_pattern: 3 -> [true,true,true,false,true] ([bool])"],
    warns: /sliding_window_pattern/,
  },
  "period 0 means that every block slides, period 1 that none does: no list is needed": {
    model: { architecture: "gemma2", settings: { ...window, ".attention.sliding_window_pattern": u32(0) } },
    after: [0],
    edits: [],
  },
  "a pattern that begins with full attention": {
    model: { architecture: "laguna", settings: window },
    after: [0],
    edits: ["laguna.attention.sliding_window_pattern: absent -> [false,false,true,true,true] ([bool])"],
    warns: /sliding_window_pattern/,
  },
  "whole periods are right in every reader and are not written out": {
    model: { architecture: "gemma2", blocks: 6, settings: window },
    after: [1, 3],
    perGroup: 2,
    edits: [],
  },
  "where only the copies differ the list is written and nobody is warned": {
    model: { architecture: "gemma2", settings: window },
    after: [1, 1],
    edits: ["gemma2.attention.sliding_window_pattern: absent -> [true,false,false,false,true,false] ([bool])"],
  },
  "windows that are off need no list": { model: { architecture: "gemma3" }, after: [0], edits: [] },
  "windows that are off by 0 need no list": {
    model: { architecture: "olmo2", settings: { ".attention.sliding_window": u32(0) } },
    after: [0],
    edits: [],
  },
  "recurrent blocks are written out": {
    model: { architecture: "qwen35" },
    after: [0],
    edits: ["qwen35.attention.recurrent_layers: absent -> [true,true,true,true,false] ([bool])"],
    warns: /^qwen35\.attention\.recurrent_layers is written as a list/,
  },
  "recurrent blocks by the file's own interval": {
    model: {
      architecture: "qwen3next",
      settings: { ".full_attention_interval": u32(2) },
      names: [...ATTENTION, ...EXPERTS],
    },
    after: [1],
    edits: ["qwen3next.attention.recurrent_layers: absent -> [true,false,false,true,false] ([bool])"],
    warns: /whole groups of 2/,
  },
  "multi-token-prediction blocks are counted and keep the last elements": {
    model: {
      architecture: "exaone-moe",
      tail: 1,
      settings: {
        ...window,
        ".attention.head_count_kv": list("i32", [1, 2, 3, 4, 5]),
        ".leading_dense_block_count": u32(1),
      },
    },
    after: [0, 3],
    edits: [
      "exaone-moe.leading_dense_block_count: 1 -> 2",
      "exaone-moe.attention.head_count_kv: [1,2,3,4,5] -> [1,1,2,3,4,4,5]",
      "exaone-moe.attention.sliding_window_pattern: absent -> [true,true,true,true,false,false,false] ([bool])",
    ],
    warns: /sliding_window_pattern/,
  },
  "a list that leaves the multi-token-prediction blocks out stays so": {
    model: {
      architecture: "glm-dsa",
      names: LATENT,
      tail: 1,
      settings: { ".attention.indexer.types": list("u32", [1, 0, 0, 1]) },
    },
    after: [3],
    edits: ["glm-dsa.attention.indexer.types: [1,0,0,1] -> [1,0,0,1,1]"],
  },
  "a copy takes no image features a second time": {
    model: { architecture: "granite", settings: { ".deepstack_mapping": list("i32", [0, -1, 1, -1]) } },
    after: [0, 2],
    edits: ["granite.deepstack_mapping: [0,-1,1,-1] -> [0,-1,-1,1,-1,-1]"],
  },
  "minicpm's scale is written with the value that the source's block count gave": {
    model: { architecture: "minicpm" },
    after: [1],
    edits: [`minicpm.residual_scale: absent -> ${Math.fround(0.7)} (f32)`],
  },
  "a scale in the file stays": {
    model: { architecture: "minicpm", settings: { ".residual_scale": ["f32", 0.25] } },
    after: [1],
    edits: [],
  },
  "a lite DeepSeek says that its queries are not compressed once its block count no longer says so": {
    model: { architecture: "deepseek2", blocks: 27 },
    after: [0, 5],
    edits: ["deepseek2.attention.q_lora_rank: absent -> 0 (u32)"],
  },
  "a lite DeepSeek that stays one needs nothing, whatever its query rank says": {
    model: { architecture: "deepseek2", blocks: 26, settings: { ".attention.q_lora_rank": u32(8) } },
    after: [1],
    edits: [],
  },
  "gating that followed from the block count is written": {
    model: {
      architecture: "deepseek2",
      blocks: 47,
      settings: { ".vocab_size": u32(154880), ".attention.q_lora_rank": u32(8) },
    },
    after: [0, 5],
    edits: ["deepseek2.expert_gating_func: absent -> 2 (u32)"],
  },
  "four copies of one block keep the position encoding of all originals": {
    model: { architecture: "smollm3", blocks: 8 },
    after: [1, 1, 1, 1],
    edits: [],
    warns: /^smollm3: some copies differ from their source in position encoding, which follows from their number\.$/,
  },
  "a group of four keeps the position encoding of copies too": {
    model: { architecture: "smollm3", blocks: 8 },
    after: [3],
    perGroup: 4,
    edits: [],
  },
  "copies behind the last original move nothing": {
    model: { architecture: "smollm3" },
    after: [3],
    edits: [],
    warns: /position encoding/,
  },
  "without a window smallthinker has no pattern": { model: { architecture: "smallthinker" }, after: [1], edits: [] },
  "image features stay where they are added when copies stand behind them": {
    model: { architecture: "qwen3vl", settings: { ".n_deepstack_layers": u32(2) } },
    after: [1, 3],
    edits: [],
  },
  "a shared token selection is kept when only blocks that share are copied": {
    model: {
      architecture: "hy_v4",
      names: LATENT,
      settings: { ".attention.indexer.types": list("u32", [1, 0, 1, 0]) },
    },
    after: [1, 3],
    edits: ["hy_v4.attention.indexer.types: [1,0,1,0] -> [1,0,0,1,0,0]"],
  },
};

for (const [title, { model, after, perGroup, edits, warns }] of Object.entries(ADAPTED)) {
  t.test(title, async (t) => {
    const architecture = understood(model);
    const { architecture: name = "llama", blocks = 4, tail = 0 } = model;
    const layout = layoutOf(blocks, after, perGroup);
    const adaptation = architecture.adapt(layout);
    const count = `${name}.block_count: ${blocks + tail} -> ${layout.length + tail}`;
    t.strictSame(spelled(adaptation.edits), [count, ...edits]);
    t.ok(adaptation.edits.every(({ document }) => document === "metadata"));
    t.equal(adaptation.warnings.length, warns === undefined ? 0 : 1);
    if (warns !== undefined) t.match(adaptation.warnings[0] ?? "", warns);
    t.strictSame(
      architecture.adapt(layoutOf(blocks, [])),
      { edits: [], warnings: [] },
      "the source's own layout needs nothing",
    );
  });
}

t.test("layouts that would change an original are refused with the reason and the way out", async (t) => {
  const fourth = "readers leave the position encoding out of every fourth block, by number";
  const inFours = "Insert copies in groups of 4: --add with a multiple of 4, or 4 copies after one block.";
  const scale = "readers scale queries by 1/sqrt(embedding_length/head_count) instead of 1/sqrt(key_length)";
  const oneMore = "Add one copy more, or one less.";
  const cases: readonly [Model, Layout, string, string][] = [
    [
      { architecture: "gemma2", blocks: 45, settings: window },
      layoutOf(45, [1]),
      `gemma2: with 46 blocks ${scale}`,
      oneMore,
    ],
    [{ architecture: "gemma3", blocks: 61 }, layoutOf(61, [1]), `gemma3: with 62 blocks ${scale}`, oneMore],
    [
      { architecture: "exaone4", blocks: 63 },
      layoutOf(63, [1]),
      "exaone4: with 64 blocks readers switch the sliding window and half of the position encoding on",
      oneMore,
    ],
    [
      { blocks: 511 },
      layoutOf(511, [1, 2]),
      "llama: the result would have 513 blocks; llama.cpp reads at most 512",
      "Add at most 1 copies.",
    ],
    [
      {},
      [{ kind: "copy", from: sourceIndex(1) }, ...layoutOf(4, [])],
      "llama: block 0 of the result would be a copy of block 1, and readers take sizes that all blocks share from block 0",
      "Place no copy but one of block 0 before block 0.",
    ],
    [{ architecture: "smollm3" }, layoutOf(4, [0]), `smollm3: block 1 would stand at 2, but ${fourth}`, inFours],
    [
      { architecture: "afmoe", blocks: 8 },
      layoutOf(8, [3, 3]),
      `afmoe: block 4 would stand at 6, but ${fourth}`,
      inFours,
    ],
    [
      { architecture: "smallthinker", blocks: 8, settings: window },
      layoutOf(8, [1]),
      `smallthinker: block 2 would stand at 3, but ${fourth}`,
      inFours,
    ],
    [
      { architecture: "llama4", blocks: 8, settings: { ".interleave_moe_layer_step": u32(2) } },
      layoutOf(8, [1, 1, 1, 1]),
      `llama4: a copy of block 1 would stand at 2, but readers leave the position encoding out of every fourth block and expect experts in every interleave_moe_layer_step-th, by number`,
      inFours,
    ],
    [
      {
        architecture: "llama4",
        settings: { ".attention.sliding_window": u32(0), ".interleave_moe_layer_step": u32(1) },
      },
      layoutOf(4, [3]),
      "llama4: the last block has no position encoding",
      "Place no copy after the last block.",
    ],
    [
      { architecture: "dots1", settings: { ".leading_dense_block_count": u32(2) } },
      [...layoutOf(4, []), { kind: "copy", from: sourceIndex(0) }],
      "dots1: blocks 0 to 1 are dense and the others MoE, and only the number of dense blocks in front is stored",
      "Place copies of blocks 0 to 1 before block 2, and copies of the others after block 1.",
    ],
    [
      { architecture: "deepseek2", blocks: 25, settings: { ".attention.q_lora_rank": u32(8) } },
      layoutOf(25, [1]),
      "deepseek2: with 26 blocks readers take the model for a lite one without compressed queries",
      "Choose another number of copies.",
    ],
    [
      {
        architecture: "mistral4",
        names: LATENT,
        blocks: 47,
        settings: { ".vocab_size": u32(128256), ".attention.q_lora_rank": u32(8) },
      },
      layoutOf(47, [1]),
      "mistral4: with 48 blocks readers take the model for a lite one without compressed queries",
      "Choose another number of copies.",
    ],
    [
      { architecture: "qwen3vlmoe", names: [...ATTENTION, ...EXPERTS], settings: { ".n_deepstack_layers": u32(3) } },
      layoutOf(4, [1]),
      "qwen3vlmoe: image features are added after each of the first 3 blocks, by number",
      "Place copies after block 2 only: --after 2 or higher.",
    ],
    [
      { architecture: "granite", settings: { ".deepstack_mapping": list("i32", [0, -1, 1, -1]) } },
      [{ kind: "copy", from: sourceIndex(0) }, ...layoutOf(4, [])],
      "granite: image features enter before block 0",
      "Place no copy before block 0.",
    ],
    [
      { architecture: "hy_v4", names: LATENT, settings: { ".attention.indexer.types": list("u32", [1, 0, 1, 0]) } },
      layoutOf(4, [0]),
      "hy_v4: block 1 uses the token selection of block 0 and would use that of its copy",
      "Place copies of block 0 where the next block has an indexer of its own.",
    ],
    [
      { architecture: "modern-bert" },
      layoutOf(4, [0]),
      "modern-bert: block 0 cannot be copied: it has no norm in front of its attention",
      "Copy other blocks: --after 1 or higher.",
    ],
  ];
  for (const [model, layout, message, fix] of cases) {
    refuses(t, () => understood(model).adapt(layout), "plan", message, fix);
  }
});

t.test("lists about blocks have one element per block, and unknown lists of that length stop the run", async (t) => {
  const convert = "Convert the model again with a current llama.cpp.";
  refuses(
    t,
    () => understood({ settings: { ".attention.head_count_kv": list("i32", [1, 2, 3]) } }),
    "damaged",
    "llama.attention.head_count_kv: has 3 elements; one for each of the 4 blocks was expected",
    convert,
  );
  refuses(
    t,
    () =>
      understood({ architecture: "glm4moe", tail: 1, settings: { ".feed_forward_length": list("i32", [1, 2, 3]) } }),
    "damaged",
    "glm4moe.feed_forward_length: has 3 elements; one for each of the 5 blocks was expected",
    convert,
  );
  refuses(
    t,
    () => understood({ settings: { ".attention.something_new": list("i32", [1, 2, 3, 4]) } }),
    "unsupported",
    "llama.attention.something_new: has 4 elements, as many as there are blocks, and no rule says whether it is a list of blocks",
    "Update expand-checkpoint; if it is current, report the key.",
  );
  const others = {
    ".attention.something_new": list("i32", [1, 2, 3]),
    "general.tags": list("u8", [1, 2, 3, 4]),
    ".rope.dimension_sections": list("i32", [1, 2, 3, 4]),
  };
  t.equal(understood({ settings: others }).blocks.length, 4);
  refuses(
    t,
    () => understood({ architecture: "qwen35", settings: { ".full_attention_interval": u32(0) } }),
    "damaged",
    "qwen35.full_attention_interval: is 0; 1 or more was expected",
    convert,
  );
  refuses(
    t,
    () =>
      understood({ settings: { ".attention.head_count_kv": list("u64", [2n ** 60n, 1n, 1n, 1n]) } }).adapt(
        layoutOf(4, [1]),
      ),
    "unsupported",
    "llama.attention.head_count_kv: holds a value that is not a number: 1152921504606846976",
    convert,
  );
});

t.test("stems are matched whole, never by part", async (t) => {
  const stems = wordsOf(["attn_output attn_output_norm", "ssm_a"]);
  t.strictSame(
    ["attn_output.weight", "attn_output_norm.weight", "ssm_a", "attn_output.scale"].map((name) => stemOf(name, stems)),
    ["attn_output", "attn_output_norm", "ssm_a", "attn_output"],
  );
  for (const name of ["attn_output2.weight", "my_attn_output.weight", "attn_output.weight.x", "ssm_a.b", ".weight"]) {
    t.equal(stemOf(name, stems), undefined, name);
  }
});

/** The notes' data, where this checkout has it. */
const facts = path.resolve(import.meta.dirname, "../../../shared/facts");
t.test(
  "every architecture of llama.cpp v0.5.0 has a record that knows all of its tensors",
  { skip: fs.existsSync(facts) ? false : "the list of llama.cpp's tensors is not part of this repository" },
  async (t) => {
    const read = (name: string) => JSON.parse(fs.readFileSync(path.join(facts, name), "utf8")).architectures;
    const stems: Record<string, { block?: string[] }> = read("gguf-tensor-map.json");
    // Names that the converters' table has and that no file of the architecture holds.
    const unused: Readonly<Record<string, RegExp>> = {
      deci: /ffn_.*(_exps|_inp)$/,
      mpt: /^ffn$/,
      "deepseek2-ocr": /^attn_(q_|kv_|k_b|v_b)/,
    };
    for (const [name, { verdict }] of Object.entries<{ verdict: string }>(read("gguf-architectures.json"))) {
      if (name === "clip") continue;
      const record = RECORDS[name];
      t.ok(record, `${name} has a record`);
      if (record === undefined || "refuse" in record) {
        t.match(verdict, /refuse|unmeasured/, `${name} is refused`);
        continue;
      }
      // rwkv6 is refused by its setting, not by its name.
      if (name !== "rwkv6") t.not(verdict, "refuse", `${name} is expanded`);
      const known = wordsOf(record.stems);
      const missing = (stems[name]?.block ?? []).filter((stem) => !known.has(stem) && !unused[name]?.test(stem));
      t.strictSame(missing, [], `${name} knows its tensors`);
    }
  },
);
