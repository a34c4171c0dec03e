// Tells one checkpoint from another by what its headers say. Reads no weights, so it proves nothing about their values.
import { createHash } from "node:crypto";
import type { Checkpoint } from "./checkpoint.ts";

export interface Fingerprint {
  readonly location: string;
  readonly format: string;
  readonly tensors: number;
  /** Bytes of all tensors. */
  readonly bytes: number;
  /** SHA-256 over names, types and shapes (sorted by name), settings and, of ONNX, nodes. Equal for equal headers, whatever the sharding. */
  readonly headers: string;
}

export function fingerprint(checkpoint: Checkpoint): Fingerprint {
  const hash = createHash("sha256");
  let bytes = 0;
  for (const [name, tensor] of [...checkpoint.tensors].sort(([a], [b]) => (a < b ? -1 : 1))) {
    hash.update(JSON.stringify([name, tensor.dtype, tensor.shape]));
    bytes += tensor.bytes;
  }
  if (checkpoint.config.dialect !== "gguf") {
    for (const [name, document] of checkpoint.config.documents) hash.update(JSON.stringify([name, document.text]));
  } else {
    for (const entry of checkpoint.config.metadata.entries.values()) {
      hash.update(JSON.stringify([entry.key, entry.type])).update(entry.raw);
    }
  }
  for (const { domain, opType, input, output, attribute } of checkpoint.graph?.model.graph?.node ?? []) {
    const values = attribute.map(({ name, i, f, ints, floats }) => [name, `${i}`, f, ints.join(), floats]);
    hash.update(JSON.stringify([domain, opType, input, output, values]));
  }
  return {
    location: checkpoint.location,
    format: checkpoint.format,
    tensors: checkpoint.tensors.size,
    bytes,
    headers: hash.digest("hex"),
  };
}
