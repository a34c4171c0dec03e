// The tensors that a copy gets for itself: references to its source's bytes, or the value that closes a branch. Reads no weights.
import type { FixedTensor } from "../../architecture/architecture.ts";
import { ExpandError } from "../../errors.ts";
import { layoutOf, zeroTensor } from "../../graph/graph.ts";
import { clone, create, type TensorProto, TensorProtoSchema } from "../../graph/onnx.ts";
import type { GraphBlock } from "../../residual/blocks.ts";
import { isZero } from "../../tensor/reference.ts";

/** `prefix` is the copy's. `zeroed`: names in the copy that hold their fixed value. Throws "plan" for one that the copy does not have. */
export function copyInitializers(
  block: GraphBlock,
  initializers: ReadonlyMap<string, TensorProto>,
  prefix: string,
  zeroed: Iterable<string>,
): readonly TensorProto[] {
  const left = new Set(zeroed);
  const patterns = new Map(
    block.branches
      .flatMap(({ factors }) => factors.flatMap(({ tensors }) => tensors))
      .map((each) => [each.tensor, each]),
  );
  const made = block.tensors.map((tensor) => {
    const name = prefix + tensor.stem;
    const source = initializers.get(tensor.initializer);
    if (source === undefined) throw new ExpandError("bug", `initializer "${tensor.initializer}" is used but not there`);
    const fixed = left.delete(name) ? patterns.get(tensor.name) : undefined;
    return fixed === undefined
      ? Object.assign(clone(TensorProtoSchema, source), { name })
      : fixedTensor(name, source, fixed);
  });
  for (const name of left) {
    throw new ExpandError("plan", `the copy of block ${block.index} has no tensor "${name}" to zero`, {
      fix: "Make the plan again with the plan command.",
    });
  }
  return made;
}

function fixedTensor(name: string, source: TensorProto, { pattern }: FixedTensor): TensorProto {
  if (isZero(pattern)) return zeroTensor(name, source.dataType, source.dims);
  // Only 8-bit integers have a zero that is not 0; the writer takes large ones out of the model.
  const { bytes } = layoutOf(source);
  const rawData = new Uint8Array(bytes).fill(pattern[0] ?? 0);
  return create(TensorProtoSchema, { name, dataType: source.dataType, dims: [...source.dims], rawData });
}
