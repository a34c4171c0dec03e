// What a source consists of, and source.json, which remembers it. Reads headers and settings, never weights.
import type { Architecture } from "../architecture/architecture.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { recordSource } from "../expansion/delta/source-record.ts";
import { JsonDocument } from "../json.ts";
import type { FilePlan } from "../storage/file-plan.ts";
import { type Folder, localFolder } from "../tensor/folder.ts";
import { type ByteSource, memorySource } from "../tensor/source.ts";
import { textFile } from "./output.ts";

/** source.json, one line; none where weights of the source would have to be kept in it. */
export async function sourceRecord(
  name: string,
  source: Checkpoint,
  expanded: Checkpoint,
  architecture: Architecture,
  copies: readonly number[],
): Promise<readonly FilePlan[]> {
  const names = copies.flatMap((index) => [...(architecture.blocks[index]?.tensors.values() ?? [])]);
  const copied = new Set(names.map((each) => architecture.aliases?.get(each) ?? each));
  const folder = folderOf(source);
  const files = await filesOfSource(source, folder);
  const record = await recordSource(source, files, othersIn(source, folder, files), { checkpoint: expanded, copied });
  return record === undefined ? [] : [textFile(name, `${JSON.stringify(record)}\n`)];
}

/** Where its files stand, above a folder of its own for the model ("onnx/model.onnx"). */
function folderOf({ shards, repository }: Checkpoint): Folder | undefined {
  const [shard] = shards;
  if (repository !== undefined || shard?.source.path === undefined) return repository;
  return localFolder(shard.source.path.slice(0, -shard.name.length) || ".");
}

async function filesOfSource(
  { shards, config, assets, index }: Checkpoint,
  folder: Folder | undefined,
): Promise<ReadonlyMap<string, ByteSource>> {
  const files = new Map(shards.map(({ name, source }) => [name, source]));
  const indexName = index === undefined || folder === undefined ? undefined : await findIndex(folder, shards[0]?.name);
  if (indexName !== undefined && folder !== undefined) files.set(indexName, folder.source(indexName));
  if (config.dialect !== "gguf") {
    for (const [name, { text }] of config.documents) {
      // A byte order mark is not in the text; what was read already is not asked for again.
      const [data, stored] = [Buffer.from(text), folder?.source(name)];
      files.set(name, stored === undefined || stored.size === data.length ? memorySource(name, data) : stored);
    }
  }
  for (const [name, source] of assets) files.set(name, source);
  return files;
}

/** The index that places tensors in this shard. */
async function findIndex(folder: Folder, shard: string | undefined): Promise<string | undefined> {
  for (const name of folder.names("").filter((each) => /\.index\.json$/i.test(each))) {
    const source = folder.source(name);
    const map = JsonDocument.parse(name, await source.read(0, source.size)).get(["weight_map"]);
    if (typeof map === "object" && map !== null && Object.values(map).includes(shard ?? "")) return name;
  }
  return undefined;
}

/** Other weights, papers of an earlier expansion: an expansion carries none of them. A file among others has no such company. */
function othersIn(
  { config, shards }: Checkpoint,
  folder: Folder | undefined,
  files: ReadonlyMap<string, ByteSource>,
): readonly string[] {
  if (folder === undefined || config.dialect === "gguf" || shards.length === 0) return [];
  const known = new Set([...files.keys()].map((name) => name.split("/")[0]));
  return folder.names("").filter((name) => !name.startsWith(".") && !known.has(name));
}
