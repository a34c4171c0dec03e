// Draws models of nothing but a residual stream and branches, each as odd as a test wants it. For tests.
import { type NodeOptions, Sketch } from "../../fixtures/onnx/sketch.ts";
import type { Graph } from "../../src/graph/graph.ts";

export const WIDTH = 8;

/** Adds block `index` to the stream `x`, and returns what the stream is then. */
export type DrawBlock = (sketch: Sketch, x: string, index: number) => string;

export interface StreamWish {
  readonly blocks: number;
  readonly block: DrawBlock;
  /** Before the blocks and behind them. */
  readonly stem?: (sketch: Sketch, x: string) => string;
  readonly head?: (sketch: Sketch, x: string) => string;
  readonly opset?: number;
}

export function streamGraph({ blocks, block, stem = (_, x) => x, head = plainHead, opset = 17 }: StreamWish): Graph {
  const sketch = new Sketch("stream");
  sketch.input("inputs_embeds", "F32", [1, "length", WIDTH]);
  sketch.output("logits", "F32", [1, "length", WIDTH]);
  let x = stem(sketch, "inputs_embeds");
  for (let index = 0; index < blocks; index++) x = block(sketch, x, index);
  sketch.add("Identity", [head(sketch, x)], { outputs: ["logits"] });
  return { model: sketch.model({ "": opset, "com.microsoft": 1 }, "test"), files: new Map() };
}

const plainHead = (sketch: Sketch, x: string): string =>
  sketch.one("MatMul", [x, weight(sketch, "head", [WIDTH, WIDTH])]);

export function weight(sketch: Sketch, name: string, shape: readonly number[], mean = 0): string {
  return sketch.weight(name, "F32", shape, mean, 0.3);
}

/** Two products with a nonlinearity between them. */
export function mlp(sketch: Sketch, x: string, name: string, active: "Relu" | "Tanh" | "Sigmoid" = "Relu"): string {
  const inner = sketch.one("MatMul", [x, weight(sketch, `${name}.up`, [WIDTH, 2 * WIDTH])]);
  return sketch.one("MatMul", [sketch.one(active, [inner]), weight(sketch, `${name}.down`, [2 * WIDTH, WIDTH])], {
    name: `${name}.down`,
  });
}

/** Tokens look at each other: softmax(q k) v, projected. */
export function attention(sketch: Sketch, x: string, name: string, scale = 1): string {
  const [q = "", k = "", v = ""] = ["q", "k", "v"].map((part) =>
    sketch.one("MatMul", [x, weight(sketch, `${name}.${part}`, [WIDTH, WIDTH])]),
  );
  const scores = sketch.one("MatMul", [q, sketch.one("Transpose", [k], { attributes: { perm: [0, 2, 1] } })]);
  const scaled = sketch.one("Mul", [scores, sketch.constantNode("F32", [scale], [])]);
  const mixed = sketch.one("MatMul", [sketch.one("Softmax", [scaled]), v]);
  return sketch.one("MatMul", [mixed, weight(sketch, `${name}.out`, [WIDTH, WIDTH])], { name: `${name}.out` });
}

/** A norm over the last axis. */
export function norm(sketch: Sketch, x: string, name: string, options: NodeOptions = {}): string {
  return sketch.one(
    "LayerNormalization",
    [x, weight(sketch, `${name}.gain`, [WIDTH], 1), weight(sketch, `${name}.bias`, [WIDTH])],
    {
      name,
      attributes: { epsilon: ["float", 1e-5] },
      ...options,
    },
  );
}

/** x + attention(norm(x)), then x + mlp(norm(x)). */
export const plainBlock: DrawBlock = (sketch, x, index) => {
  const middle = sketch.one("Add", [x, attention(sketch, norm(sketch, x, `${index}.ln1`), `${index}.attn`)]);
  return sketch.one("Add", [middle, mlp(sketch, norm(sketch, middle, `${index}.ln2`), `${index}.mlp`)]);
};
