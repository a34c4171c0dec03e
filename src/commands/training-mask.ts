// Which tensors of a checkpoint are trained, and where they stand. Believes a mask only where it fits the checkpoint tensor by tensor.
import { createHash } from "node:crypto";
import type { Architecture } from "../architecture/architecture.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError, quote } from "../errors.ts";
import { maskFor, parseMask, parseTrainable } from "../expansion/mask.ts";
import { JsonDocument } from "../json.ts";
import { blockOf, type Dtype, isPlainFloat } from "../tensor/dtype.ts";
import { fileSource } from "../tensor/source.ts";
import { findCopies, maskBeside } from "./mask.ts";
import { type Understood, understandCheckpoint } from "./understanding.ts";

export interface Trainables {
  readonly names: ReadonlySet<string>;
  /** The mask as it was read. */
  readonly mask: Uint8Array;
  /** Of what the mask says. */
  readonly digest: string;
  /** Fingerprint of the plan that made the copies, where the mask says it. */
  readonly plan: string | undefined;
  /** The block of a tensor, in words: its number, or "outside". */
  readonly blockOf: (tensor: string) => string;
  /** Blocks that hold a trainable tensor. */
  readonly blocks: readonly number[];
}

/**
 * `file`: a mask instead of the one beside the checkpoint; without either, the blocks that add nothing are the copies. Throws "input" for a
 * mask that is not this checkpoint's, "unsupported" for tensors that cannot be trained, "plan" where there is nothing to train.
 */
export async function readTrainables(
  opened: Checkpoint,
  file: string | undefined,
  stack: string | undefined,
): Promise<Trainables> {
  const understood = await understandCheckpoint(opened, stack);
  const { architecture } = understood;
  const { at, mask, names } = await readMask(opened, understood, file);
  checkNames(opened, at, mask, names);
  const places = blocksByTensor(architecture);
  const blocks = [...new Set([...names].flatMap((name) => places.get(name) ?? []))].sort((a, b) => a - b);
  refuseQuantized(opened, architecture, blocks);
  const digest = createHash("sha256")
    .update(JSON.stringify([...names].sort()))
    .digest("hex");
  const { plan } = parseMask(at, mask);
  return { names, mask, digest, plan, blocks, blockOf: (tensor) => String(places.get(tensor) ?? "outside") };
}

async function readMask(opened: Checkpoint, understood: Understood, file: string | undefined) {
  const at = file ?? maskBeside(opened)?.name ?? opened.location;
  try {
    const source = file === undefined ? maskBeside(opened) : fileSource(file);
    const mask = source === undefined ? await foundMask(opened, understood) : await source.read(0, source.size);
    return { at, mask, names: parseTrainable(at, mask) };
  } catch (error) {
    // Copies that are not found are no fault of a file.
    if (!(error instanceof ExpandError) || error.tag === "plan") throw error;
    const message = error.at === undefined ? error.message : error.message.slice(error.at.length + 2);
    const fix = "Make a mask with expand-checkpoint mask, and name it with --mask.";
    throw new ExpandError(error.tag, message, { at: error.at ?? at, fix, cause: error });
  }
}

async function foundMask(opened: Checkpoint, { checkpoint, architecture }: Understood): Promise<Uint8Array> {
  const { location } = opened;
  const { copies } = await findCopies(checkpoint, architecture, { source: location }).catch((error: unknown) => {
    if (!(error instanceof ExpandError) || error.tag !== "plan") throw error;
    throw new ExpandError("plan", "there is no mask.json, and no block adds exactly nothing: what is to be trained?", {
      at: location,
      fix: `Pass --mask FILE; expand-checkpoint mask ${location} --blocks 4,9 > FILE makes one.`,
    });
  });
  return Buffer.from(`${JSON.stringify(maskFor(architecture, opened, copies), null, 2)}\n`);
}

/** A mask is of this checkpoint when both name the same tensors. */
function checkNames(checkpoint: Checkpoint, at: string, mask: Uint8Array, trainable: ReadonlySet<string>): void {
  const fix = "Use the mask.json that was written with this checkpoint, or make one with the mask command.";
  const named = JsonDocument.parse(at, mask).get(["tensors"]);
  const entries = new Set(Object.keys(typeof named === "object" && named !== null ? named : {}));
  for (const name of checkpoint.tensors.keys()) {
    if (!entries.has(name)) throw new ExpandError("input", `says nothing of tensor ${quote(name)}`, { at, fix });
  }
  for (const name of entries) {
    if (checkpoint.tensors.has(name)) continue;
    throw new ExpandError("input", `names tensor ${quote(name)}, which ${checkpoint.location} does not have`, {
      at,
      fix,
    });
  }
  for (const name of trainable) {
    const dtype = checkpoint.tensors.get(name)?.dtype;
    if (dtype !== undefined && !isPlainFloat(dtype)) throw quantized(name, dtype, checkpoint);
  }
  if (trainable.size === 0) throw new ExpandError("plan", "marks no tensor as trainable", { at, fix });
}

function blocksByTensor({ blocks, tail, aliases }: Architecture): ReadonlyMap<string, number> {
  const places = new Map<string, number>();
  for (const { index, tensors } of [...blocks, ...tail]) {
    for (const name of tensors.values()) {
      places.set(name, index);
      const own = aliases?.get(name);
      if (own !== undefined && !places.has(own)) places.set(own, index);
    }
  }
  return places;
}

/** A copy whose projections are quantized stays closed whatever its norms learn. */
function refuseQuantized(checkpoint: Checkpoint, { blocks }: Architecture, trained: readonly number[]): void {
  for (const index of trained) {
    const block = blocks[index];
    for (const [role, name] of block?.tensors ?? []) {
      const tensor = checkpoint.tensors.get(name);
      if (tensor === undefined || tensor.shape.length < 2 || isPlainFloat(tensor.dtype)) continue;
      // Graphs count quantized weights among their buffers, and have shapes and positions in wider integers.
      const isWeight = checkpoint.graph === undefined ? !block?.buffers.has(role) : isPacked(tensor.dtype);
      if (isWeight && !INDICES.has(tensor.dtype)) throw quantized(name, tensor.dtype, checkpoint);
    }
  }
}

/** Positions, masks and shapes. */
const INDICES: ReadonlySet<Dtype> = new Set(["BOOL", "I64", "U64"]);

function isPacked(dtype: Dtype): boolean {
  const { values, bytes } = blockOf(dtype);
  return bytes <= values;
}

function quantized(name: string, dtype: Dtype, { format, location }: Checkpoint): ExpandError {
  const ways = {
    gguf: "Expand and train the F16, BF16 or F32 GGUF of the model, and quantize the result with llama-quantize.",
    onnx: "Expand and train the unquantized export of the model, and quantize the result.",
    other: "Expand and train the model in BF16 or F32, and quantize the result.",
  } as const;
  return new ExpandError("unsupported", `tensor ${quote(name)} is stored as ${dtype}, which cannot be trained`, {
    at: location,
    fix: ways[format === "gguf" || format === "onnx" ? format : "other"],
  });
}
