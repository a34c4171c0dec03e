// Claims the tensors that stand outside of the expanded blocks. An unknown one stops the run: it might belong to a block.
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { ExpandError } from "../../errors.ts";
import type { TensorRef } from "../../tensor/reference.ts";
import { joinedSource, type Stretch } from "../../tensor/source.ts";
import type { Layout } from "../layout.ts";
import type { Model } from "./resolve.ts";
import { matches } from "./template.ts";

/** `base` stands in front of the stack's own outside tensors. Throws "unsupported" with the first unknown name. */
export function claimOutside(names: readonly string[], base: string, model: Model, checkpoint: Checkpoint): void {
  for (const name of names) {
    const own = name.startsWith(base) && matches(model.stack.outside, name.slice(base.length));
    if (own || matches(model.outside, name) || attached(name, base, model)) continue;
    const shape = checkpoint.tensors.get(name)?.shape ?? [];
    throw new ExpandError(
      "unsupported",
      `[${shape.join(", ")}] is no known tensor of ${model.family.name} outside of its blocks`,
      { at: name, fix: "Report the model, so that its record can be completed." },
    );
  }
}

/** Throws "unsupported" for a tensor outside of the blocks whose shape follows their number. */
export function refuseSlices(names: readonly string[], base: string, model: Model, checkpoint: Checkpoint): void {
  const { slices = "" } = model.stack;
  const name = names.find((one) => one.startsWith(base) && matches(slices, one.slice(base.length)));
  if (name === undefined) return;
  const shape = checkpoint.tensors.get(name)?.shape ?? [];
  throw new ExpandError(
    "unsupported",
    `[${shape.join(", ")}] holds a slice for every block, so inserted blocks would need new slices inside an original tensor`,
    { at: name, fix: "Use a checkpoint without this tensor." },
  );
}

/** Tensors with a slice for every block in their only row, by name. */
export function rowSlices(
  names: readonly string[],
  base: string,
  model: Model,
  checkpoint: Checkpoint,
): ReadonlyMap<string, TensorRef> {
  const { rowSlices: rows = "" } = model.stack;
  const found = names.filter((name) => name.startsWith(base) && matches(rows, name.slice(base.length)));
  return new Map([...checkpoint.tensors].filter(([name]) => found.includes(name)));
}

/** The same tensors for another layout: originals keep their slices, copies get zeros. Throws "unsupported" for another shape. */
export function reslice(
  rows: ReadonlyMap<string, TensorRef>,
  count: number,
  layout: Layout,
): ReadonlyMap<string, TensorRef> {
  return new Map([...rows].map(([name, tensor]) => [name, resliceRow(name, tensor, count, layout)]));
}

function resliceRow(name: string, tensor: TensorRef, count: number, layout: Layout): TensorRef {
  const [rows, columns = 0] = tensor.shape;
  if (tensor.shape.length !== 2 || rows !== 1 || columns % count !== 0 || tensor.bytes % count !== 0) {
    const shape = `[${tensor.shape.join(", ")}]`;
    throw new ExpandError("unsupported", `expected one row with a slice for each of ${count} blocks, found ${shape}`, {
      at: name,
      fix: "Check that config.json belongs to these weights.",
    });
  }
  const length = tensor.bytes / count;
  const stretches = layout.map((block): Stretch => {
    if (block.kind === "copy" || tensor.kind === "fill") return { length };
    return { length, source: tensor.source, offset: tensor.offset + block.from * length };
  });
  const source = joinedSource(name, stretches);
  const shape = [1, (columns / count) * layout.length];
  return { kind: "stored", dtype: tensor.dtype, shape, bytes: source.size, source, offset: 0 };
}

/** Scales and packed forms of a quantized lm_head or embedding. */
function attached(name: string, base: string, model: Model): boolean {
  const weight = name.replace(/\.(?:weight[._].+|[^.]+)$/, ".weight");
  if (weight === name) return false;
  return (
    matches(model.outside, weight) || (name.startsWith(base) && matches(model.stack.outside, weight.slice(base.length)))
  );
}
