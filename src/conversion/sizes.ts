// Names of sizes that are only known at run time, as exporters call them: transformers.js makes empty caches by these names.
import type { ModelProto } from "../graph/onnx.ts";

const NAMES: Readonly<Record<string, string>> = {
  batch: "batch_size",
  sequence: "sequence_length",
  past: "past_sequence_length",
  total: "total_sequence_length",
};

/** Renames the sizes of a model's inputs and outputs, in place. */
export function nameSizes({ graph }: ModelProto): void {
  for (const { type } of [...(graph?.input ?? []), ...(graph?.output ?? [])]) {
    const dims = type?.value.case === "tensorType" ? (type.value.value.shape?.dim ?? []) : [];
    for (const { value } of dims) {
      if (value.case === "dimParam") value.value = NAMES[value.value] ?? value.value;
    }
  }
}
