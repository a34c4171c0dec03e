// Reads the tensor infos of a GGUF header: name, shape, type, offset. Refuses whatever llama.cpp would refuse.
import { blockOf, byteLength, type Dtype, type Shape } from "../../tensor/dtype.ts";
import { quote } from "../shards.ts";
import type { HeaderCursor } from "./cursor.ts";
import { MAX_DIMENSIONS, MAX_NAME_BYTES, padded } from "./layout.ts";
import { dtypeOfId, whyNoDtype } from "./types.ts";

export interface TensorInfo {
  readonly name: string;
  readonly dtype: Dtype;
  /** Outermost dimension first: the reverse of the stored ne[]. */
  readonly shape: Shape;
  readonly bytes: number;
  /** Bytes from the start of the data. */
  readonly offset: number;
}

/** Reads `count` infos. Each offset must be the running sum of the padded sizes before it, as llama.cpp demands. Ends are for the caller to check. */
export function readTensorInfos(cursor: HeaderCursor, count: number, alignment: number): readonly TensorInfo[] {
  const infos: TensorInfo[] = [];
  const names = new Set<string>();
  let offset = 0;
  for (let i = 0; i < count; i++) {
    const info = readInfo(cursor, i, names, offset);
    names.add(info.name);
    infos.push(info);
    offset += padded(info.bytes, alignment);
  }
  return infos;
}

function readInfo(cursor: HeaderCursor, index: number, names: ReadonlySet<string>, expected: number): TensorInfo {
  cursor.subject = `tensor ${index + 1}`;
  const name = cursor.name(MAX_NAME_BYTES);
  cursor.subject = `tensor ${quote(name)}`;
  if (names.has(name)) cursor.fail("is there twice");
  const ne = readDimensions(cursor);
  const id = cursor.u32();
  const dtype = dtypeOfId(id);
  if (dtype === undefined) {
    const { reason, fix } = whyNoDtype(id);
    return cursor.fail(reason, "unsupported", fix);
  }
  const shape = ne.toReversed();
  const bytes = sizeOf(cursor, dtype, shape);
  const offset = cursor.u64();
  if (offset !== expected) cursor.fail(`has the offset ${cursor.exact(8)}; ${expected} was expected`);
  return { name, dtype, shape, bytes, offset };
}

function readDimensions(cursor: HeaderCursor): number[] {
  const count = cursor.u32();
  if (count > MAX_DIMENSIONS) cursor.fail(`has ${count} dimensions; at most ${MAX_DIMENSIONS} are allowed`);
  const ne: number[] = [];
  for (let i = 0; i < count; i++) {
    const size = cursor.length();
    if (!Number.isSafeInteger(size)) cursor.fail(`has a dimension of ${cursor.exact()}`);
    ne.push(size);
  }
  return ne;
}

function sizeOf(cursor: HeaderCursor, dtype: Dtype, shape: Shape): number {
  const { values } = blockOf(dtype);
  const row = shape.at(-1) ?? 1;
  if (row % values !== 0) cursor.fail(`has rows of ${row} values; ${dtype} stores them in blocks of ${values}`);
  return byteLength(dtype, shape) ?? cursor.fail(`has the shape [${shape.join(", ")}], which is beyond 2^53 bytes`);
}
