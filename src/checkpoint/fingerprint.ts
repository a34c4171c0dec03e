// Tells one checkpoint from another by what its headers say. Reads no weights, so it proves nothing about their values.
import { createHash } from "node:crypto";
import type { Checkpoint } from "./checkpoint.ts";

export interface Fingerprint {
  readonly location: string;
  readonly format: string;
  readonly tensors: number;
  /** Bytes of all tensors. */
  readonly bytes: number;
  /** SHA-256 over names, types and shapes (sorted by name) and the settings. Equal for equal headers, whatever the sharding. */
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
  return {
    location: checkpoint.location,
    format: checkpoint.format,
    tensors: checkpoint.tensors.size,
    bytes,
    headers: hash.digest("hex"),
  };
}
