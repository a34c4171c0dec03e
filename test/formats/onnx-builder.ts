// ONNX bytes for tests: protobuf fields by hand, so that they can be wrong, and models to start from. Checks nothing.
import { encodeModel } from "../../src/graph/onnx.ts";
import { functionOf, graphOf, modelOf, node, opset, type Parts, value, weight } from "../graph/models.ts";

/** A number that counts up, so that no two bytes of a weight can be mistaken for each other. */
export function counting(length: number, from = 0): readonly number[] {
  return Array.from({ length }, (_, at) => from + at);
}

export const PARTS: Parts = {
  inputs: [value("x", ["n", 32])],
  outputs: [value("y", ["n", 32])],
  initializers: [weight("w", [32, 32], counting(1024)), weight("b", [32], counting(32, 5000))],
  nodes: [
    node("c = Constant()", { value: weight("", [256], counting(256, 9000)) }),
    node("h = MatMul(x, w)", {}, "first"),
    node("y = If(h)", {
      then_branch: graphOf({
        outputs: [value("t")],
        initializers: [weight("inner", [300], counting(300, 20000))],
        nodes: [node("t = Add(h, b)")],
      }),
      else_branch: graphOf({ outputs: [value("e")], nodes: [node("e = Add(h, h)")] }),
    }),
  ],
};

/** Weights in initializers, in a Constant and in a subgraph; one of them small; a function that nobody calls. */
export function exampleModel(): Buffer {
  const functions = [functionOf("r = local.F(p)", [node("r = Neg(p)")])];
  return Buffer.from(encodeModel(modelOf(PARTS, { functions, opsetImport: [opset(17), opset(1, "local")] }).model));
}

export type Bytes = Uint8Array | readonly number[];

export function varint(number: number | bigint): Buffer {
  const bytes: number[] = [];
  let rest = BigInt(number);
  for (; rest >= 128n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return Buffer.from([...bytes, Number(rest)]);
}

/** A field that holds bytes: a message, a text, packed numbers. */
export function field(number: number, ...contents: readonly (Bytes | string)[]): Buffer {
  const data = Buffer.concat(
    contents.map((each) => (typeof each === "string" ? Buffer.from(each) : Uint8Array.from(each))),
  );
  return Buffer.concat([varint(number * 8 + 2), varint(data.length), data]);
}

/** A varint field. */
export function number(of: number, number: number | bigint): Buffer {
  return Buffer.concat([varint(of * 8), varint(number)]);
}

/** Field numbers of onnx.proto. */
export const MODEL = { irVersion: 1, graph: 7 } as const;
export const GRAPH = { node: 1, name: 2, initializer: 5 } as const;
export const TENSOR = { dims: 1, type: 2, floats: 4, name: 8, raw: 9, external: 13, location: 14 } as const;

/** A model of IR 8 with one graph of these fields. */
export function bare(...graph: readonly Bytes[]): Buffer {
  return Buffer.concat([number(MODEL.irVersion, 8), field(MODEL.graph, ...graph)]);
}

/** A model with one F32 initializer "w" of `count` values and these fields. */
export function tensorModel(count: number, ...fields: readonly Bytes[]): Buffer {
  return bare(
    field(GRAPH.initializer, number(TENSOR.dims, count), number(TENSOR.type, 1), field(TENSOR.name, "w"), ...fields),
  );
}

/** external_data entries. */
export function external(entries: Readonly<Record<string, string>>): Buffer {
  const fields = Object.entries(entries).map(([key, text]) => field(TENSOR.external, field(1, key), field(2, text)));
  return Buffer.concat([...fields, number(TENSOR.location, 1)]);
}
