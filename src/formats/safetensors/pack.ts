// Decides which tensors share a file. Counts bytes only; never re-orders tensors inside their shard.
import type { Shard } from "../../checkpoint/checkpoint.ts";
import { LENGTH_BYTES } from "./header.ts";
import { headerEntry, type Metadata, metadataEntry, type NamedTensor, PHASE } from "./layout.ts";

/** What one source shard gives to the output. */
export interface ShardContents {
  readonly tensors: readonly NamedTensor[];
  /** The first `originals` tensors are the source shard's own, in their order; the rest are copies. */
  readonly originals: number;
  /** `__metadata__` of the file; by default the source shard's, and {"format": "pt"} without a source. */
  readonly metadata?: ReadonlyMap<string, string>;
  readonly source?: Shard;
}

/** One output file, not yet laid out. */
export interface Draft {
  readonly metadata: Metadata;
  /** The shard whose originals stand first in this file, if any. */
  readonly source: Shard | undefined;
  readonly tensors: NamedTensor[];
  /** At least the bytes that the finished file will have. */
  size: number;
}

/** transformers refuses to load a file whose metadata names no framework (`format`). */
const DEFAULT_METADATA: ReadonlyMap<string, string> = new Map([["format", "pt"]]);
/** Bytes. MAX_SHARD_SIZE of huggingface_hub. */
const DEFAULT_LIMIT = 5_000_000_000;

/** Originals of a shard stay together; copies join them up to 5 GB, and what does not fit goes to files of its own. */
export function packBySource(contents: readonly ShardContents[]): readonly Draft[] {
  const drafts: Draft[] = [];
  const spills: Draft[] = [];
  let spill: Draft | undefined;
  for (const group of contents) {
    const draft = newDraft(metadataOf(group), group.source);
    for (const tensor of group.tensors.slice(0, group.originals)) add(draft, tensor);
    let whole = true;
    for (const copy of group.tensors.slice(group.originals)) {
      whole &&= fits(draft, copy, DEFAULT_LIMIT);
      if (whole) {
        add(draft, copy);
        continue;
      }
      if (spill === undefined || !fits(spill, copy, DEFAULT_LIMIT) || !sameMetadata(spill.metadata, draft.metadata)) {
        spill = newDraft(draft.metadata, undefined);
        spills.push(spill);
      }
      add(spill, copy);
    }
    if (draft.tensors.length > 0) drafts.push(draft);
  }
  return [...drafts, ...spills];
}

/** Fills files in order up to `limit` bytes each; only a file with a single tensor may be larger. */
export function packBySize(contents: readonly ShardContents[], limit: number): readonly Draft[] {
  const drafts: Draft[] = [];
  let draft: Draft | undefined;
  for (const group of contents) {
    const metadata = metadataOf(group);
    for (const tensor of group.tensors) {
      if (draft === undefined || !fits(draft, tensor, limit) || !sameMetadata(draft.metadata, metadata)) {
        draft = newDraft(metadata, group.source);
        drafts.push(draft);
      }
      add(draft, tensor);
    }
  }
  return drafts;
}

export function newDraft(metadata: Metadata, source: Shard | undefined): Draft {
  return { metadata, source, tensors: [], size: LENGTH_BYTES + Buffer.byteLength(metadataEntry(metadata)) + PHASE };
}

export function sameMetadata(a: Metadata, b: Metadata): boolean {
  const pairs = (metadata: Metadata) => JSON.stringify(metadata === undefined ? null : [...metadata]);
  return pairs(a) === pairs(b);
}

export function metadataOf(group: ShardContents | undefined): Metadata {
  return group?.metadata ?? (group?.source === undefined ? DEFAULT_METADATA : group.source.metadata);
}

function fits(draft: Draft, tensor: NamedTensor, limit: number): boolean {
  return draft.tensors.length === 0 || draft.size + cost(tensor) <= limit;
}

function add(draft: Draft, tensor: NamedTensor): void {
  draft.tensors.push(tensor);
  draft.size += cost(tensor);
}

/** Data plus an upper bound of the header entry: offsets of up to 16 digits. */
function cost([name, tensor]: NamedTensor): number {
  const widest = Number.MAX_SAFE_INTEGER;
  return tensor.bytes + Buffer.byteLength(headerEntry(name, tensor, widest, widest)) + 1;
}
