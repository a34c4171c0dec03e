import t from "tap";
import { drawDecoder } from "../../fixtures/onnx/decoder.ts";
import { drawFusedGpt2 } from "../../fixtures/onnx/gpt2.ts";
import { mergedModel } from "../../fixtures/onnx/merged.ts";
import { type TinyDecoder, TRACED } from "../../fixtures/onnx/options.ts";
import { MICROSOFT, type Sketch } from "../../fixtures/onnx/sketch.ts";
import { ExpandError } from "../../src/errors.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { findBlocks } from "../../src/residual/find.ts";
import { attention, type DrawBlock, mlp, norm, plainBlock, streamGraph, WIDTH, weight } from "./streams.ts";

const OPSETS = { "": 17, [MICROSOFT]: 1, "pkg.local": 1 };

function decoder(options: Partial<TinyDecoder>): Graph {
  const whole = { ...TRACED, ...options };
  return { model: drawDecoder(whole).model({ ...OPSETS, "": whole.opset }, "test"), files: new Map() };
}

/** What closes the branches of a block, preferred ways only. */
function closing(graph: Graph, index: number): readonly string[] {
  const block = findBlocks(graph).blocks[index];
  return (block?.branches ?? []).flatMap(({ name, factors, preferred }) =>
    (factors[preferred]?.tensors ?? []).map(({ tensor, value }) => `${name}: ${tensor} = ${value}`),
  );
}

function refusal(graph: Graph): string {
  try {
    findBlocks(graph);
    return "found";
  } catch (error) {
    if (error instanceof ExpandError && error.tag === "unsupported") return error.message;
    throw error;
  }
}

t.test("every flavour of export has three blocks of attention and MLP", async (t) => {
  const flavours: readonly (readonly [name: string, options: Partial<TinyDecoder>, closes: readonly string[]])[] = [
    ["traced", {}, ["attention: onnx::MatMul_1.self_attn.o_proj = 0", "mlp: onnx::MatMul_1.mlp.down_proj = 0"]],
    [
      "weights in Constants",
      { constants: true },
      ["attention: onnx::MatMul_1.self_attn.o_proj = 0", "mlp: onnx::MatMul_1.mlp.down_proj = 0"],
    ],
    [
      "Gemm",
      { linear: "gemm" },
      ["attention: model.layers.1.self_attn.o_proj.weight = 0", "mlp: model.layers.1.mlp.down_proj.weight = 0"],
    ],
    [
      "Transpose(W)",
      { linear: "transposed" },
      ["attention: model.layers.1.self_attn.o_proj.weight = 0", "mlp: model.layers.1.mlp.down_proj.weight = 0"],
    ],
    [
      "Cast(W)",
      { linear: "cast" },
      ["attention: model.layers.1.self_attn.o_proj.weight = 0", "mlp: model.layers.1.mlp.down_proj.weight = 0"],
    ],
    [
      "FusedMatMul",
      { linear: "fused" },
      ["attention: model.layers.1.self_attn.o_proj.weight = 0", "mlp: model.layers.1.mlp.down_proj.weight = 0"],
    ],
    [
      "Conv 1x1",
      { linear: "conv" },
      ["attention: model.layers.1.self_attn.o_proj.weight = 0", "mlp: model.layers.1.mlp.down_proj.weight = 0"],
    ],
    [
      "MatMulNBits",
      { linear: "nbits" },
      [
        "attention: model.layers.1.self_attn.o_proj.MatMulNBits.scales = 0",
        "mlp: model.layers.1.mlp.down_proj.MatMulNBits.scales = 0",
      ],
    ],
    [
      "MatMulInteger",
      { linear: "integer" },
      [
        "attention: model.layers.1.self_attn.o_proj_quantized = 128",
        "mlp: model.layers.1.mlp.down_proj_quantized = 128",
      ],
    ],
    [
      "DequantizeLinear",
      { linear: "qdq" },
      [
        "attention: model.layers.1.self_attn.o_proj.weight_scale = 0",
        "mlp: model.layers.1.mlp.down_proj.weight_scale = 0",
      ],
    ],
    [
      "4-bit DequantizeLinear",
      { linear: "qdq4", opset: 21 },
      [
        "attention: model.layers.1.self_attn.o_proj.weight_scale = 0",
        "mlp: model.layers.1.mlp.down_proj.weight_scale = 0",
      ],
    ],
    [
      "biases in the next Skip norm",
      { norm: "skip-layer", biases: true, shared: false },
      [
        "attention: onnx::MatMul_1.self_attn.o_proj = 0",
        "attention: model.layers.1.self_attn.o_proj.bias = 0",
        "mlp: onnx::MatMul_1.mlp.down_proj = 0",
        "mlp: model.layers.1.mlp.down_proj.bias = 0",
      ],
    ],
    [
      "one bias for all",
      { biases: true },
      [
        "attention: model.layers.0.self_attn.q_proj.bias#4 (block 1) = 0",
        "attention: onnx::MatMul_1.self_attn.o_proj = 0",
        "mlp: model.layers.0.self_attn.q_proj.bias#5 (block 1) = 0",
        "mlp: onnx::MatMul_1.mlp.down_proj = 0",
      ],
    ],
    [
      "functions",
      { norm: "function" },
      ["attention: onnx::MatMul_1.self_attn.o_proj = 0", "mlp: onnx::MatMul_1.mlp.down_proj = 0"],
    ],
    [
      "opset 23",
      { norm: "rms23", attention: "attention23", opset: 23 },
      ["attention: onnx::MatMul_1.self_attn.o_proj = 0", "mlp: onnx::MatMul_1.mlp.down_proj = 0"],
    ],
  ];
  for (const [name, options, closes] of flavours) {
    const graph = decoder(options);
    const { blocks, period, caches } = findBlocks(graph);
    t.strictSame(
      blocks.map(({ kind }) => kind),
      ["attention/mlp", "attention/mlp", "attention/mlp"],
      name,
    );
    t.equal(new Set(blocks.map(({ structure }) => structure)).size, 1, `${name}: one structure`);
    t.equal(period, 1, `${name}: period`);
    t.strictSame(closing(graph, 1), closes, `${name}: closed by`);
    t.strictSame(
      caches.map(({ before, after, offset }) => `${before}N${after} +${offset}`),
      ["past_key_values.N.key +0", "past_key_values.N.value +0", "present.N.key +0", "present.N.value +0"],
      `${name}: caches`,
    );
  }
});

t.test("a fused GPT-2 and both branches of a merged decoder have the same blocks as the plain ones", async (t) => {
  const fused = findBlocks({
    model: drawFusedGpt2(3, "F32").model({ "": 11, [MICROSOFT]: 1 }, "test"),
    files: new Map(),
  });
  t.equal(fused.blocks.length, 3);
  t.strictSame(fused.blocks[0]?.tensors.length, 12, "two norms of two, and four projections with biases");
  const merged = findBlocks({ model: mergedModel(), files: new Map() });
  t.equal(merged.bodies.length, 2);
  t.equal(merged.blocks.length, 3);
  for (const { tensors, passages } of merged.blocks) {
    t.equal(passages.length, 2);
    for (const { uses } of tensors)
      t.strictSame(
        uses.map((each) => each.length),
        [1, 1],
        "used once in each branch",
      );
  }
});

t.test("roles are the same in every block, and one initializer of many uses has a name for each", async (t) => {
  const { blocks } = findBlocks(decoder({ biases: true, norm: "layer" }));
  const [first, second] = blocks.map(({ tensors }) => tensors.map(({ role }) => role));
  t.strictSame(first, second);
  const names = blocks.flatMap(({ tensors }) => tensors.map(({ name }) => name));
  t.equal(new Set(names).size, names.length);
  const shared = new Set(blocks.flatMap(({ tensors }) => tensors.map(({ initializer }) => initializer)));
  t.ok(shared.size < names.length);
});

const recurrent: DrawBlock = (sketch, x, index) => {
  const middle = sketch.one("Add", [x, mlp(sketch, norm(sketch, x, `${index}.ln1`), `${index}.mix`, "Tanh")]);
  return sketch.one("Add", [middle, mlp(sketch, norm(sketch, middle, `${index}.ln2`), `${index}.mlp`)]);
};
const gated: DrawBlock = (sketch, x, index) => {
  const middle = sketch.one("Add", [x, attention(sketch, norm(sketch, x, `${index}.ln1`), `${index}.attn`)]);
  const normed = norm(sketch, middle, `${index}.ln2`);
  const gate = sketch.one("Sigmoid", [sketch.one("MatMul", [normed, weight(sketch, `${index}.gate`, [WIDTH, WIDTH])])]);
  return sketch.one("Add", [middle, sketch.one("Mul", [gate, mlp(sketch, normed, `${index}.mlp`)])]);
};

t.test("blocks of several kinds in turn are single blocks with a period", async (t) => {
  const scaled: DrawBlock = (sketch, x, index) => {
    const middle = sketch.one("Add", [
      x,
      attention(sketch, norm(sketch, x, `${index}.ln1`), `${index}.attn`, index % 2 ? 0.5 : 2),
    ]);
    return sketch.one("Add", [middle, mlp(sketch, norm(sketch, middle, `${index}.ln2`), `${index}.mlp`)]);
  };
  const cases: readonly (readonly [string, number, DrawBlock, number, string])[] = [
    ["one kind", 4, plainBlock, 1, "AAAA"],
    ["two by structure", 6, (s, x, i) => (i % 2 ? recurrent : plainBlock)(s, x, i), 2, "ABABAB"],
    ["two by a constant", 6, scaled, 2, "ABABAB"],
    ["three in four", 8, (s, x, i) => (i % 4 === 3 ? plainBlock : recurrent)(s, x, i), 4, "AAABAAAB"],
    ["a rest behind whole periods", 8, (s, x, i) => (i % 3 === 2 ? recurrent : plainBlock)(s, x, i), 3, "AABAABAA"],
    ["another kind in front", 5, (s, x, i) => (i < 1 ? gated : plainBlock)(s, x, i), 1, "ABBBB"],
    ["one branch a block", 4, (s, x, i) => s.one("Add", [x, mlp(s, norm(s, x, `${i}.ln`), `${i}.mlp`)]), 1, "AAAA"],
  ];
  for (const [name, blocks, block, period, kinds] of cases) {
    const found = findBlocks(streamGraph({ blocks, block }));
    const labels = [...new Set(found.blocks.map(({ kind }) => kind))];
    t.equal(found.blocks.map(({ kind }) => "ABC"[labels.indexOf(kind)]).join(""), kinds, name);
    t.equal(found.period, period, `${name}: period`);
  }
});

t.test("a gain behind the projection is another way to close a branch, and the better one behind a norm", async (t) => {
  const sandwich: DrawBlock = (sketch, x, index) => {
    const branch = mlp(sketch, norm(sketch, x, `${index}.ln1`), `${index}.mlp`);
    return sketch.one("Add", [x, norm(sketch, branch, `${index}.ln2`)]);
  };
  const scaledBranch: DrawBlock = (sketch, x, index) => {
    const branch = mlp(sketch, norm(sketch, x, `${index}.ln1`), `${index}.mlp`);
    return sketch.one("Add", [x, sketch.one("Mul", [branch, weight(sketch, `${index}.scale`, [WIDTH])])]);
  };
  const ways = (block: DrawBlock) =>
    findBlocks(streamGraph({ blocks: 2, block })).blocks[0]?.branches.map(({ factors, preferred }) => ({
      ways: factors.map(({ kind, tensors }) => `${kind}: ${tensors.map(({ tensor }) => tensor)}`),
      preferred,
    }));
  t.strictSame(ways(sandwich), [
    { ways: ["projection: 0.mlp.down,0.ln2.bias", "norm-gain: 0.ln2.gain,0.ln2.bias"], preferred: 1 },
  ]);
  t.strictSame(ways(scaledBranch), [{ ways: ["projection: 0.mlp.down", "layer-scale: 0.scale"], preferred: 0 }]);
});

t.test("what cannot be expanded is refused, naming the border and the node", async (t) => {
  const post: DrawBlock = (sketch, x, index) =>
    norm(sketch, sketch.one("Add", [x, mlp(sketch, x, `${index}.mlp`)], { outputs: [`sum${index}`] }), `ln${index}`, {
      outputs: [`h${index}`],
    });
  const branch = (sketch: Sketch, x: string, index: number): string =>
    mlp(sketch, norm(sketch, x, `${index}.ln`), `${index}.mlp`);
  const add = (sketch: Sketch, a: string, b: string, index: number): string =>
    sketch.one("Add", [a, b], { name: `add${index}`, outputs: [`h${index}`] });
  const scaled: DrawBlock = (sketch, x, index) => {
    const less = sketch.one("Mul", [x, sketch.constant("F32", [0.5], [])], { name: `scale${index}` });
    return add(sketch, less, branch(sketch, x, index), index);
  };
  const twice: DrawBlock = (sketch, x, index) =>
    add(sketch, sketch.one("Add", [x, branch(sketch, x, index)]), x, index);
  const quantized: DrawBlock = (sketch, x, index) => {
    const [scale, zero] = [
      sketch.constant("F32", [0.1], []),
      sketch.tensor(`zero${index}`, "U8", [], Uint8Array.of(128)),
    ];
    const sum = sketch.one("Add", [x, branch(sketch, x, index)]);
    const small = sketch.one("QuantizeLinear", [sum, scale, zero]);
    return sketch.one("DequantizeLinear", [small, scale, zero], { name: `dq${index}`, outputs: [`h${index}`] });
  };
  const softened: DrawBlock = (sketch, x, index) =>
    add(sketch, x, sketch.one("Sigmoid", [branch(sketch, x, index)], { name: `soft${index}` }), index);
  const bare: DrawBlock = (sketch, x, index) => {
    const normed = norm(sketch, x, `${index}.ln`);
    const turned = sketch.one("Transpose", [normed], { attributes: { perm: [0, 2, 1] } });
    const inner = sketch.one("MatMul", [normed, weight(sketch, `${index}.w`, [WIDTH, WIDTH])]);
    return add(
      sketch,
      x,
      sketch.one("MatMul", [sketch.one("MatMul", [inner, turned]), normed], { name: `mix${index}` }),
      index,
    );
  };
  const cases: readonly (readonly [string, number, DrawBlock, string])[] = [
    [
      "post-norm",
      3,
      post,
      'nothing can be inserted between "inputs_embeds" and "h0": node "ln0" (LayerNormalization) stands on the residual stream (a norm after the Add: post-norm)',
    ],
    [
      "a scaled stream",
      3,
      scaled,
      'nothing can be inserted between "inputs_embeds" and "h0": node "scale0" (Mul) stands on the residual stream (a scaled residual stream, or a norm after the Add)',
    ],
    [
      "the stream added twice",
      3,
      twice,
      'nothing can be inserted between "inputs_embeds" and "h0": node "add0" (Add) adds the stream to itself, which doubles it',
    ],
    [
      "activations quantized around the Add",
      3,
      quantized,
      'nothing can be inserted between "inputs_embeds" and "h0": node "dq0" (DequantizeLinear) stands on the residual stream (activations quantized around the Add)',
    ],
    [
      "a function of the projection",
      3,
      softened,
      'nothing can be inserted between "inputs_embeds" and "h0": a branch cannot be closed: node "soft0" (Sigmoid) stands between the projection and the residual stream',
    ],
    [
      "no projection",
      3,
      bare,
      'nothing can be inserted between "inputs_embeds" and "h0": a branch cannot be closed: node "mix0" (MatMul) multiplies by no constant',
    ],
    [
      "one block",
      1,
      plainBlock,
      'no two equal blocks stand one after another between "inputs_embeds" and "logits" (18 nodes)',
    ],
  ];
  for (const [name, blocks, block, message] of cases) t.equal(refusal(streamGraph({ blocks, block })), message, name);
});

t.test("blocks that share more than the stream are refused", async (t) => {
  let kept = "";
  const sharing: DrawBlock = (sketch, x, index) => {
    if (index < 2) return plainBlock(sketch, x, index);
    const normed = norm(sketch, x, `${index}.ln1`);
    if (index === 2) kept = sketch.one("MatMul", [normed, weight(sketch, "kept", [WIDTH, WIDTH])]);
    const scores = sketch.one("Softmax", [
      sketch.one("MatMul", [normed, sketch.one("Transpose", [kept], { attributes: { perm: [0, 2, 1] } })]),
    ]);
    const mixed = sketch.one("MatMul", [
      sketch.one("MatMul", [scores, kept]),
      weight(sketch, `${index}.out`, [WIDTH, WIDTH]),
    ]);
    const middle = sketch.one("Add", [x, mixed]);
    return sketch.one("Add", [middle, mlp(sketch, norm(sketch, middle, `${index}.ln2`), `${index}.mlp`)], {
      outputs: [`h${index}`],
    });
  };
  t.match(
    refusal(streamGraph({ blocks: 8, block: sharing })),
    /several blocks stand there that share more than the stream \(keys and values, or skips\)$/,
  );
  const stolen: DrawBlock = (sketch, x, index) => {
    const inner = mlp(sketch, norm(sketch, x, `${index}.ln`), `${index}.mlp`);
    sketch.output(`stat${index}`, "F32", [1, "length", WIDTH]);
    sketch.add("Identity", [inner], { outputs: [`stat${index}`], name: `stat${index}` });
    return sketch.one("Add", [x, inner], { outputs: [`h${index}`] });
  };
  t.equal(findBlocks(streamGraph({ blocks: 3, block: stolen })).blocks.length, 3, "an output of its own is no sharing");
});

t.test("a stream that is rounded inside its blocks takes copies where the rounding changes nothing", async (t) => {
  const cast = (sketch: Sketch, x: string, to: number): string => sketch.one("Cast", [x], { attributes: { to } });
  const rounded =
    (inside: boolean): DrawBlock =>
    (sketch, x, index) => {
      const half = cast(sketch, x, 10);
      const branch = cast(sketch, mlp(sketch, norm(sketch, x, `${index}.ln`), `${index}.mlp`), 10);
      const wide = cast(sketch, sketch.one("Add", [half, branch]), 1);
      return inside ? sketch.one("Add", [wide, mlp(sketch, wide, `${index}.more`)], { outputs: [`h${index}`] }) : wide;
    };
  const found = findBlocks(streamGraph({ blocks: 3, block: rounded(false) }));
  t.equal(
    found.blocks.every(({ rounds }) => rounds),
    true,
  );
  t.equal(
    refusal(streamGraph({ blocks: 3, block: rounded(true) })),
    'nothing can be inserted between "inputs_embeds" and "h0": the stream is rounded to a narrower type inside, so that a copy would round it anew',
  );
});

t.test(
  "the number in a cache's name is the block's, or counts the blocks that have one; anything else is refused",
  async (t) => {
    const cached =
      (name: (index: number) => string | undefined): DrawBlock =>
      (sketch, x, index) => {
        const past = name(index);
        if (past === undefined) return recurrent(sketch, x, index);
        const state = sketch.input(past, "F32", [1, "length", WIDTH]);
        const middle = sketch.one("Add", [
          x,
          attention(sketch, sketch.one("Add", [norm(sketch, x, `${index}.ln1`), state]), `${index}.attn`),
        ]);
        return sketch.one("Add", [middle, mlp(sketch, norm(sketch, middle, `${index}.ln2`), `${index}.mlp`)]);
      };
    const template = (blocks: number, name: (index: number) => string | undefined) =>
      findBlocks(streamGraph({ blocks, block: cached(name) })).caches.map(({ names: _, ...rest }) => rest);
    t.strictSame(
      template(3, (i) => `past_state.${i}.x`),
      [{ before: "past_state.", after: ".x", counts: "index", offset: 0 }],
    );
    t.strictSame(
      template(3, (i) => `past_state_${i + 3}`),
      [{ before: "past_state_", after: "", counts: "index", offset: 3 }],
    );
    t.strictSame(
      template(6, (i) => (i % 2 ? `past_${i}` : undefined)),
      [{ before: "past_", after: "", counts: "index", offset: 0 }],
    );
    t.strictSame(
      template(6, (i) => (i % 2 ? `past_${(i - 1) / 2}` : undefined)),
      [{ before: "past_", after: "", counts: "rank", offset: 0 }],
    );
    const names = ["past_3", "past_1", "past_2"];
    t.equal(
      refusal(streamGraph({ blocks: 3, block: cached((i) => names[i]) })),
      'cache "past_3": its name does not say which block it belongs to',
    );
    t.equal(
      refusal(streamGraph({ blocks: 4, block: cached((i) => `past_${i * i}`) })),
      'cache "past_0": the numbers of such names follow neither the blocks nor each other',
    );
  },
);

t.test("ten thousand nodes take no recursion", async (t) => {
  const long: DrawBlock = (sketch, x, index) => {
    let inner = norm(sketch, x, `${index}.ln`);
    for (let step = 0; step < 2500; step++) inner = sketch.one("Relu", [inner]);
    return sketch.one("Add", [x, mlp(sketch, inner, `${index}.mlp`)]);
  };
  t.equal(findBlocks(streamGraph({ blocks: 4, block: long })).blocks.length, 4);
  const endless: DrawBlock = (sketch, x, index) => {
    let branch = mlp(sketch, norm(sketch, x, `${index}.ln`), `${index}.mlp`);
    for (let step = 0; step < 2500; step++) branch = sketch.one("Identity", [branch], { name: `step${step}` });
    return sketch.one("Add", [x, branch], { outputs: [`h${index}`] });
  };
  t.match(
    refusal(streamGraph({ blocks: 4, block: endless })),
    /a branch cannot be closed: node "step\d+" \(Identity\) is more than 64 nodes from the projection$/,
  );
});
