// A checkpoint as safetensors files with names, sizes and contents known before a byte is written. Plans only; writes nothing.
import { ExpandError } from "../../errors.ts";
import type { JsonObject } from "../../json.ts";
import type { FilePlan } from "../../storage/file-plan.ts";
import { quote } from "../shards.ts";
import { layOut } from "./layout.ts";
import {
  type Draft,
  metadataOf,
  newDraft,
  packBySize,
  packBySource,
  type ShardContents,
  sameMetadata,
} from "./pack.ts";

export type { ShardContents } from "./pack.ts";

export interface SafetensorsOptions {
  /** Bytes. No file is larger unless a single tensor is. Absent: a source shard's tensors stay together. */
  readonly shardSize?: number;
  /** `metadata` of the source's index file, kept in the new one. */
  readonly indexMetadata?: JsonObject;
}

const SINGLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";

/** One file, or numbered shards and after them their index. Throws "unsupported" for what the format cannot hold. */
export function planSafetensors(
  contents: readonly ShardContents[],
  options: SafetensorsOptions = {},
): readonly FilePlan[] {
  assertUnique(contents);
  const { shardSize } = options;
  const packed = shardSize === undefined ? packBySource(contents) : packBySize(contents, shardSize);
  const drafts = packed.length === 0 ? [newDraft(metadataOf(contents[0]), undefined)] : packed;
  const files = drafts.map((draft, at) => planFile(draft, shardName(at, drafts.length)));
  return files.length === 1 ? files : [...files, planIndex(drafts, contents, options.indexMetadata ?? {})];
}

function shardName(at: number, count: number): string {
  const digits = (value: number) => String(value).padStart(5, "0");
  return count === 1 ? SINGLE : `model-${digits(at + 1)}-of-${digits(count)}.safetensors`;
}

function planFile(draft: Draft, name: string): FilePlan {
  const { source } = draft;
  if (source === undefined || !isUnchanged(draft)) return layOut(name, draft.tensors, draft.metadata);
  const size = source.source.size;
  return { name, size, segments: [{ kind: "copy", to: 0, length: size, source: source.source, from: 0 }] };
}

/** True when the file would say what the source shard says: then its very bytes serve, and a hard link may. */
function isUnchanged({ source, tensors, metadata }: Draft): boolean {
  if (source === undefined || !sameMetadata(metadata, source.metadata)) return false;
  if (tensors.length !== source.tensors.length) return false;
  let offset = source.dataStart;
  for (const [at, [name, tensor]] of tensors.entries()) {
    if (name !== source.tensors[at] || tensor.kind !== "stored") return false;
    if (tensor.source !== source.source || tensor.offset !== offset) return false;
    offset += tensor.bytes;
  }
  return offset === source.source.size;
}

function planIndex(drafts: readonly Draft[], contents: readonly ShardContents[], kept: JsonObject): FilePlan {
  const map: [string, string][] = [];
  let total = 0;
  for (const [at, { tensors }] of drafts.entries()) {
    for (const [name, tensor] of tensors) {
      map.push([name, shardName(at, drafts.length)]);
      total += tensor.bytes;
    }
  }
  const metadata = { ...keptMetadata(contents, kept), total_size: total };
  const text = `${JSON.stringify({ metadata, weight_map: Object.fromEntries(map) }, null, 2)}\n`;
  const data = Buffer.from(text);
  return { name: INDEX, size: data.length, segments: [{ kind: "bytes", to: 0, data }] };
}

/** `total_parameters` counts tied and packed weights by rules of its writer's: with copies it is left out rather than guessed. */
function keptMetadata(contents: readonly ShardContents[], kept: JsonObject): JsonObject {
  if (contents.every((group) => group.tensors.length === group.originals)) return kept;
  const { total_parameters: _, ...rest } = kept;
  return rest;
}

function assertUnique(contents: readonly ShardContents[]): void {
  const seen = new Set<string>();
  for (const { tensors } of contents) {
    for (const [name] of tensors) {
      if (seen.has(name)) throw new ExpandError("bug", `two tensors are named ${quote(name)}`);
      seen.add(name);
    }
  }
}
