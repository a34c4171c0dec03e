// What `expand` left beside a checkpoint: plan.json, mask.json, manifest.json, ..., or STEM.plan.json beside a file. Finds, and judges nothing.
import path from "node:path";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { localFolder } from "../tensor/folder.ts";
import type { ByteSource } from "../tensor/source.ts";

/** The paper `name`, such as "mask.json"; undefined where there is none. */
export function findPaper(checkpoint: Checkpoint, name: string): ByteSource | undefined {
  const [shard] = checkpoint.shards;
  if (shard === undefined) return undefined;
  const { path: file } = shard.source;
  // "onnx/model.onnx" stands one directory below its papers.
  const above = shard.name.split("/").map(() => "..");
  const folder = checkpoint.repository ?? (file === undefined ? undefined : localFolder(path.join(file, ...above)));
  const stem = path.posix.basename(shard.name).replace(/(?:-\d{5}-of-\d{5})?\.[^.]+$/, "");
  const found = [name, `${stem}.${name}`].find((each) => folder?.kind(each) === "file");
  return found === undefined ? undefined : folder?.source(found);
}
