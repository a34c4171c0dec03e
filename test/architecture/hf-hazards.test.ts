// The hazards of notes/architectures.md, table 2, row by row: where a copied block would silently change what an original computes.
import t from "tap";
import type { Architecture } from "../../src/architecture/architecture.ts";
import { type Layout, sourceIndex } from "../../src/architecture/layout.ts";
import type { JsonValue } from "../../src/json.ts";
import { type Config, caught, closedBy, copiesOf, editsOf, layoutOf, type ModelParts, understood } from "./hf-model.ts";

const S = "sliding_attention";
const F = "full_attention";
const NORMS = "{input_layernorm,post_attention_layernorm}.weight";
const ATTENTION = "self_attn.{q,k,v,o}_proj.weight";
const MLP = "mlp.{gate,up,down}_proj.weight";
const LLAMA = `${NORMS} ${ATTENTION} ${MLP}`;
const SANDWICH = `${LLAMA} {pre,post}_feedforward_layernorm.weight`;
const POST = `${LLAMA.replace("input_layernorm,", "")} post_feedforward_layernorm.weight`.replace(
  "{post_attention_layernorm}",
  "post_attention_layernorm",
);
const LATENT = "self_attn.{q_proj,kv_a_proj_with_mqa,kv_b_proj,o_proj,kv_a_layernorm}.weight";
const EXPERTS = "mlp.experts.{e}.{gate,up,down}_proj.weight mlp.gate.weight";
const SHARED = "mlp.shared_experts.{gate,up,down}_proj.weight";

function model(
  type: string,
  count: number,
  block: ModelParts["block"],
  config: Config = {},
  more: Partial<ModelParts> = {},
): ModelParts {
  return { config: { model_type: type, num_hidden_layers: count, hidden_size: 8, ...config }, block, count, ...more };
}

/** Edits for copies of whole blocks, without the count. */
const edits = (architecture: Architecture, layout: Layout): Readonly<Record<string, JsonValue | undefined>> =>
  editsOf(architecture.adapt(layout));

/** The last `period` blocks before `at`, behind block at-1. */
const period = (count: number, at: number, size: number): Layout =>
  layoutOf(
    count,
    Array.from({ length: size }, (_, index) => [at - 1, at - size + index] as const),
  );

interface PeriodCase {
  readonly type: string;
  readonly block: string;
  readonly config?: Config;
  readonly size: number;
  /** What a single copy behind block `size - 1` writes for the explicit list. */
  readonly list: string;
  readonly value: JsonValue;
  readonly warns: boolean;
}
const PERIODS: readonly PeriodCase[] = [
  { type: "gemma2", block: SANDWICH, size: 2, list: "layer_types", value: [S, F, F, S, F, S, F, S, F], warns: true },
  {
    type: "gpt_oss",
    block: `${NORMS} ${ATTENTION} self_attn.sinks mlp.router.weight mlp.experts.{gate_up,down}_proj mlp.experts.{gate_up,down}_proj_bias`,
    size: 2,
    list: "layer_types",
    value: [S, F, F, S, F, S, F, S, F],
    warns: true,
  },
  { type: "olmo3", block: POST, size: 4, list: "layer_types", value: [S, S, S, F, F, S, S, S, F], warns: true },
  {
    type: "cohere2",
    block: `input_layernorm.weight ${ATTENTION} ${MLP}`,
    size: 4,
    list: "layer_types",
    value: [S, S, S, F, F, S, S, S, F],
    warns: true,
  },
  {
    type: "exaone4",
    block: POST,
    config: { sliding_window: 4 },
    size: 4,
    list: "layer_types",
    value: [S, S, S, F, F, S, S, S, F],
    warns: true,
  },
  { type: "cwm", block: LLAMA, size: 4, list: "layer_types", value: [F, S, S, S, S, F, S, S, S], warns: true },
  {
    type: "vaultgemma",
    block: `input_layernorm.weight pre_feedforward_layernorm.weight ${ATTENTION} ${MLP}`,
    size: 2,
    list: "layer_types",
    value: [S, F, F, S, F, S, F, S, F],
    warns: true,
  },
  { type: "smollm3", block: LLAMA, size: 4, list: "no_rope_layers", value: [1, 1, 1, 0, 0, 1, 1, 1, 0], warns: true },
];
for (const { type, block, config, size, list, value, warns } of PERIODS) {
  t.test(`1, 2. ${type}: whole periods of ${size} need no list, one copy writes ${list}`, async (t) => {
    const found = understood(model(type, 8, block, config));
    t.equal(found.period, size);
    t.equal(found.periodIsOptional, true);
    t.same(edits(found, period(8, size, size)), { num_hidden_layers: 8 + size });
    t.same(found.adapt(period(8, size, size)).warnings, []);
    const single = found.adapt(copiesOf(8, size - 1));
    t.same(editsOf(single)[list], value);
    t.equal(single.warnings.length > 0, warns);
  });
}

t.test("1. exaone4 without a sliding window has one kind, and the text LLLG is read as a pattern", async (t) => {
  t.equal(understood(model("exaone4", 4, POST, { sliding_window: null })).period, 1);
  const text = understood(model("exaone4", 4, POST, { sliding_window: 4, sliding_window_pattern: "LLLG" }));
  t.same(
    text.blocks.map((block) => block.kind),
    [S, S, S, F],
  );
  t.same(edits(text, copiesOf(4, 3)), { num_hidden_layers: 5, sliding_window_pattern: "LLLGG" });
});

t.test("1. ministral without a list slides everywhere, and mistral never gets a list", async (t) => {
  const ministral = understood(model("ministral", 4, LLAMA, { sliding_window: 4 }));
  t.same(edits(ministral, copiesOf(4, 0)), { num_hidden_layers: 5 });
  t.same(edits(understood(model("ministral", 4, LLAMA, { layer_types: [S, F, S, F] })), copiesOf(4, 0)), {
    num_hidden_layers: 5,
    layer_types: [S, S, F, S, F],
  });
  t.same(edits(understood(model("mistral", 4, LLAMA, { sliding_window: 4 })), copiesOf(4, 1, 2)), {
    num_hidden_layers: 6,
  });
});

t.test("1. qwen2 and dots1 keep max_window_layers behind the copies below it", async (t) => {
  const qwen = understood(model("qwen2", 6, LLAMA, { use_sliding_window: true, max_window_layers: 3 }));
  t.same(
    qwen.blocks.map((block) => block.kind),
    [F, F, F, S, S, S],
  );
  t.same(edits(qwen, copiesOf(6, 2, 5)), { num_hidden_layers: 8, max_window_layers: 4 });
  const off = understood(model("qwen2", 6, LLAMA, { use_sliding_window: false, max_window_layers: 28 }));
  t.same(edits(off, copiesOf(6, 2, 5)), { num_hidden_layers: 8, max_window_layers: 30 });
  const refused = caught(() => understood(model("qwen2_moe", 2, "", { use_sliding_window: true })));
  t.match(refused.message, /^config.json: qwen2_moe with use_sliding_window true cannot be expanded/);
});

t.test("2. gemma3: one copy of a full block behind 12 blocks of period 6 moves originals 10 and 11", async (t) => {
  const kinds = [S, S, S, S, S, F, S, S, S, S, S, F];
  const found = understood(model("gemma3_text", 12, `${SANDWICH} self_attn.{q,k}_norm.weight`, { layer_types: kinds }));
  const one = found.adapt(copiesOf(12, 5));
  t.same(editsOf(one), { num_hidden_layers: 13, layer_types: [S, S, S, S, S, F, F, S, S, S, S, S, F] });
  t.same(one.warnings, [
    "Readers that derive the attention kind from a period of 6 instead of layer_types (llama.cpp, mlx-lm, transformers before 4.53) give originals 10, 11 (now 11, 12) the wrong kind. Whole periods (--per-group 6) avoid this.",
  ]);
  const six = found.adapt(period(12, 6, 6));
  t.same(editsOf(six), { num_hidden_layers: 18, layer_types: [...kinds, S, S, S, S, S, F] });
  t.same(six.warnings, []);
});

t.test("2. a period that no longer holds is removed next to its list, and stays where it holds", async (t) => {
  const config = { sliding_window_pattern: 6 };
  const found = understood(model("gemma3_text", 12, `${SANDWICH} self_attn.{q,k}_norm.weight`, config));
  const adapted = found.adapt(copiesOf(12, 5));
  t.same(
    adapted.edits.find((edit) => edit.path === "sliding_window_pattern"),
    { document: "config.json", path: "sliding_window_pattern", before: 6 },
  );
  t.same(edits(found, period(12, 6, 6)), { num_hidden_layers: 18 });
});

const LLAMA4 = (index: number): string =>
  index % 2 === 0
    ? `${NORMS} ${ATTENTION} feed_forward.{gate,up,down}_proj.weight`
    : `${NORMS} ${ATTENTION} feed_forward.experts.{gate_up_proj,down_proj} feed_forward.router.weight feed_forward.shared_expert.{gate,up,down}_proj.weight`;
t.test(
  "3. llama4: rope (and with it the chunks) and experts are written out, or whole periods of 4 go in",
  async (t) => {
    const found = understood(model("llama4_text", 8, LLAMA4, { interleave_moe_layer_step: 2, no_rope_layers: [] }));
    t.equal(found.period, 4);
    t.same(closedBy(found, 1).moe, [
      "feed_forward.experts.down_proj=0",
      "feed_forward.shared_expert.down_proj.weight=0",
    ]);
    t.same(edits(found, period(8, 4, 4)), { num_hidden_layers: 12 });
    const one = found.adapt(copiesOf(8, 3));
    t.same(editsOf(one), {
      num_hidden_layers: 9,
      no_rope_layers: [1, 1, 1, 0, 0, 1, 1, 1, 0],
      moe_layers: [1, 3, 4, 6, 8],
      interleave_moe_layer_step: undefined,
    });
    t.equal(one.warnings.length, 3);
    t.match(one.warnings[1], /^Readers that derive the attention kind from a period of 4 instead of no_rope_layers/);
  },
);

const prefixed = (dense: number, denseBlock: string, moeBlock: string) => (index: number) =>
  index < dense ? denseBlock : moeBlock;
const DEEPSEEK = prefixed(2, `${NORMS} ${LATENT} ${MLP}`, `${NORMS} ${LATENT} ${EXPERTS} ${SHARED}`);
t.test("4. the dense prefix grows by the copies of its blocks, and by no other", async (t) => {
  const found = understood(model("deepseek_v3", 6, DEEPSEEK, { first_k_dense_replace: 2 }));
  t.same(
    found.blocks.map((block) => block.kind),
    ["dense", "dense", "moe", "moe", "moe", "moe"],
  );
  t.same(edits(found, copiesOf(6, 0, 1, 4)), { num_hidden_layers: 9, first_k_dense_replace: 4 });
  t.same(edits(found, copiesOf(6, 5)), { num_hidden_layers: 7 });
  t.same(
    caught(() => found.adapt(layoutOf(6, [[0, 4]]))),
    {
      tag: "plan",
      message: "config.json: the copy of block 4 would stand at index 1 and its mlp would change from moe to dense",
      fix: "Put every copy right behind its source block.",
    },
  );
  t.same(
    caught(() => understood(model("deepseek_v3", 6, DEEPSEEK, { first_k_dense_replace: 3 }))),
    {
      tag: "damaged",
      message: "config.json: the settings make block 2 dense, but its tensors are those of moe",
      fix: "Check that config.json belongs to these weights.",
    },
  );
});

t.test("4. ranges, exceptions and other names of the prefix", async (t) => {
  const ernie = understood(
    model(
      "ernie4_5_moe",
      6,
      (index) =>
        index === 0 || index === 5
          ? LLAMA
          : `${NORMS} ${ATTENTION} ${EXPERTS} ${SHARED} mlp.moe_statics.e_score_correction_bias`,
      {
        moe_layer_start_index: 1,
        moe_layer_end_index: 4,
        moe_layer_interval: 1,
      },
    ),
  );
  t.same(edits(ernie, copiesOf(6, 0, 4)), { num_hidden_layers: 8, moe_layer_start_index: 2, moe_layer_end_index: 6 });
  const last = understood(
    model(
      "ernie4_5_moe",
      4,
      (index) => (index === 0 ? LLAMA : `${NORMS} ${ATTENTION} ${EXPERTS} mlp.moe_statics.e_score_correction_bias`),
      {
        moe_layer_start_index: 1,
        moe_layer_end_index: -1,
      },
    ),
  );
  t.same(edits(last, copiesOf(4, 3)), { num_hidden_layers: 5 }, "-1 is the last block, wherever it stands");
  const qwen = understood(
    model("qwen3_moe", 4, (index) => (index === 1 ? LLAMA : `${NORMS} ${ATTENTION} ${EXPERTS}`), {
      mlp_only_layers: [1],
      decoder_sparse_step: 1,
    }),
  );
  t.same(edits(qwen, copiesOf(4, 1, 2)), { num_hidden_layers: 6, mlp_only_layers: [1, 2] });
  const step = understood(
    model("qwen3_moe", 4, (index) => (index % 2 === 0 ? LLAMA : `${NORMS} ${ATTENTION} ${EXPERTS}`), {
      mlp_only_layers: [],
      decoder_sparse_step: 2,
    }),
  );
  t.same(edits(step, copiesOf(4, 1)), { num_hidden_layers: 5, mlp_only_layers: [0, 3], decoder_sparse_step: 1 });
  t.same(edits(step, period(4, 2, 2)), { num_hidden_layers: 6 });
  const lite = understood(
    model("glm4_moe_lite", 3, prefixed(1, `${NORMS} ${LATENT} ${MLP}`, `${NORMS} ${LATENT} ${EXPERTS} ${SHARED}`), {
      first_k_dense_replace: 1,
    }),
  );
  t.same(edits(lite, copiesOf(3, 0)), {
    num_hidden_layers: 4,
    first_k_dense_replace: 2,
    mlp_layer_types: ["dense", "dense", "sparse", "sparse"],
  });
});

t.test("4. jamba has no list: whole periods of 8, or nothing that moves a kind", async (t) => {
  const mamba =
    "mamba.{A_log,D,conv1d.weight,conv1d.bias,dt_proj.weight,dt_proj.bias,in_proj.weight,x_proj.weight,out_proj.weight} mamba.{b,c,dt}_layernorm.weight";
  const block = (index: number): string =>
    `input_layernorm.weight pre_ff_layernorm.weight ${index % 8 === 4 ? ATTENTION : mamba} ${index % 2 === 1 ? "feed_forward.experts.{e}.{gate,up,down}_proj.weight feed_forward.router.weight" : "feed_forward.{gate,up,down}_proj.weight"}`;
  const found = understood(
    model(
      "jamba",
      16,
      block,
      { num_experts: 2 },
      { outside: "model.embed_tokens.weight model.final_layernorm.weight" },
    ),
  );
  t.equal(found.period, 8);
  t.equal(found.periodIsOptional, false);
  t.same(edits(found, period(16, 8, 8)), { num_hidden_layers: 24 });
  t.same(
    caught(() => found.adapt(copiesOf(16, 3))),
    {
      tag: "plan",
      message:
        "config.json: the copy of block 3 would stand at index 4 and its mixer would change from mamba to attention",
      fix: "Insert whole periods of 8 blocks behind a multiple of 8 blocks: --per-group 8 --after 7.",
    },
  );
});

t.test("5. multi-token prediction blocks stay last, renumbered, and are never copied", async (t) => {
  const extra = "embed_tokens.weight {enorm,hnorm}.weight eh_proj.weight shared_head.{norm,head}.weight";
  const block = (index: number): string => `${DEEPSEEK(index)} ${index === 4 ? extra : ""}`;
  const parts = model("deepseek_v3", 4, block, { first_k_dense_replace: 2, num_nextn_predict_layers: 1 }, { count: 5 });
  const found = understood(parts);
  t.equal(found.blocks.length, 4);
  t.equal(found.tail.length, 1);
  t.ok(found.tail[0]?.tensors.has("eh_proj.weight"));
  t.equal(found.rename("model.layers.4.eh_proj.weight", 6), "model.layers.6.eh_proj.weight");
  t.same(edits(found, copiesOf(4, 1, 3)), { num_hidden_layers: 6, first_k_dense_replace: 3 });
  t.equal(understood({ ...parts, count: 4 }).tail.length, 0, "a file without them is fine");
  t.same(
    caught(() => understood({ ...parts, config: { ...parts.config, num_nextn_predict_layers: 0 } })).message,
    "config.json: num_hidden_layers is 4, but blocks 0 to 4 have tensors",
  );
});

t.test("6. minicpm: scale_depth / sqrt(blocks) stays the same number", async (t) => {
  for (const [count, copies] of [
    [40, [9, 19, 29, 39]],
    [62, [1]],
    [30, [0, 1, 2, 3, 4, 5, 6]],
  ] as const) {
    const found = understood(model("minicpm", count, LLAMA, { scale_depth: 1.4 }));
    const scale = edits(found, copiesOf(count, ...copies)).scale_depth;
    const after = typeof scale === "number" ? scale / Math.sqrt(count + copies.length) : Number.NaN;
    t.equal(Math.fround(after), Math.fround(1.4 / Math.sqrt(count)));
  }
  t.same(edits(understood(model("minicpm3", 2, `${NORMS} ${LATENT} ${MLP}`, { scale_depth: null })), copiesOf(2, 0)), {
    num_hidden_layers: 3,
  });
});

t.test("6. switch_transformers: the sparse step is a quotient of counts and keeps its value", async (t) => {
  const dense = "layer.1.mlp.{wi,wo}.weight";
  const sparse = "layer.1.mlp.experts.expert_{e}.{wi,wo}.weight layer.1.mlp.router.classifier.weight";
  const block = (index: number): string =>
    `layer.0.SelfAttention.{q,k,v,o}.weight layer.{0,1}.layer_norm.weight ${index % 2 === 1 ? sparse : dense} ${index === 0 ? "layer.0.SelfAttention.relative_attention_bias.weight" : ""}`;
  const found = understood(
    {
      config: { model_type: "switch_transformers", num_layers: 4, num_decoder_layers: 4, num_sparse_encoder_layers: 2 },
      block,
      count: 4,
      prefix: "encoder.block.{i}.",
      outside: "shared.weight encoder.final_layer_norm.weight decoder.x.weight",
    },
    "encoder",
  );
  t.equal(found.period, 2);
  t.equal(found.periodIsOptional, false);
  t.same(
    edits(
      found,
      layoutOf(4, [
        [3, 2],
        [3, 3],
      ]),
    ),
    { num_layers: 6, num_sparse_encoder_layers: 3 },
  );
  t.match(
    caught(() => found.adapt(copiesOf(4, 3))),
    { tag: "plan", fix: "Insert whole periods of 2 blocks behind a multiple of 2 blocks: --per-group 2 --after 3." },
  );
});

t.test(
  "7. values computed from the index in code are refused, or the block they belong to stays where it is",
  async (t) => {
    t.match(
      caught(() => understood(model("diffllama", 2, LLAMA))).message,
      /^config.json: diffllama cannot be expanded: lambda_init/,
    );
    t.match(
      caught(() => understood(model("minimax", 2, LLAMA))).message,
      /^config.json: minimax cannot be expanded: the residual is the normalised stream/,
    );
    t.same(
      caught(() =>
        understood({
          config: { model_type: "gpt2", n_layer: 2, scale_attn_by_inverse_layer_idx: true },
          block: "",
          count: 0,
        }),
      ).message,
      "config.json: gpt2 with scale_attn_by_inverse_layer_idx true cannot be expanded: attention is scaled by 1 / (block index + 1), so every block behind an inserted one would change",
    );
    const neox =
      "{input_layernorm,post_attention_layernorm}.{weight,bias} attention.{query_key_value,dense}.weight mlp.{dense_h_to_4h,dense_4h_to_h}.weight";
    const japanese = understood(
      model(
        "gpt_neox_japanese",
        3,
        (index) => (index === 2 ? `${neox} attention.dense_bias` : neox),
        {},
        {
          prefix: "gpt_neox_japanese.layers.{i}.",
          outside: "gpt_neox_japanese.embed_in.weight gpt_neox_japanese.final_layer_norm.weight",
        },
      ),
    );
    t.same(edits(japanese, copiesOf(3, 1)), { num_hidden_layers: 4 });
    t.same(
      caught(() => japanese.adapt(copiesOf(3, 2))),
      {
        tag: "plan",
        message: "config.json: original block 2 would stand at index 2 and its position would change from last to rest",
        fix: "Neither copy block 2 nor insert behind it.",
      },
    );
    const rwkv =
      "ln1.{weight,bias} ln2.{weight,bias} attention.{key,value,receptance,output}.weight attention.time_{decay,first,mix_key,mix_value,mix_receptance} feed_forward.{key,receptance,value}.weight feed_forward.time_{mix_key,mix_receptance}";
    const rwkvParts = model(
      "rwkv",
      3,
      (index) => (index === 0 ? `${rwkv} pre_ln.{weight,bias}` : rwkv),
      { rescale_every: 0 },
      { prefix: "rwkv.blocks.{i}.", outside: "rwkv.embeddings.weight rwkv.ln_out.{weight,bias} head.weight" },
    );
    t.same(edits(understood(rwkvParts), copiesOf(3, 1)), { num_hidden_layers: 4 });
    t.equal(
      caught(() => understood(rwkvParts).adapt(copiesOf(3, 0))).fix,
      "Neither copy block 0 nor insert in front of it.",
    );
    t.match(
      caught(() => understood({ ...rwkvParts, config: { ...rwkvParts.config, rescale_every: 6 } })).fix,
      /^Set rescale_every to 0 in config.json first/,
    );
    t.match(
      caught(() => understood({ ...rwkvParts, config: { model_type: "rwkv", num_hidden_layers: 3 } })).message,
      /rescale_every 6 cannot/,
    );
  },
);

const SWIN =
  "layernorm_before.{weight,bias} layernorm_after.{weight,bias} attention.self.{query,key,value}.weight attention.output.dense.{weight,bias} intermediate.dense.{weight,bias} output.dense.{weight,bias}";
const swin = (type: string, extra: string): ModelParts => ({
  config: { model_type: type, depths: [2, 4] },
  block: `${SWIN} ${extra}`,
  count: 4,
  prefix: "encoder.layers.1.blocks.{i}.",
  outside:
    "embeddings.norm.weight layernorm.weight encoder.layers.0.blocks.0.x encoder.layers.0.downsample.norm.weight",
});
t.test(
  "7, 15. swin: pairs inside the deepest stage; swin 2 closes gain and bias of the LayerNorm behind the branch",
  async (t) => {
    const found = understood(swin("swin", "attention.self.relative_position_bias_table"));
    t.equal(found.stack, "stage1");
    t.same(found.stacks, ["stage1", "stage0"]);
    t.equal(found.period, 2);
    t.equal(found.periodIsOptional, false);
    t.same(edits(found, period(4, 2, 2)), { depths: [2, 6] });
    t.match(
      caught(() => found.adapt(copiesOf(4, 0))),
      { tag: "plan", fix: /^Insert whole periods of 2 blocks/ },
    );
    const two = understood(
      swin("swinv2", "attention.self.logit_scale attention.self.continuous_position_bias_mlp.{0,2}.weight"),
    );
    t.same(closedBy(two), {
      attention: ["layernorm_before.bias=0", "layernorm_before.weight=0"],
      mlp: ["layernorm_after.bias=0", "layernorm_after.weight=0"],
    });
    t.same(
      two.blocks[0]?.branches.map((branch) => branch.factors.length),
      [1, 1],
      "zeroing the projection would not close it",
    );
  },
);

t.test("8. scales of the stream itself are set to 1 in copies", async (t) => {
  const doge = understood(
    model("doge", 2, `${LLAMA} self_attn.{A,dt_proj.weight} input_residual post_attention_residual`),
  );
  t.same(
    doge.blocks[1]?.fixed.map((fixed) => [fixed.tensor, fixed.value]),
    [
      ["model.layers.1.input_residual", 1],
      ["model.layers.1.post_attention_residual", 1],
    ],
  );
  t.same(doge.blocks[1]?.fixed[0]?.pattern, Uint8Array.of(0x80, 0x3f), "one in bfloat16");
  const gemma = gemma4({ layer_types: [S, S, S, F] });
  t.same(
    understood(gemma).blocks[0]?.fixed.map((fixed) => [fixed.tensor, fixed.value]),
    [["model.layers.0.layer_scalar", 1]],
  );
  t.same(closedBy(understood(gemma)), {
    attention: ["post_attention_layernorm.weight=0"],
    mlp: ["post_feedforward_layernorm.weight=0"],
  });
});

function gemma4(
  config: Config,
  block: ModelParts["block"] = `${SANDWICH} self_attn.{q,k}_norm.weight layer_scalar`,
  count = 4,
): ModelParts {
  return model("gemma4_text", count, block, config);
}

const EXPERT_CASES: readonly {
  type: string;
  block: string;
  closed: readonly string[];
  branch?: string;
  config?: Config;
  prefix?: string;
  outside?: string;
}[] = [
  {
    type: "jetmoe",
    block: `${NORMS} self_attention.experts.{input_linear.weight,output_linear.weight,router.layer.weight,bias} self_attention.kv_proj.weight mlp.{input_linear.weight,output_linear.weight,router.layer.weight,bias}`,
    closed: ["mlp.bias=0", "mlp.output_linear.weight=0"],
  },
  {
    type: "granitemoe",
    block: `${NORMS} ${ATTENTION} block_sparse_moe.{input_linear.weight,output_linear.weight,router.layer.weight}`,
    closed: ["block_sparse_moe.output_linear.weight=0"],
  },
  {
    type: "mixtral",
    block: `${NORMS} ${ATTENTION} block_sparse_moe.experts.{e}.{w1,w2,w3}.weight block_sparse_moe.gate.weight`,
    closed: ["block_sparse_moe.experts.0.w2.weight=0", "block_sparse_moe.experts.1.w2.weight=0"],
  },
  {
    type: "mixtral",
    block: `${NORMS} ${ATTENTION} mlp.experts.{gate_up_proj,down_proj} mlp.gate.weight`,
    closed: ["mlp.experts.down_proj=0"],
  },
  {
    type: "olmoe",
    block: `${NORMS} ${ATTENTION} ${EXPERTS}`,
    closed: ["mlp.experts.0.down_proj.weight=0", "mlp.experts.1.down_proj.weight=0"],
  },
  {
    type: "dbrx",
    block:
      "norm_attn_norm.{norm_1,norm_2}.weight norm_attn_norm.attn.{Wqkv,out_proj}.weight ffn.experts.mlp.{v1,w1,w2} ffn.router.layer.weight",
    closed: ["ffn.experts.mlp.w2=0"],
    config: { n_layers: 2 },
    prefix: "transformer.blocks.{i}.",
    outside: "transformer.wte.weight transformer.norm_f.weight lm_head.weight",
  },
];
for (const { type, block, closed, config, prefix, outside } of EXPERT_CASES) {
  t.test(`9. ${type}: every expert and every bias behind the experts is closed (${closed[0]})`, async (t) => {
    const parts = model(type, 2, block, config, {
      ...(prefix === undefined ? {} : { prefix }),
      ...(outside === undefined ? {} : { outside }),
    });
    t.same(closedBy(understood(parts)).moe, closed);
  });
}

t.test("9. an expert without one of its tensors is damage, not a smaller expert", async (t) => {
  const block = `${NORMS} ${ATTENTION} mlp.gate.weight mlp.experts.{0,1,2}.{gate,up}_proj.weight mlp.experts.{0,2}.down_proj.weight`;
  t.same(
    caught(() => understood(model("olmoe", 2, block))),
    {
      tag: "damaged",
      message: "model.layers.0: mlp.experts.{e}.down_proj.weight is there for 2 of 3 experts",
      fix: "Download the checkpoint again; tensors are missing.",
    },
  );
});

t.test("10. experts that return their input are refused", async (t) => {
  t.match(
    caught(() => understood(model("longcat_flash", 2, "", { num_layers: 2, zero_expert_num: 2 }))).message,
    /its zero-compute experts return their input/,
  );
});

t.test("11. a copy may not take the place of a block whose keys and values are shared", async (t) => {
  const shared = `${SANDWICH.replace("{q,k,v,o}", "{q,o}")} self_attn.q_norm.weight layer_scalar`;
  const own = `${SANDWICH} self_attn.{q,k}_norm.weight layer_scalar`;
  const found = understood(
    gemma4(
      {
        layer_types: [S, F, S, F, S, F],
        num_kv_shared_layers: 2,
        per_layer_config: { "1": { head_dim: 4 }, "5": { head_dim: 4 } },
      },
      (index) => (index < 4 ? own : shared),
      6,
    ),
  );
  t.same(edits(found, copiesOf(6, 5)), {
    num_hidden_layers: 7,
    layer_types: [S, F, S, F, S, F, F],
    num_kv_shared_layers: 3,
    per_layer_config: { "1": { head_dim: 4 }, "5": { head_dim: 4 }, "6": { head_dim: 4 } },
  });
  t.same(edits(found, copiesOf(6, 1)).num_kv_shared_layers, undefined);
  t.same(
    caught(() => found.adapt(copiesOf(6, 3))),
    {
      tag: "plan",
      message:
        "config.json: original block 5 reads the keys and values of block 3 and would read those of the copy at index 4",
      fix: "Put no copy of a full_attention block between block 3 and block 5.",
    },
  );
});

t.test("a tensor outside of the blocks that holds a slice for every block stops the run", async (t) => {
  const own = `${SANDWICH} self_attn.{q,k}_norm.weight layer_scalar`;
  const parts = gemma4({ layer_types: [S, F] }, own, 2);
  const outside = "model.embed_tokens.weight model.norm.weight model.embed_tokens_per_layer.weight";
  t.same(
    caught(() => understood({ ...parts, outside })),
    {
      tag: "unsupported",
      message:
        "model.embed_tokens_per_layer.weight: [8] holds a slice for every block, so inserted blocks would need new slices inside an original tensor",
      fix: "Use a checkpoint without this tensor.",
    },
  );
  const esm =
    "{attention.LayerNorm,LayerNorm}.{weight,bias} attention.self.{query,key,value}.weight {attention.output,intermediate,output}.dense.weight";
  const bare = model(
    "esm",
    2,
    esm,
    {},
    { prefix: "esm.encoder.layer.{i}.", outside: "esm.embeddings.x.weight lm_head.bias" },
  );
  t.same(edits(understood(bare), copiesOf(2, 0)), { num_hidden_layers: 3 });
  // A head beside the stream, [1, blocks * heads]: originals keep their columns, copies get zeros.
  const head = "esm.contact_head.regression.weight";
  const shape = (name: string) => (name === head ? [1, 6] : [8]);
  const resliced = understood({ ...bare, outside: head, shape })
    .adapt(copiesOf(2, 0))
    .resliced?.get(head);
  t.same([resliced?.shape, resliced?.bytes], [[1, 9], 18]);
  t.same(
    caught(() => understood({ ...bare, outside: head }).adapt(copiesOf(2, 0))),
    {
      tag: "unsupported",
      message: "esm.contact_head.regression.weight: expected one row with a slice for each of 2 blocks, found [8]",
      fix: "Check that config.json belongs to these weights.",
    },
  );
});

t.test("11. blocks that share an indexer's choice keep the same indexer", async (t) => {
  const block = (index: number): string =>
    `${NORMS} ${LATENT} ${MLP} ${index % 2 === 0 ? "self_attn.indexer.{k_norm,weights_proj,wk,wq_b}.weight" : ""}`;
  const found = understood(
    model("glm_moe_dsa", 4, block, {
      indexer_types: ["full", "shared", "full", "shared"],
      mlp_layer_types: ["dense", "dense", "dense", "dense"],
    }),
  );
  t.same(edits(found, copiesOf(4, 1)).indexer_types, ["full", "shared", "shared", "full", "shared"]);
  t.same(
    caught(() => found.adapt(copiesOf(4, 2))).message,
    "config.json: original block 3 reads the top-k choice of block 2 and would read those of the copy at index 3",
  );
});

t.test("11. a copy may not stand where no block before it gives what it reads", async (t) => {
  const block = (index: number): string =>
    `${NORMS} ${LATENT} ${MLP} ${index === 0 ? "self_attn.indexer.{k_norm,weights_proj,wk,wq_b}.weight" : ""}`;
  const settings = { indexer_types: ["full", "shared"], mlp_layer_types: ["dense", "dense"] };
  t.same(
    caught(() =>
      understood(model("glm_moe_dsa", 2, block, settings)).adapt([
        { kind: "copy", from: sourceIndex(1) },
        ...layoutOf(2, []),
      ]),
    ),
    {
      tag: "plan",
      message:
        "config.json: the copy of block 1 would stand at index 0, where no block before it gives the top-k choice that it reads",
      fix: "Put every copy right behind its source block.",
    },
  );
});

t.test(
  "1. gemma4: the last block counts as full, whatever the list says, and without a list one in six does",
  async (t) => {
    const last = understood(gemma4({ layer_types: [S, F, S, F] }));
    t.same(edits(last, copiesOf(4, 3)).layer_types, [S, F, S, F, F]);
    t.same(
      caught(() => last.adapt(layoutOf(4, [[3, 0]]))),
      {
        tag: "plan",
        message:
          "config.json: the copy of block 0 would stand at index 4 and its attention would change from sliding_attention to full_attention",
        fix: "Put every copy right behind its source block.",
      },
    );
    t.same(edits(understood(gemma4({ layer_types: [F, S, S, S] })), copiesOf(4, 3)).layer_types, [F, S, S, F, F]);
    t.same(edits(understood(gemma4({}, undefined, 8)), copiesOf(8, 0)).layer_types, [S, S, S, S, S, S, F, S, F]);
  },
);

t.test("11. zamba2: plain mamba blocks are copied, blocks with the shared transformer are not", async (t) => {
  const mamba = "{A_log,D,dt_bias,conv1d.weight,in_proj.weight,norm.weight,out_proj.weight}";
  const hybrid = `linear.weight mamba_decoder.input_layernorm.weight mamba_decoder.mamba.${mamba}`;
  const shared =
    "shared_transformer.{input,pre_ff}_layernorm.weight shared_transformer.self_attn.{q,k,v,o}_proj.weight shared_transformer.feed_forward.{gate_up,down}_proj.weight";
  const block = (index: number): string =>
    index === 1 ? `${hybrid} ${shared}` : index === 3 ? hybrid : `input_layernorm.weight mamba.${mamba}`;
  const found = understood(
    model(
      "zamba2",
      4,
      block,
      { layers_block_type: ["mamba", "hybrid", "mamba", "hybrid"], hybrid_layer_ids: [1, 3] },
      { outside: "model.embed_tokens.weight model.final_layernorm.weight" },
    ),
  );
  t.same(edits(found, copiesOf(4, 0, 2)), {
    num_hidden_layers: 6,
    layers_block_type: ["mamba", "mamba", "hybrid", "mamba", "mamba", "hybrid"],
    hybrid_layer_ids: [2, 5],
  });
  t.same(
    caught(() => found.adapt(copiesOf(4, 1))),
    {
      tag: "plan",
      message:
        "config.json: block 1 cannot be copied: it shares a transformer block with others, which is tied by position",
      fix: "Copy some of the blocks 0, 2: --after with those numbers.",
    },
  );
});

t.test("12. visual features that go in by index: nothing is inserted among the blocks that get them", async (t) => {
  const parts: ModelParts = {
    config: {
      model_type: "qwen3_vl",
      text_config: { model_type: "qwen3_vl_text", num_hidden_layers: 6 },
      vision_config: { deepstack_visual_indexes: [8, 16, 24] },
    },
    block: `${LLAMA} self_attn.{q,k}_norm.weight`,
    count: 6,
    prefix: "model.language_model.layers.{i}.",
    outside: "model.language_model.{embed_tokens,norm}.weight lm_head.weight model.visual.blocks.0.norm1.weight",
  };
  const found = understood(parts);
  t.same(edits(found, copiesOf(6, 2, 5)), { "text_config.num_hidden_layers": 8 });
  t.same(found.adapt(copiesOf(6, 2, 5)).warnings, []);
  t.same(
    caught(() => found.adapt(copiesOf(6, 0))),
    {
      tag: "plan",
      message:
        "config.json: original block 1 would stand at index 2 and its deepstack would change from deepstack 1 to deepstack 2",
      fix: "Insert behind block 2 or later.",
    },
  );
});

t.test("12. mllama lists its cross-attention blocks, which close by their gates", async (t) => {
  const cross = `${NORMS} cross_attn.{q,k,v,o}_proj.weight cross_attn.{q,k}_norm.weight cross_attn_{attn,mlp}_gate ${MLP}`;
  const found = understood({
    config: { model_type: "mllama", text_config: { num_hidden_layers: 4, cross_attention_layers: [1, 3] } },
    block: (index) => (index % 2 === 1 ? cross : LLAMA),
    count: 4,
    prefix: "language_model.model.layers.{i}.",
    outside:
      "language_model.model.{embed_tokens,norm}.weight language_model.lm_head.weight vision_model.x multi_modal_projector.weight",
  });
  t.same(closedBy(found, 1), { "cross-attention": ["cross_attn_attn_gate=0"], mlp: ["cross_attn_mlp_gate=0"] });
  t.same(closedBy(found, 0), { attention: ["self_attn.o_proj.weight=0"], mlp: ["mlp.down_proj.weight=0"] });
  t.same(edits(found, copiesOf(4, 1, 2)), {
    "text_config.num_hidden_layers": 6,
    "text_config.cross_attention_layers": [1, 2, 5],
  });
});

t.test("12. indices into the hidden states follow the blocks they stand behind", async (t) => {
  const vit =
    "norm1.weight norm2.weight attention.attention.{query,key,value}.weight attention.output.dense.weight layer_scale{1,2}.lambda1 mlp.{fc1,fc2}.weight";
  const found = understood(
    model(
      "dinov2",
      6,
      vit,
      {
        out_indices: [2, 6],
        out_features: ["stage2", "stage6"],
        stage_names: ["stem", "stage1", "stage2", "stage3", "stage4", "stage5", "stage6"],
      },
      { prefix: "encoder.layer.{i}.", outside: "embeddings.cls_token layernorm.weight" },
    ),
  );
  t.same(edits(found, copiesOf(6, 0, 3, 5)), {
    num_hidden_layers: 9,
    out_indices: [3, 9],
    out_features: ["stage3", "stage9"],
    stage_names: ["stem", "stage1", "stage2", "stage3", "stage4", "stage5", "stage6", "stage7", "stage8", "stage9"],
  });
  const factors = found.blocks[0]?.branches[0];
  t.same(
    factors?.factors.map((factor) => factor.kind),
    ["projection", "layer-scale"],
    "one of two in series",
  );
  t.equal(factors?.preferred, 0);
});

t.test("13. masks and rotary tables are buffers: copied and renamed, never closed", async (t) => {
  const gpt2 =
    "ln_1.{weight,bias} ln_2.{weight,bias} attn.{c_attn,c_proj}.{weight,bias} attn.{bias,masked_bias} mlp.{c_fc,c_proj}.{weight,bias}";
  const found = understood({
    config: { model_type: "gpt2", n_layer: 2 },
    block: gpt2,
    count: 2,
    prefix: "h.{i}.",
    outside: "wte.weight wpe.weight ln_f.weight ln_f.bias",
    dtype: (name) => (name === "h.0.attn.bias" || name === "h.1.attn.bias" ? "U8" : "F32"),
  });
  t.same([...(found.blocks[0]?.buffers ?? [])].sort(), ["attn.bias", "attn.masked_bias"]);
  t.same(closedBy(found), {
    attention: ["attn.c_proj.bias=0", "attn.c_proj.weight=0"],
    mlp: ["mlp.c_proj.bias=0", "mlp.c_proj.weight=0"],
  });
  const llama = understood(model("llama", 2, `${LLAMA} self_attn.rotary_emb.inv_freq`));
  t.same([...(llama.blocks[0]?.buffers ?? [])], ["self_attn.rotary_emb.inv_freq"]);
});

t.test("14. one name, two meanings: post_attention_layernorm of gemma2, glm4 and olmo_hybrid", async (t) => {
  t.same(closedBy(understood(model("gemma2", 2, SANDWICH))).attention, ["post_attention_layernorm.weight=-1"]);
  const glm4 = `${NORMS} ${ATTENTION} post_{self_attn,mlp}_layernorm.weight mlp.{gate_up,down}_proj.weight`;
  t.same(closedBy(understood(model("glm4", 2, glm4))), {
    attention: ["post_self_attn_layernorm.weight=0"],
    mlp: ["post_mlp_layernorm.weight=0"],
  });
  const linear = `{input,post_attention}_layernorm.weight linear_attn.{a,b,g,k,q,v,o}_proj.weight linear_attn.{A_log,dt_bias,o_norm.weight} linear_attn.{q,k,v}_conv1d.weight ${MLP}`;
  const full = `post_attention_layernorm.weight ${ATTENTION} self_attn.{q,k}_norm.weight ${MLP} post_feedforward_layernorm.weight`;
  const hybrid = understood(model("olmo_hybrid", 4, (index) => (index === 3 ? full : linear)));
  t.same(closedBy(hybrid, 0), { attention: ["linear_attn.o_proj.weight=0"], mlp: ["mlp.down_proj.weight=0"] });
  t.same(closedBy(hybrid, 3), {
    attention: ["post_attention_layernorm.weight=0"],
    mlp: ["post_feedforward_layernorm.weight=0"],
  });
});

t.test("16. lists of per-block shapes keep the source's entry for a copy", async (t) => {
  const openelm = "attn_norm.weight ffn_norm.weight attn.{qkv_proj,out_proj}.weight ffn.{proj_1,proj_2}.weight";
  const found = understood({
    config: {
      model_type: "openelm",
      num_transformer_layers: 3,
      num_query_heads: [4, 8, 12],
      num_kv_heads: [1, 2, 3],
      ffn_multipliers: [0.5, 1.5, 2.5],
      qkv_multipliers: [0.5, 1.0],
    },
    block: openelm,
    count: 3,
    prefix: "transformer.layers.{i}.",
    outside: "transformer.token_embeddings.weight transformer.norm.weight",
  });
  t.same(edits(found, copiesOf(3, 1)), {
    num_transformer_layers: 4,
    num_query_heads: [4, 8, 8, 12],
    num_kv_heads: [1, 2, 2, 3],
    ffn_multipliers: [0.5, 1.5, 1.5, 2.5],
  });
});

t.test("16. overrides by block number move with their blocks, padded as they were, for any model type", async (t) => {
  const padded = understood(
    model("llama", 12, LLAMA, { per_layer_config: { "05": { head_dim: 4 }, "11": { head_dim: 8 } } }),
  );
  t.same(edits(padded, copiesOf(12, 5)), {
    num_hidden_layers: 13,
    per_layer_config: { "05": { head_dim: 4 }, "06": { head_dim: 4 }, "12": { head_dim: 8 } },
  });
  const plain = understood(model("llama", 12, LLAMA, { per_layer_config: { "5": { head_dim: 4 } } }));
  t.same(edits(plain, copiesOf(12, 0)).per_layer_config, { "6": { head_dim: 4 } });
});

const T5 =
  (cross: boolean) =>
  (index: number): string =>
    `layer.0.SelfAttention.{q,k,v,o}.weight layer.0.layer_norm.weight ${cross ? "layer.1.EncDecAttention.{q,k,v,o}.weight layer.1.layer_norm.weight" : ""} layer.${cross ? 2 : 1}.DenseReluDense.{wi,wo}.weight layer.${cross ? 2 : 1}.layer_norm.weight ${index === 0 ? "layer.0.SelfAttention.relative_attention_bias.weight" : ""}`;
t.test(
  "7, 17. t5: block 0 owns the position bias, and the decoder's own count is written before the encoder grows",
  async (t) => {
    const encoder = understood(
      {
        config: { model_type: "t5", num_layers: 3, num_decoder_layers: null },
        block: T5(false),
        count: 3,
        prefix: "encoder.block.{i}.",
        outside: "shared.weight encoder.final_layer_norm.weight decoder.block.0.x",
      },
      "encoder",
    );
    t.same(edits(encoder, copiesOf(3, 1)), { num_layers: 4, num_decoder_layers: 3 });
    t.same(
      caught(() => encoder.adapt(copiesOf(3, 0))),
      {
        tag: "plan",
        message:
          "config.json: the copy of block 0 would stand at index 1 and its position would change from first to rest",
        fix: "Neither copy block 0 nor insert in front of it.",
      },
    );
    const decoder = understood({
      config: { model_type: "t5", num_layers: 3 },
      block: T5(true),
      count: 3,
      prefix: "decoder.block.{i}.",
      outside: "shared.weight decoder.final_layer_norm.weight encoder.block.0.x",
    });
    t.equal(decoder.stack, "decoder");
    t.same(decoder.stacks, ["decoder", "encoder"]);
    t.same(Object.keys(closedBy(decoder, 1)), ["attention", "cross-attention", "mlp"]);
    t.same(edits(decoder, copiesOf(3, 2)), { num_decoder_layers: 4 });
  },
);

t.test(
  "18. whisper: the alignment heads follow their decoder blocks; the encoder's second count follows the first",
  async (t) => {
    const block =
      "self_attn.{q,k,v,out}_proj.weight fc1.weight fc2.weight fc2.bias self_attn_layer_norm.weight final_layer_norm.weight";
    const cross = `${block} encoder_attn.{q,k,v,out}_proj.weight encoder_attn_layer_norm.weight`;
    const config = {
      model_type: "whisper",
      encoder_layers: 4,
      num_hidden_layers: 4,
      decoder_layers: 4,
      suppress_tokens: [1, 2, 3],
    };
    const documents = {
      "generation_config.json": {
        alignment_heads: [
          [1, 0],
          [3, 5],
        ],
        suppress_tokens: [1, 2],
      },
    };
    const outside =
      "model.{encoder,decoder}.layer_norm.weight model.encoder.conv1.weight model.decoder.embed_tokens.weight proj_out.weight";
    const decoder = understood({
      config,
      block: cross,
      count: 4,
      prefix: "model.decoder.layers.{i}.",
      outside,
      documents,
    });
    t.same(edits(decoder, copiesOf(4, 1, 2)), {
      decoder_layers: 6,
      "generation_config.json:alignment_heads": [
        [1, 0],
        [5, 5],
      ],
    });
    t.same(closedBy(decoder)["cross-attention"], ["encoder_attn.out_proj.weight=0"]);
    const encoder = understood(
      { config, block, count: 4, prefix: "model.encoder.layers.{i}.", outside, documents },
      "encoder",
    );
    t.same(edits(encoder, copiesOf(4, 0)), { encoder_layers: 5, num_hidden_layers: 5 });
  },
);

t.test("19. lists that count from 1, letters, runs, comma-separated text", async (t) => {
  const kda =
    "self_attn.{q,k,v,b,f_a,f_b,g_a,g_b,o}_proj.weight self_attn.{q,k,v}_conv1d.weight self_attn.{A_log,dt_bias,o_norm.weight}";
  const kimi = understood(
    model(
      "kimi_linear",
      4,
      (index) =>
        `${NORMS} ${index === 3 ? LATENT : kda} ${index === 0 ? MLP : "block_sparse_moe.experts.{e}.{w1,w2,w3}.weight block_sparse_moe.gate.weight"}`,
      {
        first_k_dense_replace: 1,
        linear_attn_config: { kda_layers: [1, 2, 3], full_attn_layers: [4], head_dim: 128 },
      },
    ),
  );
  t.same(edits(kimi, copiesOf(4, 0, 3)), {
    num_hidden_layers: 6,
    first_k_dense_replace: 2,
    "linear_attn_config.kda_layers": [1, 2, 3, 4],
    "linear_attn_config.full_attn_layers": [5, 6],
  });
  const nemotron = {
    M: "mixer.{A_log,D,dt_bias,conv1d.weight,in_proj.weight,norm.weight,out_proj.weight}",
    "*": "mixer.{q,k,v,o}_proj.weight",
    "-": "mixer.{up,down}_proj.weight",
  };
  const letters = "M-M*" as const;
  const hybrid = understood(
    model(
      "nemotron_h",
      4,
      (index) => `norm.weight ${nemotron[letters[index] as "M"]}`,
      { hybrid_override_pattern: letters },
      { prefix: "backbone.layers.{i}.", outside: "backbone.embeddings.weight backbone.norm_f.weight lm_head.weight" },
    ),
  );
  t.same(edits(hybrid, copiesOf(4, 1, 3)), { num_hidden_layers: 6, hybrid_override_pattern: "M--M**" });
  const neo =
    "ln_1.weight ln_2.weight attn.attention.{q_proj,k_proj,v_proj,out_proj}.weight attn.attention.{bias,masked_bias} mlp.{c_fc,c_proj}.weight";
  const runs = understood({
    config: {
      model_type: "gpt_neo",
      num_layers: 4,
      attention_types: [[["global", "local"], 2]],
      attention_layers: ["global", "local", "global", "local"],
    },
    block: neo,
    count: 4,
    prefix: "transformer.h.{i}.",
    outside: "transformer.{wte,wpe,ln_f}.weight",
  });
  t.same(edits(runs, copiesOf(4, 1)), {
    num_layers: 5,
    attention_types: [[["global", "local", "local", "global", "local"], 1]],
    attention_layers: ["global", "local", "local", "global", "local"],
  });
  const step = understood({
    config: {
      model_type: "step3p7",
      text_config: { num_hidden_layers: 3, layer_types: [F, S, F], moe_layers_enum: "1,2", swiglu_limits: [0, 1, 2] },
    },
    block: (index) =>
      `${NORMS} ${ATTENTION} ${index === 0 ? MLP : "moe.{gate,gate_proj,up_proj,down_proj}.weight share_expert.{gate,up,down}_proj.weight"}`,
    count: 3,
  });
  t.same(edits(step, copiesOf(3, 1)), {
    "text_config.num_hidden_layers": 4,
    "text_config.layer_types": [F, S, S, F],
    "text_config.moe_layers_enum": "1,2,3",
    "text_config.swiglu_limits": [0, 1, 1, 2],
  });
  const griffin = (index: number): string =>
    `temporal_pre_norm.weight channel_pre_norm.weight mlp_block.{gate,up,down}_proj.{weight,bias} ${index % 3 === 2 ? "temporal_block.{q,k,v,o}_proj.weight" : "temporal_block.{linear_x,linear_y,linear_out,conv_1d}.weight temporal_block.rg_lru.{input,recurrent}_gate_{weight,bias} temporal_block.rg_lru.recurrent_param"}`;
  const cycle = understood(
    model(
      "recurrent_gemma",
      6,
      griffin,
      { block_types: ["recurrent", "recurrent", "attention"] },
      { outside: "model.embed_tokens.weight model.final_norm.weight" },
    ),
  );
  t.same(edits(cycle, period(6, 3, 3)), { num_hidden_layers: 9 }, "a cycle that still fits stays as it is");
  t.same(edits(cycle, copiesOf(6, 2)).block_types, [
    "recurrent",
    "recurrent",
    "attention",
    "attention",
    "recurrent",
    "recurrent",
    "attention",
  ]);
});

t.test("post-norm models are refused with the reason and a way out", async (t) => {
  t.same(
    caught(() => understood(model("bert", 2, ""))),
    {
      tag: "unsupported",
      message:
        "config.json: bert cannot be expanded: a LayerNorm stands behind every residual addition: with zeroed branches a block is LayerNorm(x), not x, so no copy can be identity",
      fix: "Choose a pre-norm model of the same kind (modernbert, eurobert, roberta-prelayernorm, mbart).",
    },
  );
  t.match(caught(() => understood(model("gemma3n", 2, ""))).message, /^config.json: gemma3n cannot be expanded: AltUp/);
  t.match(
    caught(() => understood(model("opt", 2, "", { do_layer_norm_before: false }))).message,
    /^config.json: opt with do_layer_norm_before false cannot/,
  );
  t.match(
    caught(() => understood(model("wav2vec2", 2, ""))).message,
    /^config.json: wav2vec2 with do_stable_layer_norm false cannot/,
  );
});

// Defects of other tools (notes/peers.md, section 2) as far as names and settings go.

const perExpert = (names: string): string => `${NORMS} ${ATTENTION} ${names}`;
for (const [title, type, block] of [
  [
    "D1. input A: expert 3 of block 5 stays expert 3",
    "qwen3_moe",
    perExpert("mlp.experts.{e}.{gate,up,down}_proj.weight mlp.gate.weight"),
  ],
  [
    "D1. input B: Mixtral's names, w2 of every expert",
    "mixtral",
    perExpert("block_sparse_moe.experts.{e}.{w1,w2,w3}.weight block_sparse_moe.gate.weight"),
  ],
] as const) {
  t.test(title, async (t) => {
    const found = understood(model(type, 8, block, {}, { experts: 8 }));
    const renamed = found.blocks.flatMap((one) =>
      [...one.tensors.values()].map((name) => found.rename(name, one.index + 1)),
    );
    t.equal(new Set(renamed).size, 31 * 8, "no two tensors meet");
    const [third] = [...(found.blocks[5]?.tensors.values() ?? [])].filter((name) => name.includes("experts.3."));
    t.equal(found.rename(third ?? "", 7), (third ?? "").replace("layers.5.", "layers.7."));
    t.equal(closedBy(found).moe?.length, 8, "every expert's output");
    t.equal(closedBy(found).attention?.length, 1);
  });
}

t.test("D1. input C: the vision tower's blocks are not blocks of the text stack", async (t) => {
  const visual = "model.visual.blocks.0.norm1.weight model.visual.blocks.3.norm1.weight model.visual.layers.1.weight";
  const found = understood({
    config: {
      model_type: "qwen2_5_vl",
      num_hidden_layers: 4,
      vision_config: { depth: 4, fullatt_block_indexes: [1, 3] },
    },
    block: LLAMA,
    count: 4,
    prefix: "model.language_model.layers.{i}.",
    outside: `model.language_model.{embed_tokens,norm}.weight lm_head.weight ${visual}`,
  });
  t.equal(found.blocks.length, 4);
  t.same(
    found.outside.filter((name) => name.includes("visual")),
    visual.split(" "),
  );
  t.same(edits(found, copiesOf(4, 1, 3)), { num_hidden_layers: 6 });
});

t.test("D13. a name that only contains a block's number belongs to its own block, or to none", async (t) => {
  const found = understood({
    config: { model_type: "llava", text_config: { model_type: "llama", num_hidden_layers: 41 } },
    block: LLAMA,
    count: 41,
    prefix: "language_model.model.layers.{i}.",
    outside:
      "language_model.model.{embed_tokens,norm}.weight language_model.lm_head.weight vision_tower.encoder.layers.4.mlp.fc1.weight",
  });
  t.ok(
    [...(found.blocks[4]?.tensors.values() ?? [])].every((name) => name.startsWith("language_model.model.layers.4.")),
  );
  t.equal(found.blocks[4]?.tensors.size, found.blocks[40]?.tensors.size);
  t.ok(found.outside.includes("vision_tower.encoder.layers.4.mlp.fc1.weight"));
});

const DELTA =
  "linear_attn.{A_log,dt_bias,conv1d.weight,norm.weight} linear_attn.in_proj_{ba,qkvz}.weight linear_attn.out_proj.weight";
const SHARED_EXPERT = "mlp.shared_expert.{gate,up,down}_proj.weight mlp.shared_expert_gate.weight";
const D14: readonly {
  title: string;
  parts: ModelParts;
  block?: number;
  closed: Readonly<Record<string, readonly string[]>>;
}[] = [
  {
    title: "Qwen3-Next, linear-attention block",
    parts: model("qwen3_next", 4, (index) => `${NORMS} ${index === 3 ? ATTENTION : DELTA} ${EXPERTS} ${SHARED_EXPERT}`),
    closed: {
      attention: ["linear_attn.out_proj.weight=0"],
      moe: [
        "mlp.experts.0.down_proj.weight=0",
        "mlp.experts.1.down_proj.weight=0",
        "mlp.shared_expert.down_proj.weight=0",
      ],
    },
  },
  {
    title: "LFM2, conv block",
    parts: model(
      "lfm2",
      2,
      (index) =>
        `operator_norm.weight ffn_norm.weight ${index === 0 ? "conv.{conv,in_proj,out_proj}.weight" : "self_attn.{q_proj,k_proj,v_proj,out_proj,q_layernorm,k_layernorm}.weight"} feed_forward.{w1,w2,w3}.weight`,
      { full_attn_idxs: [1] },
      { outside: "model.embed_tokens.weight model.embedding_norm.weight" },
    ),
    closed: { conv: ["conv.out_proj.weight=0"], mlp: ["feed_forward.w2.weight=0"] },
  },
  {
    title: "Falcon",
    parts: model(
      "falcon",
      2,
      "input_layernorm.{weight,bias} self_attention.{query_key_value,dense}.weight mlp.{dense_h_to_4h,dense_4h_to_h}.weight",
      {},
      { prefix: "transformer.h.{i}.", outside: "transformer.word_embeddings.weight transformer.ln_f.weight" },
    ),
    closed: { attention: ["self_attention.dense.weight=0"], mlp: ["mlp.dense_4h_to_h.weight=0"] },
  },
  {
    title: "GPT-NeoX",
    parts: model(
      "gpt_neox",
      2,
      "{input_layernorm,post_attention_layernorm}.{weight,bias} attention.{query_key_value,dense}.{weight,bias} attention.{bias,masked_bias} attention.rotary_emb.inv_freq mlp.{dense_h_to_4h,dense_4h_to_h}.{weight,bias}",
      {},
      {
        prefix: "gpt_neox.layers.{i}.",
        outside: "gpt_neox.embed_in.weight gpt_neox.final_layer_norm.weight embed_out.weight",
      },
    ),
    closed: {
      attention: ["attention.dense.bias=0", "attention.dense.weight=0"],
      mlp: ["mlp.dense_4h_to_h.bias=0", "mlp.dense_4h_to_h.weight=0"],
    },
  },
  {
    title: "Phi-2",
    parts: model(
      "phi",
      2,
      "input_layernorm.{weight,bias} self_attn.{q_proj,k_proj,v_proj,dense}.{weight,bias} mlp.{fc1,fc2}.{weight,bias}",
      {},
      { outside: "model.embed_tokens.weight model.final_layernorm.weight lm_head.weight lm_head.bias" },
    ),
    closed: {
      attention: ["self_attn.dense.bias=0", "self_attn.dense.weight=0"],
      mlp: ["mlp.fc2.bias=0", "mlp.fc2.weight=0"],
    },
  },
];
for (const { title, parts, closed } of D14) {
  t.test(`D14. ${title}: every output, and its bias, is closed`, async (t) => {
    t.same(closedBy(understood(parts)), closed);
  });
}
