// How the files of a sharded checkpoint fit together: the index, and its agreement with the shards. Never guesses a missing part.
import type { Shard } from "../checkpoint/checkpoint.ts";
import { ExpandError, quote } from "../errors.ts";
import { JsonDocument, type JsonObject, type JsonValue } from "../json.ts";
import type { TensorRef } from "../tensor/reference.ts";
import { isPlainPath } from "../tensor/source.ts";

export { quote } from "../errors.ts";

/** A `*.index.json` file: which shard holds which tensor. */
export interface ShardIndex {
  /** What the user calls the index file; printed in errors. */
  readonly name: string;
  /** Tensor name to shard name. */
  readonly weightMap: ReadonlyMap<string, string>;
  /** The shards that the index names, in natural order ("2" before "10"). */
  readonly shards: readonly string[];
  /** Its top-level `metadata`, as stored. */
  readonly metadata: JsonObject;
}

/** One file of weights whose header has been read. */
export interface OpenedShard {
  readonly shard: Shard;
  /** In the order of `shard.tensors`. */
  readonly tensors: ReadonlyMap<string, TensorRef>;
}

/** Throws "damaged" when the index is not one, or names a file outside its directory. */
export function parseShardIndex(name: string, data: Uint8Array): ShardIndex {
  const document = JsonDocument.parse(name, data);
  const map = document.get(["weight_map"]);
  if (!isObject(map)) damaged(name, "has no weight_map, the object that says which file holds which tensor");
  const metadata = document.get(["metadata"]) ?? {};
  if (!isObject(metadata)) damaged(name, "has a metadata that is not an object");
  const weightMap = new Map<string, string>();
  for (const [tensor, file] of Object.entries(map)) {
    if (typeof file !== "string") damaged(name, `gives no file name for tensor ${quote(tensor)}`);
    if (!isPlainPath(file)) {
      damaged(
        name,
        `places tensor ${quote(tensor)} in ${quote(file)}, which is not a plain path inside the directory`,
        "Do not use this checkpoint: an index that points outside its directory is not to be trusted.",
      );
    }
    weightMap.set(tensor, file);
  }
  if (weightMap.size === 0) damaged(name, "names no tensor: its weight_map is empty");
  return { name, weightMap, shards: [...new Set(weightMap.values())].sort(naturalOrder), metadata };
}

/** Every tensor of the shards, in their order. Throws "damaged" when shards and index disagree, or two shards hold one name. */
export function joinShards(opened: readonly OpenedShard[], index?: ShardIndex): ReadonlyMap<string, TensorRef> {
  const tensors = new Map<string, TensorRef>();
  const home = new Map<string, string>();
  for (const { shard, tensors: own } of opened) {
    for (const [name, tensor] of own) {
      const at = shard.source.name;
      const other = home.get(name);
      if (other !== undefined) damaged(at, `holds tensor ${quote(name)}, which ${other} holds too`);
      if (index !== undefined) agree(index, name, shard);
      tensors.set(name, tensor);
      home.set(name, shard.name);
    }
  }
  for (const [name, file] of index?.weightMap ?? []) {
    if (!tensors.has(name))
      damaged(index?.name ?? "", `places tensor ${quote(name)} in ${file}, which does not hold it`);
  }
  return tensors;
}

function agree(index: ShardIndex, tensor: string, shard: Shard): void {
  const place = index.weightMap.get(tensor);
  if (place === shard.name) return;
  const claim = place === undefined ? "does not name" : `places in ${place}`;
  damaged(shard.source.name, `holds tensor ${quote(tensor)}, which ${index.name} ${claim}`);
}

/** Compares file names with runs of digits taken as numbers. */
export function naturalOrder(a: string, b: string): number {
  const [left, right] = [a, b].map((name) =>
    name.replace(/\d+/g, (digits) => digits.replace(/^0+(?=\d)/, "").padStart(20, "0")),
  );
  if (left !== right) return (left ?? "") < (right ?? "") ? -1 : 1;
  return a < b ? -1 : a > b ? 1 : 0;
}

export function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function damaged(at: string, message: string, fix = "Download the checkpoint again, or write its index anew."): never {
  throw new ExpandError("damaged", message, { at, fix });
}
