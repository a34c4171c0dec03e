// One torch archive (.bin, .pt, .pth in zip form) as a shard with its tensors. Reads names and places, never weights; runs no code.
import { ExpandError } from "../../errors.ts";
import { blockOf, byteLength, elementCount, type Shape } from "../../tensor/dtype.ts";
import type { TensorRef } from "../../tensor/reference.ts";
import type { ByteSource } from "../../tensor/source.ts";
import { assertDownloaded } from "../intact.ts";
import { type OpenedShard, quote } from "../shards.ts";
import { type TorchStorage, type TorchTensor, torchHost } from "./objects.ts";
import { unpickle } from "./pickle.ts";
import { findStateDict } from "./state-dict.ts";
import { readZipDirectory, type ZipEntry, zipDataStart } from "./zip.ts";

const ZIP_MAGIC = "504b0304";
/** Pickled 0x1950a86a20f9469cfc6c: how files of torch.save before 1.6 begin (torch/serialization.py, MAGIC_NUMBER). */
const LEGACY_MAGIC = "80028a0a6cfc9c46f9206aa850192e";
const PICKLE = "data.pkl";
/** A state dict of a million tensors; bounds what is read at once. */
const MAX_PICKLE_BYTES = 100_000_000;

/** `name` is the file's name inside the checkpoint. Throws "damaged" or "unsupported", naming the exact fault. */
export async function openTorchFile(source: ByteSource, name: string): Promise<OpenedShard> {
  await assertDownloaded(source);
  await assertZip(source);
  const archive = await openArchive(source);
  const pickle = await readEntry(source, archive, PICKLE, MAX_PICKLE_BYTES);
  const at = `${source.name} ${PICKLE}`;
  const found = findStateDict(at, unpickle(at, pickle, torchHost(at)));
  const starts = new Map<TorchStorage, number>();
  const placed: [string, TensorRef & { kind: "stored" }][] = [];
  for (const [tensorName, tensor] of found) {
    const start = starts.get(tensor.storage) ?? (await storageStart(source, archive, tensor.storage));
    starts.set(tensor.storage, start);
    placed.push([tensorName, reference(source, tensorName, tensor, start)]);
  }
  placed.sort(([, a], [, b]) => a.offset - b.offset);
  const metadata = new Map([["format", "pt"]]);
  const dataStart = placed[0]?.[1].offset ?? 0;
  return {
    shard: { name, source, dataStart, tensors: placed.map(([own]) => own), metadata },
    tensors: new Map(placed),
  };
}

interface Archive {
  /** Every entry stands in one directory, named after the file: "NAME/". */
  readonly prefix: string;
  readonly entries: ReadonlyMap<string, ZipEntry>;
}

async function assertZip(source: ByteSource): Promise<void> {
  const head = Buffer.from(await source.read(0, Math.min(source.size, LEGACY_MAGIC.length / 2))).toString("hex");
  if (head.startsWith(ZIP_MAGIC)) return;
  if (head === LEGACY_MAGIC) {
    throw new ExpandError("unsupported", "is a torch file of the form before torch 1.6", {
      at: source.name,
      fix: `Convert it once: python -c "import torch; torch.save(torch.load('OLD', map_location='cpu', weights_only=True), 'NEW')".`,
    });
  }
  throw new ExpandError(
    "unsupported",
    `is not a torch checkpoint: it begins with ${head.slice(0, 8)}, not ${ZIP_MAGIC} (zip)`,
    {
      at: source.name,
      fix: "Save the weights with torch.save or safetensors.",
    },
  );
}

async function openArchive(source: ByteSource): Promise<Archive> {
  const entries = await readZipDirectory(source);
  const pickles = [...entries.keys()].filter((name) => name.endsWith(`/${PICKLE}`) && name.split("/").length === 2);
  const [pickle] = pickles;
  if (pickle === undefined || pickles.length > 1) {
    unsupported(source, `is a zip file with ${pickles.length} entries NAME/${PICKLE}; a torch checkpoint has one`);
  }
  const prefix = pickle.slice(0, -PICKLE.length);
  const archive = { prefix, entries };
  if (entries.has(`${prefix}constants.pkl`) || [...entries.keys()].some((name) => name.startsWith(`${prefix}code/`))) {
    throw new ExpandError("unsupported", "is a TorchScript program, not a state dict", {
      at: source.name,
      fix: `Save its weights: python -c "import torch; torch.save(torch.jit.load('OLD').state_dict(), 'NEW')".`,
    });
  }
  if (entries.has(`${prefix}byteorder`)) {
    const order = Buffer.from(await readEntry(source, archive, "byteorder", 100)).toString("latin1");
    if (order !== "little")
      unsupported(source, `stores its numbers in ${quote(order)} byte order; only "little" is read`);
  }
  return archive;
}

async function readEntry(source: ByteSource, archive: Archive, name: string, limit: number): Promise<Uint8Array> {
  const entry = archive.entries.get(archive.prefix + name);
  if (entry === undefined) damaged(source, `has no zip entry ${quote(archive.prefix + name)}`);
  if (entry.size > limit)
    damaged(source, `zip entry ${quote(entry.name)} has ${entry.size} bytes; at most ${limit} are read`);
  return source.read(await zipDataStart(source, entry), entry.size);
}

async function storageStart(source: ByteSource, archive: Archive, storage: TorchStorage): Promise<number> {
  const name = `${archive.prefix}data/${storage.key}`;
  const entry = archive.entries.get(name);
  if (entry === undefined) damaged(source, `has no zip entry ${quote(name)}, which a tensor is stored in`);
  if (entry.size !== storage.bytes) {
    damaged(source, `zip entry ${quote(name)} has ${entry.size} bytes, but its tensors expect ${storage.bytes}`);
  }
  return zipDataStart(source, entry);
}

function reference(
  source: ByteSource,
  name: string,
  tensor: TorchTensor,
  start: number,
): TensorRef & { kind: "stored" } {
  const { dtype, storage } = tensor;
  const { values, bytes: elementBytes } = blockOf(dtype);
  const shape = unpacked(tensor.shape, values);
  const bytes = byteLength(dtype, shape);
  if (bytes === undefined) damaged(source, `tensor ${quote(name)} has the impossible shape [${tensor.shape}]`);
  if (tensor.lazy) {
    refuse(source, name, tensor, "is conjugated or negated on reading", ".resolve_conj().resolve_neg()");
  }
  if (!isContiguous(tensor)) {
    refuse(source, name, tensor, `is not contiguous: its strides are [${tensor.strides}]`, ".contiguous()");
  }
  const begin = tensor.offset * elementBytes;
  if (begin + bytes > storage.bytes) {
    damaged(source, `tensor ${quote(name)} ends at byte ${begin + bytes} of a storage that has ${storage.bytes}`);
  }
  return { kind: "stored", dtype, shape, bytes, source, offset: start + begin };
}

function refuse(source: ByteSource, name: string, tensor: TorchTensor, fault: string, remedy: string): never {
  throw new ExpandError("unsupported", `tensor ${quote(name)} of shape [${tensor.shape}] ${fault}`, {
    at: source.name,
    fix: `Call ${remedy} on each tensor of the state dict, and save it again.`,
  });
}

/** torch counts pairs of 4-bit values, safetensors the values: the last size doubles. */
function unpacked(shape: Shape, values: number): Shape {
  return shape.map((size, at) => (at === shape.length - 1 ? size * values : size));
}

/** As torch sees it: the stride of a dimension of size 1 is never used, and an empty tensor has no bytes to order. */
function isContiguous({ shape, strides }: TorchTensor): boolean {
  if (elementCount(shape) === 0) return true;
  let expected = 1;
  for (let at = shape.length - 1; at >= 0; at--) {
    const size = shape[at] ?? 1;
    if (size !== 1 && strides[at] !== expected) return false;
    expected *= size;
  }
  return true;
}

function damaged(source: ByteSource, message: string): never {
  throw new ExpandError("damaged", message, { at: source.name, fix: "Download the file again; it is damaged." });
}

function unsupported(source: ByteSource, message: string): never {
  throw new ExpandError("unsupported", message, {
    at: source.name,
    fix: "Save the weights with torch.save or safetensors.",
  });
}
