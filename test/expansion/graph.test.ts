import t from "tap";
import { drawDecoder } from "../../fixtures/onnx/decoder.ts";
import { drawFusedGpt2 } from "../../fixtures/onnx/gpt2.ts";
import { mergedModel } from "../../fixtures/onnx/merged.ts";
import { type TinyDecoder, TRACED } from "../../fixtures/onnx/options.ts";
import { MICROSOFT, Sketch } from "../../fixtures/onnx/sketch.ts";
import { type LayoutBlock, sourceIndex } from "../../src/architecture/layout.ts";
import { ExpandError } from "../../src/errors.ts";
import { renumbering, withTwins } from "../../src/expansion/graph/caches.ts";
import { expandGraph, newInitializers } from "../../src/expansion/graph/expand.ts";
import type { PlannedBlock } from "../../src/expansion/plan.ts";
import { type Graph, tensorOf, ZEROS } from "../../src/graph/graph.ts";
import { DataLocation, type ModelProto } from "../../src/graph/onnx.ts";
import { printGraph } from "../../src/graph/print.ts";
import type { GraphBlocks } from "../../src/residual/blocks.ts";
import { findBlocks } from "../../src/residual/find.ts";
import { type DrawBlock, mlp, norm, plainBlock, streamGraph, WIDTH, weight } from "../residual/streams.ts";
import { compare, type Feeding, LEVELS, type Level, loadRuntime, runModel, selfContained } from "./graph-identity.ts";

const onnx = await loadRuntime();
t.setTimeout(240_000);
const skip = onnx === undefined ? "onnxruntime-node is not installed" : false;
const OPSETS = { "": 17, [MICROSOFT]: 1, "pkg.local": 1 };
const LENGTHS: Feeding = {
  sizes: {
    batch_size: 1,
    sequence_length: 4,
    past_sequence_length: 3,
    total_sequence_length: 7,
    seq_len: 4,
    past_seq_len: 3,
    total_seq_len: 7,
    length: 5,
  },
  values: { attention_mask: Array(7).fill(1), position_ids: [3, 4, 5, 6] },
};

function graphOf(model: ModelProto): Graph {
  return { model, files: new Map() };
}

function decoder(options: Partial<TinyDecoder>): Graph {
  const whole = { ...TRACED, ...options };
  return graphOf(drawDecoder(whole).model({ ...OPSETS, "": whole.opset }, "test"));
}

/** "0 0* 1 1*": originals, and copies with a star, all branches of which are closed in the preferred way. */
function planned(blocks: GraphBlocks, layout: string, closed = true): readonly PlannedBlock[] {
  return layout.split(" ").map((word, at): PlannedBlock => {
    const from = Number(word.replace("*", ""));
    if (!word.endsWith("*")) return { at, from, kind: "original" };
    const source = blocks.blocks[from];
    const stems = new Map(source?.tensors.map(({ name, stem }) => [name, stem]));
    const fixed = (closed ? (source?.branches ?? []) : []).flatMap(
      ({ factors, preferred }) => factors[preferred]?.tensors ?? [],
    );
    const zeroed = fixed.map(({ tensor, value }) => ({
      tensor: blocks.prefix(at) + stems.get(tensor),
      factor: "projection" as const,
      value,
    }));
    return { at, from, kind: "copy", zeroed, why: [] };
  });
}

const everyBlock = (blocks: GraphBlocks): string => blocks.blocks.map(({ index }) => `${index} ${index}*`).join(" ");

function expand(
  graph: Graph,
  layout?: string,
): { expanded: Graph; blocks: GraphBlocks; names: ReadonlyMap<string, string> } {
  const blocks = findBlocks(graph);
  const plan = planned(blocks, layout ?? everyBlock(blocks));
  const order = plan.map(({ kind, from }): LayoutBlock => ({ kind, from: sourceIndex(from) }));
  return { expanded: expandGraph(blocks, { blocks: plan }), blocks, names: renumbering(blocks, order) };
}

/** By level, the largest difference over all outputs of the original, or Infinity for NaN. */
async function differences(
  before: Graph,
  after: Graph,
  names: ReadonlyMap<string, string>,
  levels: readonly Level[] = LEVELS,
  feeding = LENGTHS,
): Promise<readonly number[]> {
  if (onnx === undefined) return [];
  const [one, other] = [await selfContained(before), await selfContained(after)];
  const found: number[] = [];
  for (const level of levels) {
    const original = await runModel(onnx, one, before.model, level, feeding);
    const expanded = await runModel(onnx, other, after.model, level, feeding);
    found.push(compare(original, expanded, (name) => names.get(name) ?? name).maxAbs);
  }
  return found;
}

async function difference(before: Graph, after: Graph, names: ReadonlyMap<string, string>): Promise<number> {
  const [found = Number.NaN] = await differences(before, after, names, ["disabled"]);
  return found;
}

const NOWHERE = [0, 0, 0, 0];

const FLAVOURS: Readonly<Record<string, () => Graph>> = {
  traced: () => decoder({ blocks: 2, biases: true }),
  constants: () => decoder({ blocks: 2, constants: true }),
  gemm: () => decoder({ blocks: 2, linear: "gemm" }),
  transposed: () => decoder({ blocks: 2, linear: "transposed" }),
  cast: () => decoder({ blocks: 2, linear: "cast" }),
  fused: () => decoder({ blocks: 2, linear: "fused" }),
  convolution: () => decoder({ blocks: 2, linear: "conv" }),
  "4-bit MatMulNBits": () => decoder({ blocks: 2, linear: "nbits", biases: true }),
  "8-bit MatMulInteger": () => decoder({ blocks: 2, linear: "integer", biases: true }),
  "8-bit DequantizeLinear": () => decoder({ blocks: 2, linear: "qdq" }),
  "4-bit DequantizeLinear": () => decoder({ blocks: 2, linear: "qdq4", opset: 21 }),
  "Skip norms": () =>
    decoder({ blocks: 2, norm: "skip-simplified", attention: "gqa", opset: 21, biases: true, shared: false }),
  "Skip norms with shared biases": () => decoder({ blocks: 2, norm: "skip-layer", mlp: "gelu", biases: true }),
  "opset 23": () => decoder({ blocks: 2, norm: "rms23", attention: "attention23", opset: 23 }),
  functions: () => decoder({ blocks: 2, norm: "function" }),
  "half precision": () => decoder({ blocks: 2, type: "F16" }),
  "fused GPT-2": () => graphOf(drawFusedGpt2(2, "F32").model({ "": 11, [MICROSOFT]: 1 }, "test")),
};

t.test(
  "every flavour computes the same with a copy of every block, at every level of optimization",
  { skip },
  async (t) => {
    for (const [name, make] of Object.entries(FLAVOURS)) {
      const graph = make();
      const { expanded, names } = expand(graph);
      t.strictSame(await differences(graph, expanded, names), NOWHERE, name);
    }
  },
);

t.test("a merged decoder computes the same in both branches", { skip }, async (t) => {
  const graph = graphOf(mergedModel());
  const { expanded, names } = expand(graph, "0 1 1* 0* 2 2*");
  const runs = [
    { ...LENGTHS, values: { ...LENGTHS.values, use_cache_branch: [1] } },
    {
      sizes: { ...LENGTHS.sizes, past_sequence_length: 0, total_sequence_length: 4 },
      values: { attention_mask: Array(4).fill(1), use_cache_branch: [0] },
    },
  ];
  for (const feeding of runs) t.strictSame(await differences(graph, expanded, names, LEVELS, feeding), NOWHERE);
});

t.test(
  "half-precision Skip norms differ by their own rounding, and not at all when taken apart",
  { skip },
  async (t) => {
    const graph = decoder({ norm: "skip-layer", type: "F16", biases: true });
    const { expanded, names } = expand(graph);
    const fused = await difference(graph, expanded, names);
    t.ok(fused > 0 && fused < 1e-2, `differs by ${fused}`);
    const twins = [graph, expanded].map((each) => findBlocks(each).lowered);
    const [before = graph, after = expanded] = twins;
    t.equal(await difference(before, after, names), 0, "lowered twins");
  },
);

t.test("copies stand anywhere, in any order and number, also before the first block", { skip }, async (t) => {
  const graph = decoder({ norm: "skip-layer", biases: true });
  for (const layout of ["0* 0 1 2", "2* 1* 0 1 2", "0 1 2 2* 2* 0*", "0 0* 0* 0* 1 2", "0 2* 1 0* 2 1*"]) {
    const { expanded, names } = expand(graph, layout);
    t.equal(await difference(graph, expanded, names), 0, layout);
  }
});

t.test("a copy that is not closed is found out by running it", { skip }, async (t) => {
  const graph = decoder({});
  const blocks = findBlocks(graph);
  const open = expandGraph(blocks, { blocks: planned(blocks, "0 1 1* 2", false) });
  const { names } = expand(graph, "0 1 1* 2");
  t.ok((await difference(graph, open, names)) > 1e-3);
});

/** x + f(x) with f in an odd form of operator. */
const ODD_FORMS: Readonly<Record<string, DrawBlock>> = {
  Einsum: (sketch, x, index) => {
    const w = weight(sketch, `${index}.w`, [WIDTH, WIDTH]);
    return sketch.one("Add", [
      x,
      sketch.one("Einsum", [norm(sketch, x, `${index}.ln`), w], { attributes: { equation: "bsi,io->bso" } }),
    ]);
  },
  DynamicQuantizeMatMul: (sketch, x, index) => {
    const operands = [
      norm(sketch, x, `${index}.ln`),
      ...quantized(sketch, index),
      weight(sketch, `${index}.bias`, [WIDTH]),
    ];
    return sketch.one("Add", [x, sketch.one("DynamicQuantizeMatMul", operands, { domain: MICROSOFT })]);
  },
  MatMulIntegerToFloat: (sketch, x, index) => {
    const [w = "", scale = "", zero = ""] = quantized(sketch, index);
    const [a = "", aScale = "", aZero = ""] = sketch.add("DynamicQuantizeLinear", [norm(sketch, x, `${index}.ln`)], {
      outputs: 3,
    });
    const operands = [a, w, aScale, scale, aZero, zero, weight(sketch, `${index}.bias`, [WIDTH])];
    return sketch.one("Add", [x, sketch.one("MatMulIntegerToFloat", operands, { domain: MICROSOFT })]);
  },
  "MatMulInteger with a zero point for each column": (sketch, x, index) => {
    const w = sketch.tensor(
      `${index}.q`,
      "U8",
      [WIDTH, WIDTH],
      Uint8Array.from({ length: WIDTH * WIDTH }, (_, at) => (at * 37) % 251),
    );
    const zero = sketch.tensor(
      `${index}.zero`,
      "U8",
      [WIDTH],
      Uint8Array.from({ length: WIDTH }, (_, at) => 120 + at),
    );
    const scale = sketch.tensor(
      `${index}.scale`,
      "F32",
      [WIDTH],
      new Uint8Array(Float32Array.from({ length: WIDTH }, (_, at) => 0.01 + at / 1000).buffer),
    );
    const [a = "", aScale = "", aZero = ""] = sketch.add("DynamicQuantizeLinear", [norm(sketch, x, `${index}.ln`)], {
      outputs: 3,
    });
    const product = sketch.one("Cast", [sketch.one("MatMulInteger", [a, w, aZero, zero])], { attributes: { to: 1 } });
    return sketch.one("Add", [x, sketch.one("Mul", [product, sketch.one("Mul", [aScale, scale])])]);
  },
  MoE: (sketch, x, index) => {
    const normed = sketch.one("Reshape", [norm(sketch, x, `${index}.ln`), sketch.constant("I64", [-1, WIDTH])]);
    const router = sketch.one("MatMul", [normed, weight(sketch, `${index}.router`, [WIDTH, 2])]);
    const up = [weight(sketch, `${index}.fc1`, [2, 16, WIDTH]), weight(sketch, `${index}.fc1.bias`, [2, 16])];
    const down = [weight(sketch, `${index}.fc2`, [2, WIDTH, 16]), weight(sketch, `${index}.fc2.bias`, [2, WIDTH])];
    const y = sketch.one("MoE", [normed, router, ...up, ...down], {
      domain: MICROSOFT,
      attributes: { k: 1, activation_type: "relu" },
    });
    return sketch.one("Add", [x, sketch.one("Reshape", [y, sketch.constant("I64", [1, -1, WIDTH])])]);
  },
  "a gain behind the projection": (sketch, x, index) =>
    sketch.one("Add", [x, norm(sketch, mlp(sketch, norm(sketch, x, `${index}.ln1`), `${index}.mlp`), `${index}.ln2`)]),
  "an If inside": (sketch, x, index) => {
    const normed = norm(sketch, x, `${index}.ln`);
    const w = weight(sketch, `${index}.w`, [WIDTH, WIDTH]);
    const branch = (op: string) => {
      const inner = new Sketch("inside");
      inner.output(inner.one(op, [normed], { outputs: [`inside ${op} ${index}`] }), "F32", [1, "length", WIDTH]);
      return inner.graph(op);
    };
    const flag = sketch.one("Greater", [
      sketch.one("ReduceMean", [normed], { attributes: { keepdims: 0 } }),
      sketch.constant("F32", [0], []),
    ]);
    const chosen = sketch.one("If", [flag], {
      attributes: { then_branch: branch("Relu"), else_branch: branch("Tanh") },
    });
    return sketch.one("Add", [x, sketch.one("MatMul", [chosen, w])]);
  },
};

/** An 8-bit weight, its scale and its zero point. */
function quantized(sketch: Sketch, index: number): string[] {
  const values = Uint8Array.from({ length: WIDTH * WIDTH }, (_, at) => (at * 37 + index) % 251);
  return [
    sketch.tensor(`${index}.q`, "U8", [WIDTH, WIDTH], values),
    sketch.tensor(`${index}.scale`, "F32", [1], new Uint8Array(Float32Array.of(0.01).buffer)),
    sketch.tensor(`${index}.zero`, "U8", [1], Uint8Array.of(120)),
  ];
}

t.test(
  "odd forms of projections are closed too, and blocks with graphs inside are copied whole",
  { skip },
  async (t) => {
    for (const [name, block] of Object.entries(ODD_FORMS)) {
      const graph = streamGraph({ blocks: 3, block });
      const { expanded, names, blocks } = expand(graph);
      t.strictSame(await differences(graph, expanded, names), NOWHERE, name);
      const open = expandGraph(blocks, { blocks: planned(blocks, "0 1 1* 2", false) });
      t.ok((await difference(graph, open, names)) > 1e-4, `${name}: the weights that are zeroed matter`);
    }
  },
);

t.test("an expanded graph is expanded again", { skip }, async (t) => {
  const graph = decoder({ norm: "skip-simplified", attention: "gqa", opset: 21, biases: true, shared: false });
  const once = expand(graph, "0 1 1* 2");
  const twice = expand(once.expanded, "0 1 2 2* 3 1*");
  const names = new Map([...once.names].map(([from, to]) => [from, twice.names.get(to) ?? to]));
  t.equal(await difference(graph, twice.expanded, names), 0);
  t.strictSame(
    findBlocks(twice.expanded)
      .blocks.map(({ structure }) => structure)
      .every((each, _, all) => each === all[0]),
    true,
  );
});

t.test("originals' nodes come out as they went in, whatever was taken apart on the way", async (t) => {
  for (const [name, make] of Object.entries({ ...FLAVOURS, merged: () => graphOf(mergedModel()) })) {
    const blocks = findBlocks(make());
    const same = expandGraph(blocks, { blocks: planned(blocks, blocks.blocks.map(({ index }) => index).join(" ")) });
    t.equal(printGraph(same), printGraph(blocks.graph), `${name}: nothing added, nothing changed`);
  }
  const graph = decoder({ linear: "gemm" });
  const { expanded, blocks, names } = expand(graph, "0 1 1* 2");
  const rename = (text: string): string =>
    text.replace(/(?:past_key_values|present)\.\d+\.(?:key|value)/g, (name) => names.get(name) ?? name);
  const after = new Set(printGraph(expanded).split("\n"));
  const changed = printGraph(blocks.graph)
    .split("\n")
    .filter((line) => !after.has(rename(line)));
  const border = blocks.blocks[1]?.passages[0]?.output ?? "?";
  t.ok(
    changed.length > 0 && changed.every((line) => line.includes(border)),
    "only readers of the border read from the copy",
  );
});

t.test(
  "a copy's weights are references to its source's bytes, zeros are one place, and no original is touched",
  async (t) => {
    const graph = decoder({ shared: false, biases: true });
    const { expanded, blocks } = expand(graph, "0 1 1* 2");
    const before = new Map(blocks.graph.model.graph?.initializer.map((tensor) => [tensor.name, tensor]));
    const added = (expanded.model.graph?.initializer ?? []).filter(({ name }) => !before.has(name));
    t.strictSame(
      added.map(({ name }) => name),
      newInitializers(blocks, { blocks: planned(blocks, "0 1 1* 2") }),
    );
    for (const tensor of expanded.model.graph?.initializer ?? []) {
      const source = before.get(tensor.name);
      if (source !== undefined) t.strictSame(tensor, source);
    }
    const closed = added.filter(({ name }) => /o_proj|down_proj/.test(name));
    t.equal(closed.length, 4);
    for (const tensor of closed) {
      const large = tensor.dataLocation === DataLocation.EXTERNAL;
      t.equal(large, !tensor.name.endsWith("bias"), `${tensor.name}: only large zeros are outside`);
      if (large) t.equal(tensor.externalData[0]?.value, ZEROS);
      const ref = tensorOf(expanded, tensor);
      const bytes = ref.kind === "fill" ? ref.pattern : await ref.source.read(ref.offset, ref.bytes);
      t.ok(bytes.every((byte) => byte === 0));
    }
  },
);

t.test("one initializer of many uses becomes one for each use in a copy", async (t) => {
  const { expanded, blocks } = expand(decoder({ biases: true, norm: "layer" }), "0 1 1* 2");
  const readers = new Map<string, number>();
  for (const node of expanded.model.graph?.node ?? [])
    for (const name of node.input) readers.set(name, (readers.get(name) ?? 0) + 1);
  const trainable = blocks.blocks[1]?.tensors.map(({ stem }) => blocks.prefix(2) + stem) ?? [];
  t.equal(trainable.length, 18);
  for (const name of trainable) t.equal(readers.get(name), 1, `${name} is read once`);
});

t.test(
  "caches are numbered in the order of the blocks, in one step, in the order that the graph lists them",
  async (t) => {
    const { expanded } = expand(decoder({}), "0 0* 1 2");
    const inputs = expanded.model.graph?.input.map(({ name }) => name).filter((name) => name.startsWith("past"));
    t.strictSame(
      inputs,
      [0, 1, 2, 3].flatMap((at) => [`past_key_values.${at}.key`, `past_key_values.${at}.value`]),
    );
    const layout = (text: string): LayoutBlock[] =>
      text.split(" ").map((word) => ({
        kind: word.endsWith("*") ? "copy" : "original",
        from: sourceIndex(Number.parseInt(word, 10)),
      }));
    const order = (items: string, plan: string): string =>
      withTwins(
        items.split(" "),
        layout(plan),
        (item) => (/\d/.test(item) ? Number(/\d/.exec(item)?.[0]) : undefined),
        (item, at) => `${item}@${at}`,
      ).join(" ");
    t.equal(order("ids k0 v0 k1 v1 mask", "0 0* 1"), "ids k0 v0 k0@1 v0@1 k1 v1 mask", "by block");
    t.equal(order("ids k0 k1 v0 v1 mask", "0 0* 1"), "ids k0 k0@1 k1 v0 v0@1 v1 mask", "by kind");
    t.equal(
      order("k0 v0 k1 v1", "1* 0 1 1* 0*"),
      "k1@0 v1@0 k0 v0 k1 v1 k1@3 v1@3 k0@4 v0@4",
      "before, behind and of others",
    );
    t.equal(order("k0 k1 v0 v1", "1* 0 1"), "k1@0 k0 k1 v1@0 v0 v1", "before, by kind");
  },
);

t.test("what torch.export says of a node's module follows the copy's number", async (t) => {
  const { expanded } = expand(decoder({ scopes: true }), "0 1 1* 2");
  const scope = (name: string) =>
    expanded.model.graph?.node.find((node) => node.name === name)?.metadataProps[0]?.value;
  t.equal(
    scope("/model/layers.1/mlp/down_proj/MatMul"),
    "['', 'model', 'model.layers', 'model.layers.1', 'model.layers.1.mlp', 'model.layers.1.mlp.down_proj']",
  );
  t.equal(
    scope("copy.2./model/layers.1/mlp/down_proj/MatMul"),
    "['', 'model', 'model.layers', 'model.layers.2', 'model.layers.2.mlp', 'model.layers.2.mlp.down_proj']",
  );
});

function planError(run: () => unknown): string {
  try {
    run();
    return "done";
  } catch (error) {
    if (error instanceof ExpandError && error.tag === "plan") return `${error.message} / ${error.fix}`;
    throw error;
  }
}

t.test("a plan that cannot be carried out says why", async (t) => {
  const listed: DrawBlock = (sketch, x, index) => {
    const y = plainBlock(sketch, x, index);
    sketch.output(`hidden_states.${index}`, "F32", [1, "length", WIDTH]);
    return sketch.one("Add", [y, mlp(sketch, y, `${index}.more`)], { outputs: [`hidden_states.${index}`] });
  };
  t.equal(
    planError(() => expand(streamGraph({ blocks: 3, block: listed }), "0 1 1* 2")),
    'copy 2 of block 1: its place in the stream, "hidden_states.1", is an output of the graph / Choose another place with --after, or export the model without this output.',
  );
  const rounded: DrawBlock = (sketch, x, index) => {
    const cast = (value: string, to: number): string => sketch.one("Cast", [value], { attributes: { to } });
    return cast(
      sketch.one("Add", [cast(x, 10), cast(mlp(sketch, norm(sketch, x, `${index}.ln`), `${index}.mlp`), 10)]),
      1,
    );
  };
  const graph = streamGraph({ blocks: 3, block: rounded });
  t.equal(
    planError(() => expand(graph, "0* 0 1 2")),
    "copy 0 of block 0: the blocks round the residual stream, and what comes before the first is not rounded yet / Place no copy before the first block.",
  );
  t.equal(
    planError(() => expand(graph, "0 0* 1 2")),
    "done",
  );
  let size = "";
  const measured: DrawBlock = (sketch, x, index) => {
    const normed = norm(sketch, x, `${index}.ln`);
    if (index === 0) size = sketch.one("Shape", [normed]);
    return sketch.one("Add", [x, sketch.one("Reshape", [mlp(sketch, normed, `${index}.mlp`), size])]);
  };
  const sized = streamGraph({ blocks: 3, block: measured });
  t.equal(
    planError(() => expand(sized, "0* 2* 0 0* 1 2")),
    "a copy in front of its source block (at 0 or 1) reads a size that is only computed behind it / Put every copy right behind its source block.",
  );
  t.equal(
    planError(() => expand(sized, "0 0* 2* 1 2 0*")),
    "done",
  );
  const gpt2 = graphOf(drawFusedGpt2(2, "F32").model({ "": 11, [MICROSOFT]: 1 }, "test"));
  t.equal(
    planError(() => expand(gpt2, "0* 0 1")),
    "copy 0 of block 0: the first norm is inside the embedding's node, and taken out of it it rounds in another way / Place no copy before the first block.",
  );
  const blocks = findBlocks(graph);
  const wrong = [
    {
      at: 1,
      from: 0,
      kind: "copy" as const,
      zeroed: [{ tensor: "copy.1.nothing", factor: "projection" as const, value: 0 }],
      why: [],
    },
  ];
  t.equal(
    planError(() => expandGraph(blocks, { blocks: [{ at: 0, from: 0, kind: "original" }, ...wrong] })),
    'the copy of block 0 has no tensor "copy.1.nothing" to zero / Make the plan again with the plan command.',
  );
  t.equal(
    planError(() => newInitializers(blocks, { blocks: [{ at: 0, from: 7, kind: "copy", zeroed: [], why: [] }] })),
    "there is no block 7: the source has 3 / Use numbers from 0 to 2.",
  );
});
