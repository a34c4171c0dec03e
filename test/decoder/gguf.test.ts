// Specs out of GGUF metadata. That the numbers computed from them are llama.cpp's was shown by test/conformance/gguf_logits.ts.
import path from "node:path";
import t, { type Test } from "tap";
import { type TinyGguf, type TinyValue, tinyLlama, writeTinyGguf } from "../../fixtures/gguf.ts";
import { GGUF_FAMILIES } from "../../src/decoder/gguf/families.ts";
import { readSpec } from "../../src/decoder/read.ts";
import type { BlockSpec, DecoderSpec, Mlp } from "../../src/decoder/spec.ts";
import { openCheckpoint } from "../../src/formats/open.ts";
import { DENSE_CASES } from "../conformance/llamacpp/models/dense.ts";
import { EXPERT_CASES } from "../conformance/llamacpp/models/experts.ts";
import { FORWARD_CASES } from "../conformance/llamacpp/models/forward.ts";
import { PATTERNED_CASES } from "../conformance/llamacpp/models/patterned.ts";
import { ATTENTION, EXPERTS, FUSED, GELU, model, moe, SWIGLU } from "../conformance/llamacpp/models/words.ts";

const CASES = [...FORWARD_CASES, ...DENSE_CASES, ...PATTERNED_CASES, ...EXPERT_CASES].filter(({ model }) =>
  Object.hasOwn(GGUF_FAMILIES, model.architecture),
);
const FIX = "Use verify --mode structure, or train --export: both do without a forward pass.";

/** Models that several tests ask for are written once. */
const specs = new Map<TinyGguf, DecoderSpec>();

async function specOf(t: Test, tiny: TinyGguf): Promise<DecoderSpec> {
  const known = specs.get(tiny);
  if (known !== undefined) return known;
  const [file = ""] = writeTinyGguf(path.join(t.testdir(), "model.gguf"), tiny);
  const spec = readSpec(await openCheckpoint(file));
  specs.set(tiny, spec);
  return spec;
}

function llama(metadata: Readonly<Record<string, TinyValue>>, blocks = 2): TinyGguf {
  return tinyLlama({ blocks, metadata });
}

/** In front of the branches, and behind them. */
const NORMS: Readonly<Record<string, string>> = {
  attentionNorm: "a",
  mlpNorm: "m",
  attentionOutputNorm: "A",
  mlpOutputNorm: "M",
};

/** What sets a block apart, in words. */
function inWords({ residual, attention, mlp, ...norms }: BlockSpec): string {
  const { heads, kvHeads, headSize, qkv, rope, window, softcap, sinks, alibi, clip, qNorm, output } = attention;
  const said = [
    residual,
    `${heads}/${kvHeads}x${headSize}`,
    qkv.form === "fused" ? "fused" : qkv.q.bias && "qkv bias",
    output.bias && "output bias",
    qNorm && `${qNorm.kind} over ${qNorm.over}`,
    rope && `${rope.layout} ${rope.dims}`,
    rope?.angles.divisors && "divisors",
    rope?.beyond && `beyond ${rope.beyond.length}`,
    window && `window ${window}`,
    softcap && `softcap ${softcap}`,
    sinks && "sinks",
    alibi && "alibi",
    clip && `clip ${clip.toFixed(1)}`,
    networkInWords(mlp),
    `norms${Object.keys(NORMS)
      .filter((name) => name in norms)
      .map((name) => ` ${NORMS[name]}`)
      .join("")}`,
  ];
  return said.filter(Boolean).join(", ");
}

function networkInWords(mlp: Mlp): string {
  if (mlp.kind === "plain") return `plain ${mlp.activation}`;
  if (mlp.kind === "gated") return `${mlp.gateUp.form} ${mlp.activation}`;
  const { perToken, softmax, normalize } = mlp.router;
  const shared = mlp.shared === undefined ? "" : mlp.shared.gate ? " gated shared" : " shared";
  return `${perToken} of ${mlp.experts.length} by ${softmax}${normalize ? " normalized" : ""}${shared}`;
}

/** The kinds of blocks of a case, in the order in which they first appear. */
const SAID: Readonly<Record<string, string>> = {};

t.test("every architecture in the table is read in full, by a case that llama.cpp was compared on", async (t) => {
  for (const [name] of Object.entries(GGUF_FAMILIES)) {
    t.ok(
      CASES.some(({ model }) => model.architecture === name),
      `${name} has a case`,
    );
  }
  for (const { model, shows = "" } of CASES) {
    const title = `${model.architecture}: ${shows}`;
    const spec = await specOf(t, model);
    t.equal(spec.blocks.length, model.blocks, title);
    t.equal(spec.family, model.architecture);
    const kinds = [...new Set(spec.blocks.map(inWords))].join(" | ");
    if (SAID[title] !== undefined) t.equal(kinds, SAID[title], title);
  }
});

t.test("sliding and rotating blocks stand where llama.cpp has them", async (t) => {
  const at = async (title: string, is: (block: BlockSpec) => boolean): Promise<string> => {
    const found = CASES.find(({ model, shows = "" }) => `${model.architecture}: ${shows}` === title);
    const spec = await specOf(t, found?.model ?? tinyLlama());
    return spec.blocks.map((block) => (is(block) ? "x" : ".")).join("");
  };
  const slides = ({ attention }: BlockSpec): boolean => attention.window !== undefined;
  const turns = ({ attention }: BlockSpec): boolean => attention.rope !== undefined;
  t.equal(await at("gemma2: a window pattern written out", slides), "x.x.x.");
  t.equal(await at("gemma3: a window pattern of period 6", slides), "xxxxx.x");
  t.equal(await at("gpt-oss: yarn, sinks and a window", slides), "x.x");
  t.equal(await at("olmo2: yarn in the blocks that do not slide, a stored pattern", slides), "x.xx");
  t.equal(await at("cohere2: ", slides), "xxx.xx");
  t.equal(await at("cohere2: ", turns), "xxx.xx");
  t.equal(await at("smollm3: blocks without position encoding", turns), "xxx.xxx.");
  t.equal(await at("exaone4: 64 blocks, of which every fourth does not rotate", turns), "xxx.".repeat(16));
  t.equal(await at("exaone4: ", slides), "......", "a window means nothing unless there are 64 blocks");
  t.equal(await at("phi3: ", slides), "....", "llama.cpp leaves phi3's window out");
});

t.test("numbers that blocks share are llama.cpp's defaults, or what the file says", async (t) => {
  const scaleOf = async (title: string): Promise<number | undefined> => {
    const found = CASES.find(({ model, shows = "" }) => `${model.architecture}: ${shows}` === title);
    return (await specOf(t, found?.model ?? tinyLlama())).blocks[0]?.attention.scale;
  };
  t.equal(await scaleOf("gemma2: a window pattern written out"), 0.25);
  t.equal(await scaleOf("gemma2: 46 blocks, whose scores are scaled otherwise"), 1 / Math.sqrt(24));
  t.equal(await scaleOf("granite: four multipliers"), Math.fround(0.1));
  const granite = await specOf(t, CASES.find(({ shows }) => shows === "four multipliers")?.model ?? tinyLlama());
  t.match(granite, {
    head: { scale: 1 / 3 },
    embedding: { scale: 5 },
    blocks: [{ residualMultiplier: Math.fround(0.3) }],
  });
  const gemma2 = await specOf(
    t,
    CASES.find(({ shows }) => shows === "a window pattern written out")?.model ?? tinyLlama(),
  );
  t.match(gemma2, { head: { softcap: 30 }, embedding: { scale: 8 }, context: 256, hidden: 64 });
  t.same(gemma2.head.weight, gemma2.embedding.weight, "tied");
  const bloom = await specOf(t, CASES.find(({ shows }) => shows === "slopes of six heads")?.model ?? tinyLlama());
  const slopes = [-2, -4, -6, -8, -1, -3].map((power) => 2 ** power);
  t.same(bloom.blocks[0]?.attention.alibi, { slopes, scale: 1, bfloat16: false });
  t.equal(granite.blocks[0]?.attentionNorm?.epsilon, Math.fround(1e-5));
});

t.test("rotation follows the keys of its scaling", async (t) => {
  const ropeOf = async (metadata: Readonly<Record<string, TinyValue>>) =>
    (await specOf(t, llama(metadata))).blocks[0]?.attention.rope;
  const plain = Array.from({ length: 16 }, (_, i) => 10000 ** (-i / 16));
  const angles = { frequencies: plain, magnitude: 1 };
  t.same(await ropeOf({}), { dims: 32, layout: "interleaved", angles });
  t.match(await ropeOf({ ".rope.scaling.type": ["string", "none"] }), { angles });
  const linear = { frequencies: plain.map((frequency) => frequency / 4), magnitude: 1 };
  t.match(await ropeOf({ ".rope.scaling.factor": ["f32", 4] }), { angles: linear });
  const yarn = await ropeOf({
    ".rope.scaling.type": ["string", "yarn"],
    ".rope.scaling.factor": ["f32", 4],
    ".rope.scaling.attn_factor": ["f32", 0.5],
    ".rope.scaling.original_context_length": ["u32", 64],
  });
  t.equal(yarn?.angles.magnitude, 0.5 * (1 + 0.1 * Math.log(4)));
  t.equal(yarn?.angles.frequencies[0], 1, "the fastest pair is kept");
  t.equal(yarn?.angles.frequencies[15], (plain[15] ?? 0) / 4, "the slowest is interpolated");
});

t.test("what is not understood is refused by name", async (t) => {
  const u32 = (value: number): TinyValue => ["u32", value];
  const refusals: readonly (readonly [message: string, tiny: TinyGguf, fix?: string])[] = [
    ["llama.new_setting: this key is not understood for llama", llama({ ".new_setting": u32(1) })],
    ["llama.attention.sliding_window: is 8; only 0 can be computed", llama({ ".attention.sliding_window": u32(8) })],
    ["llama.attention.causal: is false; only true can be computed", llama({ ".attention.causal": ["bool", false] })],
    ["llama.attention.value_length: is 16; only 32 can be computed", llama({ ".attention.value_length": u32(16) })],
    ["llama.expert_group_count: is 4; only 0 and 1 can be computed", llama({ ".expert_group_count": u32(4) })],
    [
      "llama.rope.dimension_count: is 16, of heads of 32; the same number was expected",
      llama({ ".rope.dimension_count": u32(16) }),
    ],
    [
      'llama.rope.scaling.type: is "su"; known are none, linear, yarn, longrope',
      llama({ ".rope.scaling.type": ["string", "su"] }),
    ],
    [
      "llama.rope.scaling.yarn_beta_fast: is 16; only 32 can be computed",
      llama({ ".rope.scaling.yarn_beta_fast": ["f32", 16] }),
    ],
    [
      "llama.rope.dimension_sections: turns parts of a head by different positions, for images",
      llama({ ".rope.dimension_sections": ["array", "i32", [8, 8, 0, 0]] }),
    ],
    ["llama.rope.freq_base_swa: is 500; only 10000 can be computed", llama({ ".rope.freq_base_swa": ["f32", 500] })],
    [
      "llama.attention.head_count: has 3 elements; the model has 2 blocks",
      llama({ ".attention.head_count": ["array", "u32", [2, 2, 2]] }),
    ],
    [
      "llama.attention.head_count_kv: holds a 0; blocks without this part are not supported",
      llama({ ".attention.head_count_kv": ["array", "u32", [1, 0]] }),
    ],
    [
      "llama.attention.head_count_kv: is 3, which does not divide the 2 attention heads",
      llama({ ".attention.head_count_kv": u32(3) }),
    ],
    [
      "qwen2.expert_count: is 4; qwen2 is known without experts only",
      model({ architecture: "qwen2", parts: [ATTENTION, EXPERTS], metadata: moe() }),
    ],
    [
      "qwen3moe.expert_count: is 0; qwen3moe is known with experts only",
      model({ architecture: "qwen3moe", parts: [ATTENTION, SWIGLU, "attn_q_norm attn_k_norm"] }),
    ],
    [
      "qwen3moe.expert_weights_norm: is false; only true can be computed",
      model({
        architecture: "qwen3moe",
        parts: [ATTENTION, EXPERTS, "attn_q_norm attn_k_norm"],
        metadata: moe({ ".expert_weights_norm": ["bool", false] }),
      }),
    ],
    [
      "blk.0.attn_norm.bias: the forward pass of llama has no place for this tensor (and 3 more)",
      model({ architecture: "llama", parts: [ATTENTION, SWIGLU, "attn_norm.bias"] }),
    ],
  ];
  for (const [message, tiny, fix = FIX] of refusals) {
    await t.rejects(specOf(t, tiny), { tag: "unsupported", message, fix }, message);
  }
});

t.test("missing and misshapen things are called damage", async (t) => {
  const convert = "Convert the model again with a current llama.cpp.";
  const cases: readonly (readonly [message: string, tiny: TinyGguf, fix: string])[] = [
    [
      "llama.block_count: is of type f32, 2.5; a whole number of at least 1 was expected",
      llama({ ".block_count": ["f32", 2.5] }),
      convert,
    ],
    [
      "gptneox.use_parallel_residual: is missing; true or false was expected",
      model({
        architecture: "gptneox",
        parts: [FUSED, GELU],
        globals: "output output_norm.bias",
        shapes: { attn_qkv: [128, 64] },
      }),
      convert,
    ],
    [
      "blk.1.ffn_down.weight: has the shape [64,128]; the configuration says [64,100]",
      llama({ ".feed_forward_length": ["array", "u32", [128, 100]] }),
      "Check that the configuration belongs to these weights.",
    ],
  ];
  for (const [message, tiny, fix] of cases) {
    await t.rejects(specOf(t, tiny), { tag: "damaged", message, fix }, message);
  }
});

t.test("an unknown architecture and a big-endian file are refused", async (t) => {
  const [file = ""] = writeTinyGguf(path.join(t.testdir(), "model.gguf"), { ...llama({}), architecture: "mamba" });
  const checkpoint = await openCheckpoint(file);
  t.throws(() => readSpec(checkpoint), {
    tag: "unsupported",
    message: `${file}: no forward pass is known for the GGUF architecture "mamba"`,
    fix: FIX,
  });
  const [little = ""] = writeTinyGguf(path.join(t.testdir(), "model.gguf"), llama({}));
  const opened = await openCheckpoint(little);
  t.equal(opened.config.dialect, "gguf");
  const big = opened.config.dialect === "gguf" ? { ...opened.config.metadata, bigEndian: true } : undefined;
  const config = { ...opened.config, ...(big === undefined ? {} : { metadata: big }) } as typeof opened.config;
  t.throws(() => readSpec({ ...opened, config }), {
    tag: "unsupported",
    message: `${little}: weights in big-endian order cannot be computed with`,
    fix: "Convert the file to little-endian with gguf_convert_endian.py of llama.cpp.",
  });
});

t.test("blocks that predict further tokens take no part", async (t) => {
  const spec = await specOf(t, llama({ ".nextn_predict_layers": ["u32", 1] }, 3));
  t.equal(spec.blocks.length, 2);
});
