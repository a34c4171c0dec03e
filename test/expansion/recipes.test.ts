// The mask, its export into trainers' dialects (each checked with that trainer's own matching rule), and mergekit recipes as layouts.
import t from "tap";
import { parse } from "yaml";
import type { Architecture, Block, Branch, Factor } from "../../src/architecture/architecture.ts";
import { sourceIndex } from "../../src/architecture/layout.ts";
import type { Checkpoint, Format } from "../../src/checkpoint/checkpoint.ts";
import { ExpandError } from "../../src/errors.ts";
import { type Mask, maskFor, parseMask } from "../../src/expansion/mask.ts";
import { parseMergekit } from "../../src/expansion/mergekit.ts";
import { exportMask, RECIPE_NAMES, type RecipeName } from "../../src/expansion/recipes/recipes.ts";
import { byteLength, type Dtype } from "../../src/tensor/dtype.ts";
import { memorySource } from "../../src/tensor/source.ts";

type Specs = Readonly<Record<string, readonly [Dtype, ...number[]]>>;

const LLAMA: Specs = {
  "input_layernorm.weight": ["BF16", 8],
  "self_attn.q_proj.weight": ["BF16", 8, 8],
  "self_attn.o_proj.weight": ["BF16", 8, 8],
  "post_attention_layernorm.weight": ["BF16", 8],
  "mlp.up_proj.weight": ["BF16", 16, 8],
  "mlp.down_proj.weight": ["BF16", 8, 16],
};
const OUTSIDE: Specs = { "model.embed_tokens.weight": ["BF16", 32, 8], "lm_head.weight": ["BF16", 32, 8] };

const fixed = (tensor: string, value = 0) => ({ tensor, pattern: Uint8Array.of(0), value });
const projection = (...tensors: readonly string[]): Factor => ({
  kind: "projection",
  tensors: tensors.map((name) => fixed(name)),
});

interface Model {
  readonly architecture: Architecture;
  readonly checkpoint: Checkpoint;
}

interface Settings {
  readonly prefix?: string;
  readonly inner?: Specs;
  readonly outside?: Specs;
  readonly buffers?: readonly string[];
  /** Names inside a block that must keep their value in a copy. */
  readonly held?: readonly string[];
  /** Names inside a block of gains that close a branch. */
  readonly gains?: readonly string[];
  readonly format?: Format;
}

/** A checkpoint of `blocks` equal blocks. */
function modelOf(blocks: number, settings: Settings = {}): Model {
  const { prefix = "model.layers.", inner = LLAMA, outside = OUTSIDE, buffers = [], held = [], gains = [] } = settings;
  const source = memorySource("model.safetensors", new Uint8Array(0));
  const tensors: Checkpoint["tensors"] = new Map(
    [
      ...Array.from({ length: blocks }, (_, i) =>
        Object.entries(inner).map(([name, spec]) => [`${prefix}${i}.${name}`, spec] as const),
      ).flat(),
      ...Object.entries(outside),
    ].map(([name, [dtype, ...shape]]) => [
      name,
      { kind: "stored", dtype, shape, bytes: byteLength(dtype, shape) ?? 0, source, offset: 0 },
    ]),
  );
  const blockAt = (index: number): Block => {
    const full = (name: string): string => `${prefix}${index}.${name}`;
    const branches: Branch[] = [
      { name: "attention", factors: [projection(full("self_attn.o_proj.weight"))], preferred: 0, why: "" },
      ...gains.map(
        (name): Branch => ({
          name,
          factors: [projection(full("mlp.down_proj.weight")), { kind: "norm-gain", tensors: [fixed(full(name))] }],
          preferred: 1,
          why: "",
        }),
      ),
    ];
    return {
      index: sourceIndex(index),
      kind: "block",
      tensors: new Map(Object.keys(inner).map((name) => [name, full(name)])),
      branches,
      fixed: held.map((name) => fixed(full(name), 1)),
      buffers: new Set(buffers),
    };
  };
  return {
    architecture: {
      family: "llama",
      modelType: "llama",
      stack: "text",
      stacks: ["text"],
      blocks: Array.from({ length: blocks }, (_, index) => blockAt(index)),
      tail: [],
      outside: Object.keys(outside),
      period: 1,
      periodIsOptional: false,
      notes: [],
      rename: (tensor) => tensor,
      adapt: () => ({ edits: [], warnings: [] }),
    },
    checkpoint: {
      format: settings.format ?? "safetensors",
      location: "model",
      config: { dialect: "hf", documents: new Map() },
      tensors,
      shards: [],
      assets: new Map(),
    },
  };
}

const maskOf = (model: Model, copies: readonly number[]): Mask =>
  maskFor(model.architecture, model.checkpoint, copies, "f00d");
const trainable = (mask: Mask): string[] =>
  Object.keys(mask.tensors).filter((name) => mask.tensors[name] === "trainable");

function textOf(recipe: RecipeName, model: Model, copies: readonly number[]): string {
  const result = exportMask(recipe, maskOf(model, copies), model.architecture);
  if (result.kind === "refused") throw new Error(`${recipe}: ${result.reason}`);
  return result.text;
}

function reasonOf(recipe: RecipeName, model: Model, copies: readonly number[]): string {
  const result = exportMask(recipe, maskOf(model, copies), model.architecture);
  return result.kind === "refused" ? result.reason : `no reason: ${result.text}`;
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

// The trainers' own rules, written down again from their source. Each takes the recipe's text and says which parameters it trains.
type Rule = (text: string, names: readonly string[], blocks: number) => readonly string[];

const RULES: Readonly<Record<"axolotl" | "ms-swift" | "torch" | "llama-factory", Rule>> = {
  /** axolotl src/axolotl/utils/freeze.py, LayerNamePattern: a range at the end is cut off, dots are escaped unless a plus follows; re.match. */
  axolotl: (text, names) => {
    const patterns: readonly string[] = parse(text).unfrozen_parameters;
    const compiled = patterns.map((raw) => {
      const name = /^(.+)\[([0-9]*)(?::([0-9]*))?\]$/.exec(raw)?.[1] ?? raw;
      return new RegExp(`^(?:${name.replace(/\.(?!\+)/g, "\\.")})`);
    });
    return names.filter((name) => compiled.some((pattern) => pattern.test(name)));
  },
  /** ms-swift freeze_parameters, then activate_parameters: re.search both. */
  "ms-swift": (text, names) => {
    const argument = (name: string): RegExp => new RegExp(new RegExp(`--${name} '([^']*)'`).exec(text)?.[1] ?? "^$");
    const frozen = names.filter((name) => argument("freeze_parameters_regex").test(name));
    return names.filter((name) => !frozen.includes(name) || argument("trainable_parameters_regex").test(name));
  },
  torch: (text, names) => {
    const pattern = new RegExp(/re\.compile\(r"([^"]*)"\)/.exec(text)?.[1] ?? "^$");
    return names.filter((name) => pattern.test(name));
  },
  /** LLaMA-Factory adapter.py: blocks by the stride, then ".id." anywhere in a name. */
  "llama-factory": (text, names, blocks) => {
    const settings = parse(text);
    const count: number = settings.freeze_trainable_layers;
    if (settings.finetuning_type !== "freeze" || settings.use_llama_pro !== true || blocks % count !== 0) return [];
    const stride = blocks / count;
    const ids = Array.from({ length: count }, (_, i) => (i + 1) * stride - 1);
    return names.filter((name) => ids.some((id) => name.includes(`.${id}.`)));
  },
};

/** peft tuners_utils.py check_target_module_exists, for a list of targets. */
function peftAdapts(text: string, modules: readonly string[]): readonly string[] {
  const list = (name: string): string[] => JSON.parse(new RegExp(`${name}=(\\[.*\\]),`).exec(text)?.[1] ?? "[]");
  const targets = list("target_modules");
  const indices: readonly unknown[] = list("layers_to_transform");
  const pattern = /layers_pattern="(.*)"/.exec(text)?.[1];
  return modules.filter((key) => {
    if (targets.includes(key)) return true;
    if (!targets.some((target) => key.endsWith(`.${target}`))) return false;
    const found = new RegExp(`^.*\\.${pattern}\\.(\\d+)\\.`).exec(key);
    return found !== null && indices.includes(Number(found[1]));
  });
}

const isKeyOf = <T extends object>(object: T, key: PropertyKey): key is keyof T => key in object;

t.test("the mask has one entry per tensor, and the copies' float weights are trainable", async (t) => {
  const model = modelOf(4);
  const mask = maskOf(model, [3, 1, 3]);
  t.same(Object.keys(mask.tensors), [...model.checkpoint.tensors.keys()]);
  t.same(
    trainable(mask),
    [1, 3].flatMap((at) => Object.keys(LLAMA).map((name) => `model.layers.${at}.${name}`)),
  );
  const block = 8 + 64 + 64 + 8 + 128 + 128;
  t.match(mask, {
    schema: "expand-checkpoint/mask/1",
    plan: "f00d",
    format: "safetensors",
    stack: "text",
    blocks: [1, 3],
    counts: {
      trainable: { tensors: 12, parameters: 2 * block },
      frozen: { tensors: 14, parameters: 2 * block + 512 },
    },
    linears: ["self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj"],
  });
  t.equal("plan" in maskFor(model.architecture, model.checkpoint, [1]), false);
});

t.test("buffers and scales of the stream stay frozen in a copy", async (t) => {
  const inner: Specs = { ...LLAMA, layer_scalar: ["BF16", 1], "self_attn.rotary_emb.inv_freq": ["F32", 4] };
  const model = modelOf(2, { inner, held: ["layer_scalar"], buffers: ["self_attn.rotary_emb.inv_freq"] });
  t.same(
    trainable(maskOf(model, [1])),
    Object.keys(LLAMA).map((name) => `model.layers.1.${name}`),
  );
});

t.test("of a quantized weight nothing is trainable but its bias", async (t) => {
  const forms: readonly Specs[] = [
    { "x.qweight": ["I32", 1, 8], "x.scales": ["F16", 1, 8], "x.qzeros": ["I32", 1, 1], "x.bias": ["F16", 8] },
    {
      "x.weight": ["U8", 32, 1],
      "x.weight.absmax": ["F32", 1],
      "x.weight.quant_map": ["F32", 16],
      "x.bias": ["F16", 8],
    },
    { "x.weight": ["F8_E4M3", 8, 8], "x.weight_scale_inv": ["F32", 1, 1], "x.bias": ["F16", 8] },
    { "x.weight": ["BF16", 8, 8], "x.input_scale": ["F32"], "x.bias": ["F16", 8] },
    { "x.w_blocks": ["U8", 8, 8], "x.w_scales": ["U8", 8], "x.w_bias": ["BF16", 8] },
  ];
  for (const inner of forms) {
    const model = modelOf(2, { inner: { ...inner, "norm.weight": ["BF16", 8] } });
    const expected = Object.keys(inner).filter((name) => name.endsWith("bias") || inner[name]?.[0] === "BF16");
    t.same(
      trainable(maskOf(model, [1])),
      [...expected, "norm.weight"].map((name) => `model.layers.1.${name}`),
    );
  }
});

t.test("a copy that is no block is refused", async (t) => {
  const error = caught(() => maskOf(modelOf(4), [4]));
  t.same(
    [error.tag, error.message, error.fix],
    ["plan", "there is no block 4: the checkpoint has 4", "Use numbers from 0 to 3."],
  );
});

t.test("a saved mask tells the copies again", async (t) => {
  const model = modelOf(4);
  t.same(parseMask("mask.json", textOf("json", model, [1, 3])), { blocks: [1, 3], plan: "f00d" });
  for (const text of ['{"schema": "expand-checkpoint/mask/2", "blocks": [1]}', '{"blocks": [1]}', "[]"]) {
    const error = caught(() => parseMask("mask.json", text));
    const found = text.includes("mask/2") ? '"expand-checkpoint/mask/2"' : "null";
    t.same(
      [error.tag, error.message, error.fix],
      [
        "input",
        `mask.json: expected "schema": "expand-checkpoint/mask/1" and a list of blocks, found ${found}`,
        "Make it again with expand-checkpoint mask --blocks, or remove the file.",
      ],
    );
  }
  t.throws(() => parseMask("mask.json", '{"schema": "expand-checkpoint/mask/1", "blocks": [1.5]}'));
});

/** Names of parameters at run time for names on disk. */
type Runtime = (name: string) => string;
const same: Runtime = (name) => name;

const FAMILIES: readonly { readonly title: string; readonly model: Model; readonly runtime?: Runtime }[] = [
  { title: "Llama", model: modelOf(10) },
  { title: "Llama with 45 blocks", model: modelOf(45) },
  {
    title: "GPT-2 without its wrapper on disk",
    model: modelOf(10, { prefix: "h." }),
    runtime: (name) => `transformer.${name}`,
  },
  { title: "GPT-NeoX", model: modelOf(10, { prefix: "gpt_neox.layers." }) },
  { title: "OPT", model: modelOf(10, { prefix: "model.decoder.layers." }) },
  {
    title: "Mixtral, whose experts transformers 5 fuses",
    model: modelOf(10, {
      inner: {
        ...LLAMA,
        "block_sparse_moe.gate.weight": ["BF16", 4, 8],
        ...Object.fromEntries(
          Array.from({ length: 10 }, (_, e) => [`block_sparse_moe.experts.${e}.w2.weight`, ["BF16", 8, 16] as const]),
        ),
      },
    }),
    runtime: (name) =>
      name
        .replace(/block_sparse_moe\.experts\.\d+\.w2\.weight/, "mlp.experts.down_proj")
        .replace("block_sparse_moe", "mlp"),
  },
  {
    title: "a vision model whose prefix transformers 5 turns around",
    model: modelOf(10, {
      prefix: "language_model.model.layers.",
      outside: {
        "vision_tower.vision_model.encoder.layers.4.mlp.fc1.weight": ["BF16", 8, 8],
        "vision_tower.encoder.layers.4.mlp.fc1.weight": ["BF16", 8, 8],
        "model.visual.blocks.4.attn.qkv.weight": ["BF16", 8, 8],
        "mtp.layers.4.mlp.up_proj.weight": ["BF16", 8, 8],
      },
    }),
    runtime: (name) => name.replace("language_model.model.", "model.language_model."),
  },
];

for (const { title, model, runtime = same } of FAMILIES) {
  for (const recipe of ["axolotl", "ms-swift", "torch"] as const) {
    t.test(`${recipe} trains exactly the copies of ${title}`, async (t) => {
      const copies = model.architecture.blocks.length > 10 ? [4, 9, 14, 40] : [4, 9];
      const mask = maskOf(model, copies);
      const text = textOf(recipe, model, copies);
      const names = [...new Set(Object.keys(mask.tensors).map(runtime))];
      const expected = [...new Set(trainable(mask).map(runtime))];
      for (const wrap of ["", "module.", "_orig_mod."]) {
        const found = RULES[recipe](
          text,
          names.map((name) => wrap + name),
          10,
        );
        t.same(
          found,
          expected.map((name) => wrap + name),
        );
      }
    });
  }
}

t.test("block 4 is not block 40, 14 or block 4 of a vision tower", async (t) => {
  const text = textOf("torch", modelOf(5), [4]);
  const names = ["model.layers.4.mlp.up_proj.weight"];
  const others = ["model.layers.40.mlp.up_proj.weight", "model.layers.14.mlp.up_proj.weight"];
  others.push("vision_tower.encoder.layers.4.mlp.fc1.weight");
  t.same(RULES.torch(text, [...names, ...others], 5), names);
});

t.test("axolotl would match nothing if we escaped its dots", async (t) => {
  const text = textOf("axolotl", modelOf(5), [4]);
  const name = "model.layers.4.mlp.up_proj.weight";
  t.same(RULES.axolotl(text, [name], 5), [name]);
  t.same(RULES.axolotl(text.replaceAll("layers.", "layers\\."), [name], 5), []);
});

t.test("a scale of the stream stays out of the patterns", async (t) => {
  const inner: Specs = { ...LLAMA, input_residual: ["BF16", 8] };
  const model = modelOf(4, { inner, held: ["input_residual"] });
  for (const recipe of ["axolotl", "ms-swift", "torch"] as const) {
    const names = [...model.checkpoint.tensors.keys()];
    t.same(RULES[recipe](textOf(recipe, model, [1, 3]), names, 4), trainable(maskOf(model, [1, 3])), recipe);
  }
  t.equal(
    reasonOf("llama-factory", model, [1, 3]),
    "LLaMA-Factory trains whole blocks, and input_residual of a copy must keep its value",
  );
});

t.test("a second stack under neutral names leaves no pattern", async (t) => {
  const model = modelOf(4, { outside: { "text_model.layers.1.mlp.up_proj.weight": ["BF16", 8, 8] } });
  for (const recipe of ["axolotl", "ms-swift", "torch"] as const) {
    t.equal(reasonOf(recipe, model, [1]), 'no pattern tells the copies from "text_model.layers.1.mlp.up_proj.weight"');
  }
});

t.test("LLaMA-Factory settings are given only where its formula finds the copies", async (t) => {
  const every5 = Array.from({ length: 8 }, (_, i) => 5 * i + 4);
  for (const [blocks, copies] of [
    [40, every5],
    [50, [24, 49]],
    [10, [4, 9]],
  ] as const) {
    const model = modelOf(blocks);
    const text = textOf("llama-factory", model, copies);
    t.same(
      RULES["llama-factory"](text, [...model.checkpoint.tensors.keys()], blocks),
      trainable(maskOf(model, copies)),
    );
  }
  t.equal(
    textOf("llama-factory", modelOf(40), every5),
    [
      "# LLaMA-Factory finds the copies by a formula over the block counts; for this layout it finds exactly them.",
      "finetuning_type: freeze",
      "freeze_trainable_layers: 8",
      "freeze_trainable_modules: all",
      "use_llama_pro: true",
      "",
    ].join("\n"),
  );
});

t.test("layouts that LLaMA-Factory would misread give the reason instead (32+8 as suffix, 30+8)", async (t) => {
  t.equal(
    reasonOf("llama-factory", modelOf(40), [32, 33, 34, 35, 36, 37, 38, 39]),
    "LLaMA-Factory would train blocks 4, 9, 14, 19, 24, 29, 34, 39; the copies are 32, 33, 34, 35, 36, 37, 38, 39",
  );
  t.equal(
    reasonOf("llama-factory", modelOf(38), [3, 8, 13, 18, 22, 27, 32, 37]),
    "LLaMA-Factory wants the block count to divide by the number of copies, and 38 does not divide by 8",
  );
});

t.test("LLaMA-Factory is refused where block numbers also count experts or another stack", async (t) => {
  const experts = Object.fromEntries(
    Array.from({ length: 8 }, (_, e) => [`mlp.experts.${e}.down_proj.weight`, ["BF16", 8, 16] as const]),
  );
  const moe = modelOf(10, { inner: experts });
  t.equal(trainable(maskOf(moe, [4, 9])).length, 16);
  const naive = [...moe.checkpoint.tensors.keys()].filter((name) => name.includes(".4.") || name.includes(".9."));
  t.equal(naive.length, 24);
  t.equal(
    reasonOf("llama-factory", moe, [4, 9]),
    'LLaMA-Factory matches block numbers anywhere in a name and would also train "model.layers.0.mlp.experts.4.down_proj.weight"',
  );
  const vision = modelOf(10, { outside: { "visual.blocks.4.attn.qkv.weight": ["BF16", 8, 8] } });
  t.equal(
    reasonOf("llama-factory", vision, [4, 9]),
    'LLaMA-Factory matches block numbers anywhere in a name and would also train "visual.blocks.4.attn.qkv.weight"',
  );
});

t.test("LLaMA-Factory may also find a copy's buffers, which are no parameters", async (t) => {
  const inner: Specs = { ...LLAMA, "self_attn.rotary_emb.inv_freq": ["F32", 4] };
  const model = modelOf(4, { inner, buffers: ["self_attn.rotary_emb.inv_freq"] });
  t.match(textOf("llama-factory", model, [1, 3]), "freeze_trainable_layers: 2");
});

t.test("peft adapts the linear modules of the copies and no others", async (t) => {
  const model = modelOf(10, { outside: { ...OUTSIDE, "visual.blocks.4.up_proj.weight": ["BF16", 8, 8] } });
  const text = textOf("peft", model, [4, 9]);
  const modules = [...model.checkpoint.tensors.keys()].map((name) => name.replace(/\.weight$/, ""));
  t.same(
    peftAdapts(text, modules),
    [4, 9].flatMap((at) => maskOf(model, [4]).linears.map((name) => `model.layers.${at}.${name}`)),
  );
  t.equal(
    text,
    [
      "# LoRA on the copies only; everything else stays frozen. For Unsloth, give the same arguments to FastLanguageModel.get_peft_model.",
      "from peft import LoraConfig",
      "",
      "config = LoraConfig(",
      "    r=16,",
      "    lora_alpha=32,",
      '    target_modules=["q_proj", "o_proj", "up_proj", "down_proj"],',
      "    layers_to_transform=[4, 9],",
      '    layers_pattern="layers",',
      ")",
      "",
    ].join("\n"),
  );
});

t.test("peft is refused where a second stack uses the same list name and the same modules", async (t) => {
  const model = modelOf(10, { outside: { "vision_tower.encoder.layers.4.self_attn.q_proj.weight": ["BF16", 8, 8] } });
  t.equal(
    reasonOf("peft", model, [4, 9]),
    'peft reads the block number from ".layers.N." and would take "vision_tower.encoder.layers.4.self_attn.q_proj" for a copy\'s',
  );
});

t.test("peft also saves the gains that may hold a copy closed, block by block", async (t) => {
  const gain = "post_attention_layernorm.weight";
  const model = modelOf(14, { gains: [gain] });
  const text = textOf("peft", model, [1, 4]);
  t.match(text, 'modules_to_save=["layers.1.post_attention_layernorm", "layers.4.post_attention_layernorm"],');
  // peft: a module is saved when its name ends with an entry.
  const saved: readonly string[] = JSON.parse(/modules_to_save=(\[.*\]),/.exec(text)?.[1] ?? "[]");
  const modules = [...model.checkpoint.tensors.keys()].map((name) => name.replace(/\.weight$/, ""));
  t.same(
    modules.filter((key) => saved.some((end) => key.endsWith(end))),
    [1, 4].map((at) => `model.layers.${at}.post_attention_layernorm`),
  );
  const twin = { "vision.layers.4.post_attention_layernorm.weight": ["BF16", 8] } satisfies Specs;
  t.equal(
    reasonOf("peft", modelOf(14, { gains: [gain], outside: twin }), [1, 4]),
    'peft compares the ends of names and would also train "vision.layers.4.post_attention_layernorm.weight"',
  );
  t.equal(
    reasonOf("peft", modelOf(14, { inner: { ...LLAMA, gate: ["BF16", 1] }, gains: ["gate"] }), [1]),
    'LoRA cannot train "gate", which may hold a copy closed, and it is no module to save',
  );
});

t.test("experts and routers get no LoRA, and the file says so", async (t) => {
  const inner: Specs = {
    ...LLAMA,
    "mlp.gate.weight": ["BF16", 4, 8],
    "mlp.experts.0.w1.weight": ["BF16", 8, 8],
    "mlp.experts.1.w1.weight": ["BF16", 8, 8],
  };
  const text = textOf("peft", modelOf(4, { inner }), [1]);
  t.match(text, 'target_modules=["q_proj", "o_proj", "up_proj", "down_proj"]');
  t.match(text, "# Experts and routers get no LoRA: at run time they are no linear modules.");
  t.equal(
    reasonOf("peft", modelOf(4, { inner: { "norm.weight": ["BF16", 8] } }), [1]),
    "the copies have no linear module outside their experts",
  );
});

t.test("quantized copies are for LoRA only", async (t) => {
  const inner: Specs = {
    "self_attn.q_proj.qweight": ["I32", 1, 8],
    "self_attn.q_proj.scales": ["F16", 1, 8],
    "input_layernorm.weight": ["F16", 8],
  };
  const model = modelOf(4, { inner });
  for (const recipe of ["axolotl", "ms-swift", "torch"] as const) {
    t.equal(
      reasonOf(recipe, model, [1, 3]),
      "the copies' weights are quantized, and an optimizer cannot update them; use peft",
    );
  }
  t.equal(
    reasonOf("llama-factory", model, [1, 3]),
    "the copies' weights are quantized; LLaMA-Factory trains such models with LoRA only",
  );
  t.match(textOf("peft", model, [1, 3]), 'target_modules=["q_proj"]');
});

t.test("a GGUF checkpoint has a mask, and no trainer that reads it", async (t) => {
  const inner: Specs = { "attn_q.weight": ["Q4_0", 32, 32], "attn_norm.weight": ["F32", 32] };
  const model = modelOf(4, { prefix: "blk.", inner, outside: {}, format: "gguf" });
  t.same(trainable(maskOf(model, [1])), ["blk.1.attn_norm.weight"]);
  for (const recipe of RECIPE_NAMES) {
    if (recipe === "json") t.match(JSON.parse(textOf(recipe, model, [1])), { format: "gguf", blocks: [1] });
    else {
      t.equal(
        reasonOf(recipe, model, [1]),
        "trainers do not read GGUF; expand the safetensors checkpoint that the GGUF file was made from",
      );
    }
  }
});

t.test("there is no recipe without copies", async (t) => {
  for (const recipe of RECIPE_NAMES) {
    if (recipe !== "json") t.equal(reasonOf(recipe, modelOf(4), []), "the checkpoint has no copies");
  }
});

t.test("each recipe has a file of its own", async (t) => {
  const model = modelOf(4);
  const files = RECIPE_NAMES.map((recipe) => {
    const result = exportMask(recipe, maskOf(model, [1, 3]), model.architecture);
    return result.kind === "file" ? result.file : "";
  });
  t.same(files, [
    "mask.json",
    "mask-axolotl.yaml",
    "mask-llama-factory.yaml",
    "mask-ms-swift.txt",
    "mask-peft.py",
    "mask-torch.py",
  ]);
  t.equal(
    RECIPE_NAMES.every((recipe) => recipe === "json" || recipe === "peft" || isKeyOf(RULES, recipe)),
    true,
    "every recipe is checked with its trainer's rule",
  );
});

/** A recipe as the community writes them: 4 blocks, copies of 1 and 3. */
const COMMUNITY = `
slices:
  - sources:
      - model: org/base
        layer_range: [0, 2]
  - sources:
      - model: org/base
        layer_range: [1, 2]
        parameters:
          scale:
            - filter: o_proj
              value: 0.0
            - filter: down_proj
              value: 0.0
            - value: 1.0
  - sources:
      - model: org/base
        layer_range: [2, 4]
  - sources:
      - model: org/base
        layer_range: [3, 4]
        parameters:
          scale:
            - filter: o_proj
              value: 0.0
            - filter: down_proj
              value: 0.0
            - value: 1.0
merge_method: passthrough
dtype: bfloat16
`;

t.test("a community passthrough recipe is a layout, with half-open ranges", async (t) => {
  const layout = parseMergekit("merge.yml", COMMUNITY);
  t.same(
    layout.map(({ kind, from }) => `${kind} ${from}`),
    ["original 0", "original 1", "copy 1", "original 2", "original 3", "copy 3"],
  );
});

t.test("a range of copies keeps its order", async (t) => {
  const text = COMMUNITY.replace("layer_range: [3, 4]", "layer_range: [2, 4]");
  t.same(
    parseMergekit("merge.yml", text)
      .slice(-2)
      .map(({ kind, from }) => `${kind} ${from}`),
    ["copy 2", "copy 3"],
  );
});

t.test("a recipe that is no identity expansion is refused with its line", async (t) => {
  const cases: readonly [title: string, edit: (text: string) => string, line: number, message: string][] = [
    [
      "repeated without zero scale",
      (text) => text.replace(/ {8}parameters:\n(?: {10}.*\n| {12}.*\n| {14}.*\n)*/, ""),
      5,
      "repeats block 1 without scaling its output projections to 0, so it would not be identity",
    ],
    [
      "half closed",
      (text) => text.replace(/ {12}- filter: down_proj\n {14}value: 0.0\n/, ""),
      10,
      "scales only o_proj to 0, so the copy would not be identity",
    ],
    [
      "a default before the filters, which mergekit lets win",
      (text) => text.replace("          scale:\n", "          scale:\n            - value: 1.0\n"),
      5,
      "repeats block 1 without scaling its output projections to 0, so it would not be identity",
    ],
    [
      "another scale",
      (text) => text.replace("value: 0.0", "value: 0.5"),
      10,
      'expected a scale of 1, or of 0 for a filter, found {"filter":"o_proj","value":0.5}',
    ],
    [
      "two models",
      (text) =>
        text.replace("model: org/base\n        layer_range: [2, 4]", "model: org/other\n        layer_range: [2, 4]"),
      15,
      "takes blocks from org/base and org/other; an expansion has one source",
    ],
    ["a gap", (text) => text.replace("[2, 4]", "[3, 4]"), 15, "goes on with block 3, but block 2 has not come yet"],
    [
      "an empty range",
      (text) => text.replace("[0, 2]", "[2, 2]"),
      4,
      "expected layer_range [first, last + 1], found [2,2]",
    ],
    [
      "a merge",
      (text) => text.replace("merge_method: passthrough", "merge_method: slerp"),
      28,
      'expected merge_method passthrough, found "slerp"',
    ],
    [
      "a LoRA",
      (text) => text.replace("model: org/base", "model: org/base+lora"),
      3,
      'expected a model without a LoRA, found "org/base+lora"',
    ],
    ["a base model", (text) => `${text}base_model: org/base\n`, 30, '"base_model" has no meaning in an expansion'],
    [
      "two sources",
      (text) => text.replace("        layer_range: [0, 2]\n", "        layer_range: [0, 2]\n      - model: b\n"),
      3,
      "expected one source per slice",
    ],
    ["an alias", (text) => text.replace("[0, 2]", "&a [0, 2]").replace("[2, 4]", "*a"), 17, "uses a YAML alias"],
    [
      "no YAML",
      () => "slices: [",
      1,
      "is not YAML: Flow sequence in block collection must be sufficiently indented and end with a ]",
    ],
    ["nothing", () => "", 1, "expected a mapping, found null"],
  ];
  for (const [title, edit, line, message] of cases) {
    const error = caught(() => parseMergekit("merge.yml", edit(COMMUNITY).trimStart()));
    t.same([error.tag, error.message], ["plan", `merge.yml:${line}: ${message}`], title);
    t.equal(
      error.fix,
      "Give a passthrough recipe of one model whose repeated slices scale o_proj and down_proj to 0.0.",
    );
  }
});
