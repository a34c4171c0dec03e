// One safetensors file as a shard with its tensors. Reads the header only, never weights.
import type { ByteSource } from "../../tensor/source.ts";
import { assertDownloaded } from "../intact.ts";
import type { OpenedShard } from "../shards.ts";
import { readHeader } from "./header.ts";

/** `name` is the file's name inside the checkpoint. Throws "damaged" or "unsupported", naming the exact fault. */
export async function openSafetensorsFile(source: ByteSource, name: string): Promise<OpenedShard> {
  await assertDownloaded(source);
  const { dataStart, tensors, metadata } = await readHeader(source);
  const shard = {
    name,
    source,
    dataStart,
    tensors: [...tensors.keys()],
    ...(metadata === undefined ? {} : { metadata }),
  };
  return { shard, tensors };
}
