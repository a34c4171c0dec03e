// Second opinions on the GGUF files we write: other people's readers, on the files that they can read.
import fs from "node:fs";
import path from "node:path";
import { GGMLQuantizationType, GGUFValueType, gguf } from "@huggingface/gguf";
import { parseRawMetadata } from "gguf";
import t from "tap";
import { tinyLlama, writeTinyGguf } from "../fixtures/gguf.ts";
import { EVERY_TYPE, EVERY_VALUE } from "../fixtures/gguf-types.ts";
import type { Checkpoint } from "../src/checkpoint/checkpoint.ts";
import {
  GGUF_TYPES,
  type GgufMetadata,
  type GgufScalar,
  type GgufValue,
  ggufValue,
} from "../src/checkpoint/gguf-metadata.ts";
import { openGguf } from "./formats/open-file.ts";

t.test("@huggingface/gguf reads the same metadata, names, shapes, types and offsets", async (t) => {
  const [file = ""] = writeTinyGguf(path.join(t.testdir({}), "m.gguf"), EVERY_TYPE);
  const { checkpoint, metadata } = await open(file);
  const theirs = await gguf(file, { allowLocalFile: true, typedMetadata: true });
  t.equal(theirs.littleEndian, true);
  t.equal(Number(theirs.tensorDataOffset), checkpoint.shards[0]?.dataStart);
  t.same(
    theirs.tensorInfos.map(({ name, shape, dtype, offset }) => ({
      name,
      shape: shape.map(Number).reverse(),
      dtype: GGMLQuantizationType[dtype],
      offset: Number(offset + theirs.tensorDataOffset),
    })),
    [...checkpoint.tensors].map(([name, ref]) => {
      return { name, shape: ref.shape, dtype: ref.dtype, offset: ref.kind === "stored" ? ref.offset : -1 };
    }),
  );
  const { entries, version } = metadata;
  const read = new Map(Object.entries(theirs.typedMetadata).map(([key, entry]) => [key, entry]));
  t.same(read.get("version")?.value, version);
  t.equal(Number(read.get("kv_count")?.value), entries.size);
  for (const [key, entry] of entries) {
    const found = read.get(key);
    t.equal(found && GGUF_TYPES[found.type], entry.type, `${key}: type`);
    t.strictSame(found?.value, plain(ggufValue(entry)), `${key}: value`);
  }
  t.equal(GGUFValueType.FLOAT64, GGUF_TYPES.length - 1, "they know as many types");
});

t.test("@huggingface/gguf reads every part of a split model", async (t) => {
  const files = writeTinyGguf(path.join(t.testdir({}), "m.gguf"), tinyLlama({ shardSize: 100_000 }));
  const names: string[] = [];
  for (const [i, file] of files.entries()) {
    const { metadata, tensorInfos } = await gguf(file, { allowLocalFile: true });
    t.match(metadata, { "split.no": i, "split.count": files.length, "split.tensors.count": 30 });
    names.push(...tensorInfos.map(({ name }) => name));
  }
  t.same(names, [...(await openGguf(files.at(-1) ?? "")).tensors.keys()]);
});

t.test("npm gguf reads the same metadata of a file made a multiple of 10 MiB long", async (t) => {
  // It reads windows of 10 MiB and fails where one passes the end of the file; it also misreads every f64.
  const [file = ""] = writeTinyGguf(path.join(t.testdir({}), "m.gguf"), EVERY_VALUE);
  const { metadata } = await open(file);
  fs.truncateSync(file, 10 * 2 ** 20);
  const theirs = await parseRawMetadata(file);
  if (theirs.error) throw theirs.error;
  for (const [key, entry] of metadata.entries) {
    if (key === "t.f64") continue;
    const found = key.split(".").reduce((object, name) => object?.[name], theirs.metadata);
    t.strictSame(found, plain(ggufValue(entry)), key);
  }
});

async function open(file: string): Promise<{ checkpoint: Checkpoint; metadata: GgufMetadata }> {
  const checkpoint = await openGguf(file);
  if (checkpoint.config.dialect !== "gguf") throw new TypeError("not GGUF");
  return { checkpoint, metadata: checkpoint.config.metadata };
}

/** Values as these readers give them: strings decoded. */
function plain(value: GgufValue): unknown {
  const one = (item: GgufScalar): unknown => (item instanceof Uint8Array ? Buffer.from(item).toString() : item);
  return Array.isArray(value) ? value.map(one) : one(value as GgufScalar);
}
