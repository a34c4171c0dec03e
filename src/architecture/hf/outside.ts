// Claims the tensors that stand outside of the expanded blocks. An unknown one stops the run: it might belong to a block.
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { ExpandError } from "../../errors.ts";
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

/** Scales and packed forms of a quantized lm_head or embedding. */
function attached(name: string, base: string, model: Model): boolean {
  const weight = name.replace(/\.(?:weight[._].+|[^.]+)$/, ".weight");
  if (weight === name) return false;
  return (
    matches(model.outside, weight) || (name.startsWith(base) && matches(model.stack.outside, weight.slice(base.length)))
  );
}
