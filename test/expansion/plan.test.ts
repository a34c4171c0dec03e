// Plans on real files: what they decide, how they are saved and replayed, what is refused.
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import { type TinyHf, tinyGemma2, tinyLlama, tinyMixtral, writeTinyHf } from "../../fixtures/hf.ts";
import { understand } from "../../src/architecture/detect.ts";
import { sourceIndex } from "../../src/architecture/layout.ts";
import { ExpandError } from "../../src/errors.ts";
import { applyPlan } from "../../src/expansion/apply.ts";
import { checkLiveness, isIdentityBlock } from "../../src/expansion/liveness.ts";
import { type PlacementOptions, placeCopies } from "../../src/expansion/placement.ts";
import { type Plan, planExpansion, planFingerprint, type ZeroMode } from "../../src/expansion/plan.ts";
import { parsePlan, replayPlan } from "../../src/expansion/replay.ts";
import { openCheckpoint } from "../../src/formats/open.ts";

async function planned(t: TestLike, model: TinyHf, options: PlacementOptions, zero: ZeroMode = "auto") {
  const directory = path.join(t.testdir(), "model");
  writeTinyHf(directory, model);
  const checkpoint = await openCheckpoint(directory);
  const architecture = await understand(checkpoint);
  const { period, periodIsOptional } = architecture;
  const layout = placeCopies({ blocks: architecture.blocks.length, period, periodIsOptional }, options);
  const plan = planExpansion(checkpoint, architecture, layout, zero);
  return { directory, checkpoint, architecture, plan };
}

interface TestLike {
  testdir(): string;
}

async function refusal(work: () => unknown): Promise<string> {
  try {
    await work();
  } catch (error) {
    if (error instanceof ExpandError) return `${error.tag}: ${error.message} | ${error.fix ?? ""}`;
    throw error;
  }
  return "not refused";
}

const zeroedOf = (plan: Plan): Record<number, string[]> =>
  Object.fromEntries(
    plan.blocks.flatMap((block) =>
      block.kind === "copy" ? [[block.at, block.zeroed.map((fixed) => `${fixed.tensor} = ${fixed.value}`)]] : [],
    ),
  );

t.test(
  "a Llama's copy has both output projections zeroed, a Gemma 2's the gains of the norms behind them",
  async (t) => {
    const llama = await planned(t, tinyLlama({ blocks: 4 }), { add: 1 });
    t.same(zeroedOf(llama.plan), {
      4: ["model.layers.4.self_attn.o_proj.weight = 0", "model.layers.4.mlp.down_proj.weight = 0"],
    });
    const gemma = await planned(t, tinyGemma2({ blocks: 4 }), { add: 2 });
    t.same(zeroedOf(gemma.plan), {
      4: [
        "model.layers.4.post_attention_layernorm.weight = -1",
        "model.layers.4.post_feedforward_layernorm.weight = -1",
      ],
      5: [
        "model.layers.5.post_attention_layernorm.weight = -1",
        "model.layers.5.post_feedforward_layernorm.weight = -1",
      ],
    });
  },
);

t.test(
  "--zero projections closes projections everywhere; --zero norm-gain is refused where no norm stands behind",
  async (t) => {
    const gemma = await planned(t, tinyGemma2({ blocks: 4 }), { add: 2 }, "projections");
    t.same(zeroedOf(gemma.plan)[4], [
      "model.layers.4.self_attn.o_proj.weight = 0",
      "model.layers.4.mlp.down_proj.weight = 0",
    ]);
    t.equal(
      await refusal(() => planned(t, tinyLlama({ blocks: 4 }), { add: 1 }, "norm-gain")),
      "plan: block 3: the attention branch has no norm-gain to close | Use --zero auto.",
    );
  },
);

t.test(
  "8 blocks x 8 experts with 2 copies: 292 tensors, 18 of them zero, every original under its new name (D1)",
  async (t) => {
    const { checkpoint, architecture, plan } = await planned(t, tinyMixtral({ blocks: 8, experts: 8 }), { add: 2 });
    const { checkpoint: expanded } = applyPlan(checkpoint, architecture, plan);
    // 3 outside; per block 4 attention, 24 expert, 1 router, 2 norm tensors.
    t.equal(checkpoint.tensors.size, 3 + 8 * 31);
    t.equal(expanded.tensors.size, 3 + 10 * 31);
    const zeroed = [...expanded.tensors].filter(([, tensor]) => tensor.kind === "fill").map(([name]) => name);
    t.equal(zeroed.length, 18);
    t.ok(
      zeroed.every((name) =>
        /^model\.layers\.(4|9)\.(self_attn\.o_proj|block_sparse_moe\.experts\.\d\.w2)\.weight$/.test(name),
      ),
    );
    const moved = [0, 1, 2, 3, 5, 6, 7, 8];
    for (const [from, at] of moved.entries()) {
      for (const [suffix, name] of architecture.blocks[from]?.tensors ?? []) {
        t.equal(expanded.tensors.get(`model.layers.${at}.${suffix}`), checkpoint.tensors.get(name));
      }
    }
  },
);

t.test("a saved plan replays to the same plan, and survives stale settings in the file", async (t) => {
  const { checkpoint, architecture, plan } = await planned(t, tinyLlama({ blocks: 4 }), { after: [0, 2] });
  const text = JSON.stringify(plan);
  t.same(replayPlan(checkpoint, architecture, parsePlan("plan.json", text)), plan);
  const stale = JSON.stringify({ ...plan, config: [], cost: {} });
  t.equal(planFingerprint(replayPlan(checkpoint, architecture, parsePlan("plan.json", stale))), planFingerprint(plan));
});

t.test(
  "a plan edited by hand may move copies and choose another factor, but may not leave a branch open or dead",
  async (t) => {
    const { checkpoint, architecture, plan } = await planned(t, tinyGemma2({ blocks: 4 }), { add: 2 });
    const edited = (zeroed: string[]): string =>
      JSON.stringify({
        ...plan,
        blocks: plan.blocks.map((block) =>
          block.at === 4 ? { ...block, zeroed: zeroed.map((name) => ({ tensor: `model.layers.4.${name}` })) } : block,
        ),
      });
    const replay = (zeroed: string[]): Plan =>
      replayPlan(checkpoint, architecture, parsePlan("plan.json", edited(zeroed)));
    const attention = "self_attn.o_proj.weight";
    const attentionGain = "post_attention_layernorm.weight";
    const mlpGain = "post_feedforward_layernorm.weight";
    t.same(zeroedOf(replay([attention, mlpGain]))[4], [
      "model.layers.4.self_attn.o_proj.weight = 0",
      "model.layers.4.post_feedforward_layernorm.weight = -1",
    ]);
    t.equal(
      await refusal(() => replay([attention])),
      'plan: the plan leaves the mlp branch of copy 4 open: the copy would not be identity | Zero exactly one factor of each branch, or remove "zeroed" from the block.',
    );
    t.equal(
      await refusal(() => replay([attention, attentionGain, mlpGain])),
      'plan: the plan leaves the attention branch of copy 4 closed twice: it could never learn | Zero exactly one factor of each branch, or remove "zeroed" from the block.',
    );
    t.equal(
      await refusal(() => replay([attention, mlpGain, "self_attn.q_proj.weight"])),
      'plan: copy 4 has no reason to zero "model.layers.4.self_attn.q_proj.weight": that would only lose weights | Remove it from the block\'s "zeroed".',
    );
  },
);

t.test("a plan says which weights beside those that are expanded are not copied", async (t) => {
  const { directory, checkpoint, architecture, plan } = await planned(t, tinyLlama({ blocks: 4 }), { add: 1 });
  t.same([checkpoint.leftOut, plan.notes], [[], []]);
  const layout = plan.blocks.map(({ kind, from }) => ({ kind, from: sourceIndex(from) }));
  const notes = async (...names: readonly string[]): Promise<readonly string[]> => {
    for (const name of names) fs.writeFileSync(path.join(directory, name), "");
    return planExpansion(await openCheckpoint(directory), architecture, layout).notes;
  };
  t.same(await notes("training_args.bin", "a.gguf"), [
    "Weights beside those that are expanded are not copied: a.gguf.",
  ]);
  t.same(await notes("b.onnx", "c.onnx", "d.onnx", "e.onnx"), [
    "Weights beside those that are expanded are not copied: a.gguf, b.onnx, c.onnx and 2 more.",
  ]);
});

t.test("a plan for another checkpoint, or one that is not a plan, is refused", async (t) => {
  const { checkpoint, architecture, plan } = await planned(t, tinyLlama({ blocks: 4 }), { add: 1 });
  const found = plan.source.headers.slice(0, 12);
  const other = JSON.stringify({ ...plan, source: { ...plan.source, headers: "0".repeat(64) } });
  t.equal(
    await refusal(() => replayPlan(checkpoint, architecture, parsePlan("plan.json", other))),
    `plan: ${checkpoint.location}: the plan was made for a checkpoint with headers 000000000000, this one has ${found} | Make a new plan for this checkpoint.`,
  );
  const rows: readonly [string, string][] = [
    ["[]", "plan.json: the plan: expected an object, found []"],
    ["{}", 'plan.json: expected "schema": "expand-checkpoint/plan/1", found null'],
    [JSON.stringify({ ...plan, blocks: 3 }), 'plan.json: "blocks": expected a list, found 3'],
    [
      JSON.stringify({ ...plan, blocks: [{ kind: "new" }] }),
      'plan.json: "blocks[0]" "kind": expected "original" or "copy", found "new"',
    ],
    [
      JSON.stringify({ ...plan, blocks: [{ kind: "copy", from: -1 }] }),
      'plan.json: "blocks[0]" "from": expected a block number, found -1',
    ],
    [
      JSON.stringify({ ...plan, zero: "some" }),
      'plan.json: "zero": expected "auto", "projections" or "norm-gain", found "some"',
    ],
  ];
  for (const [text, message] of rows) t.match(await refusal(() => parsePlan("plan.json", text)), `plan: ${message} | `);
});

t.test("originals must be there once each and in order, and something must be added", async (t) => {
  const { checkpoint, architecture, plan } = await planned(t, tinyLlama({ blocks: 4 }), { add: 1 });
  const replay = (blocks: unknown[]): Plan =>
    replayPlan(checkpoint, architecture, parsePlan("plan.json", JSON.stringify({ ...plan, blocks })));
  const original = (from: number) => ({ kind: "original", from });
  t.match(
    await refusal(() => replay([original(0), original(2), original(1), original(3)])),
    "plan: originals must be blocks 0 to 3, once each and in order",
  );
  t.match(await refusal(() => replay([0, 1, 2, 3].map(original))), "plan: the plan adds no copies");
  t.match(await refusal(() => replay([{ kind: "copy", from: 9 }])), "plan: there is no block 9: the source has 4");
});

t.test("a block whose other factor is closed already is not copied: both closed would never learn", async (t) => {
  const { directory } = await planned(t, tinyGemma2({ blocks: 4 }), { add: 2 });
  zeroTensor(directory, "model.layers.3.self_attn.o_proj.weight");
  const checkpoint = await openCheckpoint(directory);
  const architecture = await understand(checkpoint);
  const layout = placeCopies({ blocks: 4, period: 2, periodIsOptional: true }, { add: 2 });
  t.equal(
    await refusal(() => checkLiveness(checkpoint, architecture, planExpansion(checkpoint, architecture, layout))),
    "plan: block 3: the projection of its attention branch is closed already, so a copy of it could never learn | Copy another block with --after, or use --zero projections or --zero norm-gain.",
  );
  zeroTensor(directory, "model.layers.3.mlp.down_proj.weight");
  const { blocks } = await understand(await openCheckpoint(directory));
  const found = await Promise.all(blocks.map((block) => isIdentityBlock(checkpoint, block)));
  t.same(found, [false, false, false, true], "inspect and mask find such a block");
});

t.test(
  "a row that holds a slice for every block grows with them: originals keep theirs, copies get zeros",
  async (t) => {
    const part = (name: string, shape: number[]): [string, number[]][] => [
      [`esm.encoder.layer.{i}.${name}.weight`, shape],
      [`esm.encoder.layer.{i}.${name}.bias`, shape.slice(0, 1)],
    ];
    const { checkpoint, architecture, plan } = await planned(
      t,
      {
        config: {
          model_type: "esm",
          num_hidden_layers: 2,
          hidden_size: 8,
          num_attention_heads: 2,
          intermediate_size: 8,
        },
        blocks: 2,
        dtype: "F32",
        seed: 5,
        tensors: Object.fromEntries([
          ["esm.embeddings.word_embeddings.weight", [16, 8]],
          ...["query", "key", "value"].flatMap((name) => part(`attention.self.${name}`, [8, 8])),
          ...["attention.output.dense", "intermediate.dense", "output.dense"].flatMap((name) => part(name, [8, 8])),
          ...["attention.LayerNorm", "LayerNorm"].flatMap((name) => part(name, [8])),
          ["esm.contact_head.regression.weight", [1, 4]],
          ["esm.contact_head.regression.bias", [1]],
        ]),
      },
      { after: [0] },
    );
    const name = "esm.contact_head.regression.weight";
    const before = checkpoint.tensors.get(name);
    const after = applyPlan(checkpoint, architecture, plan).checkpoint.tensors.get(name);
    if (before?.kind !== "stored" || after?.kind !== "stored") throw new ExpandError("bug", "both are stored");
    t.same(after.shape, [1, 6]);
    const old = Buffer.from(await before.source.read(before.offset, 16));
    const grown = Buffer.from(await after.source.read(after.offset, 24));
    t.same(grown, Buffer.concat([old.subarray(0, 8), Buffer.alloc(8), old.subarray(8)]));
    t.same(Buffer.from(await after.source.read(6, 4)), grown.subarray(6, 10), "a read across a seam");
    t.match(plan.notes, [`${name} holds a slice for every block: [1, 4] becomes [1, 6], zero for the copies`]);
  },
);

/** Zeroes a tensor of model.safetensors in place. */
function zeroTensor(directory: string, name: string): void {
  const file = path.join(directory, "model.safetensors");
  const data = fs.readFileSync(file);
  const header = Number(data.readBigUInt64LE(0));
  const { data_offsets } = JSON.parse(data.subarray(8, 8 + header).toString())[name];
  data.fill(0, 8 + header + data_offsets[0], 8 + header + data_offsets[1]);
  fs.writeFileSync(file, data);
}
