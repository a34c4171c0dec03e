// Products with weights of few bits: a node decodes the weight from the very bytes that the file holds, and the weight is frozen.
import { ExpandError } from "../../errors.ts";
import { attribute } from "../../graph/attributes.ts";
import { clone, create, NodeProtoSchema, OnnxType, type TensorProto, TensorProtoSchema } from "../../graph/onnx.ts";
import { type Lowerings, type Primitives, refused } from "./primitives.ts";

export const QUANTIZED: Lowerings = {
  "com.microsoft.MatMulNBits": {
    inputs: 6,
    // The accuracy is a floor; ours is that of the values.
    attributes: "K N accuracy_level bits block_size",
    idle: { weight_prepacked: 0 },
    emit: multiplied,
  },
};

const FLOATS = "Expand an export of the model with float weights: its copies are float, and can be trained.";

/** Two values of 4 bits a byte, the first in the low bits: as ONNX packs UINT4. */
const TYPES: Readonly<Record<number, OnnxType>> = { 4: OnnxType.UINT4, 8: OnnxType.UINT8 };

/** y = x Wᵀ + bias, W [N, K] in blocks along K. */
function multiplied(at: Primitives): readonly string[] {
  for (const index of [1, 2, 3]) requireFrozen(at, at.input(index));
  if (at.input(4) !== undefined) throw refused("has its columns in another order (g_idx)", FLOATS);
  const x = at.value(0);
  const [inputs, outputs] = [at.int("K", 0), at.int("N", 0)];
  const flat = at.reshape(x, [
    at
      .shape(x)
      .slice(0, -1)
      .reduce((rows, size) => rows * size, 1),
    inputs,
  ]);
  const bias = at.input(5);
  const product = at.op("Gemm", [flat, weightOf(at, inputs), ...(bias === undefined ? [] : [bias])], { transB: 1 });
  return [at.reshape(product, [...at.shape(x).slice(0, -1), outputs])];
}

/** W [N, K], decoded. */
function weightOf(at: Primitives, inputs: number): string {
  const block = at.int("block_size", 0);
  const [rows, blocks] = [at.int("N", 0), Math.ceil(inputs / block)];
  const bits = at.int("bits", 4);
  const type = TYPES[bits];
  if (type === undefined) throw refused(`has weights of ${bits} bits`, FLOATS);
  return at.shared(`weight ${at.node.input.slice(1, 4)}`, () => {
    const packed = at.value(1);
    const codes = seenAs(at, packed, type, [rows, blocks * block]);
    const scales = at.reshape(at.value(2), [rows, blocks]);
    const name = `@decoded/${packed}`;
    const decoded = create(NodeProtoSchema, {
      name,
      opType: "DequantizeLinear",
      input: [codes, scales, zeroPoints(at, type, rows, blocks)],
      output: [name],
      attribute: [attribute("axis", 1), attribute("block_size", block)],
    });
    at.tape.append(decoded, [{ type: at.type(scales), shape: [rows, blocks * block] }]);
    const rest = blocks * block - inputs;
    return rest === 0 ? name : (at.split(name, [inputs, rest], 1)[0] ?? "");
  });
}

/** One a block; the middle of the range where none are given. */
function zeroPoints(at: Primitives, type: OnnxType, rows: number, blocks: number): string {
  const given = at.input(3);
  const isPacked = type === OnnxType.UINT4;
  if (given === undefined) {
    const name = `@zero-points ${type} ${rows} ${blocks}`;
    const rawData = new Uint8Array(Math.ceil((rows * blocks) / (isPacked ? 2 : 1))).fill(isPacked ? 0x88 : 0x80);
    const dims = [rows, blocks].map(BigInt);
    return at.shared(name, () =>
      at.tape.initializer(create(TensorProtoSchema, { name, dataType: type, dims, rawData })),
    );
  }
  if (at.type(given) !== OnnxType.UINT8) throw refused("has zero points that are not whole", FLOATS);
  // Every row begins at a byte of its own.
  if (isPacked && blocks % 2 === 1 && rows > 1)
    throw refused(`has rows of ${blocks} zero points, an odd number`, FLOATS);
  return seenAs(at, given, type, [rows, blocks]);
}

/** The same bytes as a tensor of another type. */
function seenAs(at: Primitives, name: string, type: OnnxType, shape: readonly number[]): string {
  return at.shared(`codes ${name}`, () => {
    const tensor: TensorProto | undefined = at.tape.initializers.get(name);
    if (tensor === undefined) throw refused("has a weight that other nodes make", FLOATS);
    const seen = clone(TensorProtoSchema, tensor);
    seen.name = `@codes/${name}`;
    seen.dataType = type;
    seen.dims = shape.map(BigInt);
    return at.tape.initializer(seen);
  });
}

function requireFrozen(at: Primitives, name: string | undefined): void {
  if (name === undefined || !at.isWanted(name)) return;
  throw new ExpandError("unsupported", `reads ${name}, which is quantized and was to be trained`, {
    at: at.label,
    fix: FLOATS,
  });
}
