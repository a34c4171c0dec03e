// Products of matrices in 16 bits, everything else in f32, as torch.autocast has it. Weights that are stored in that type are used as they lie.
// A value that several products read is cast once, so that their gradients of it are added up in 16 bits: autocast casts again for each.
import type { Tape } from "../../autodiff/tape.ts";
import { AttributeType, type NodeProto, OnnxType } from "../../graph/onnx.ts";

const PRODUCTS: ReadonlySet<string> = new Set(["MatMul", "Gemm", "FusedMatMul"]);

/** Rewrites every f32 product; call it before gradients are taken, so that theirs are in 16 bits too. Those that turn batches stay in f32. */
export function narrowProducts(tape: Tape, type: OnnxType): void {
  /** The 16-bit value of an f32 one: cast once, however often it is read. */
  const narrow = new Map<string, string>();
  const narrowed = (value: string): string => {
    const known = narrow.get(value);
    if (known !== undefined) return known;
    const result = widenedFrom(tape, value, type) ?? tape.op("Cast", [value], { to: type });
    narrow.set(value, result);
    return result;
  };
  tape.rewrite((node) => {
    if (!PRODUCTS.has(node.opType) || tape.typeOf(node.output[0] ?? "").type !== OnnxType.FLOAT) return undefined;
    if (turnsBatches(node)) return undefined;
    const inputs = node.input.map((name) => (name === "" ? "" : narrowed(name)));
    return [tape.op("Cast", [product(tape, node, inputs)], { to: OnnxType.FLOAT })];
  });
}

/** The same node on other inputs, its output in their type. Attributes of products are integers and floats. */
function product(tape: Tape, node: NodeProto, inputs: readonly string[]): string {
  const operator = node.domain === "" ? node.opType : `${node.domain}.${node.opType}`;
  const attributes = node.attribute.map(({ name, type, i, f }) => [
    name,
    type === AttributeType.FLOAT ? { float: f } : Number(i),
  ]);
  return tape.op(operator, inputs, Object.fromEntries(attributes));
}

/** Of FusedMatMul; what shape it gives is not known here, and no gradient passes it. */
function turnsBatches(node: NodeProto): boolean {
  return node.attribute.some(({ name, i }) => name.startsWith("transBatch") && i !== 0n);
}

/** What was cast to f32, where it was of this type. */
function widenedFrom(tape: Tape, value: string, type: OnnxType): string | undefined {
  const maker = tape.makerOf(value);
  const [source = ""] = maker?.input ?? [];
  return maker?.opType === "Cast" && tape.typeOf(source).type === type ? source : undefined;
}
