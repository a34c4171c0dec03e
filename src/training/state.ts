// Where a run stands, on the disk: weights, moments and loss scale as safetensors, the rest as JSON that names that file. Never replaces
// a state before the next one is complete.
import fs from "node:fs";
import path from "node:path";
import { crc32 } from "node:zlib";
import { ExpandError } from "../errors.ts";
import { layOut, type NamedTensor } from "../formats/safetensors/layout.ts";
import { openSafetensorsFile } from "../formats/safetensors/read.ts";
import { outputFailure } from "../storage/failure.ts";
import { plannedSource } from "../storage/planned.ts";
import { decodeTensor } from "../tensor/decode.ts";
import type { Shape } from "../tensor/dtype.ts";
import type { TensorRef } from "../tensor/reference.ts";
import { type ByteSource, fileSource, memorySource } from "../tensor/source.ts";
import { textPlan, writeDurably } from "./durable.ts";
import type { Identity } from "./identity.ts";
import type { TrainerState } from "./step/trainer.ts";

export const STATE_SCHEMA = "expand-checkpoint/training-state/1";
const STATE_FILE = "state.json";
const PARTS = ["weights", "m", "v"] as const;

/** All of a run but its numbers. */
export interface Progress {
  /** Steps done, skipped ones too: the schedule's place. */
  readonly step: number;
  /** Tokens whose prediction counted. */
  readonly tokens: number;
  /** Steps whose gradients were not finite under f16 scaling. */
  readonly skipped: number;
  /** Of work, in all parts of the run. */
  readonly seconds: number;
  /** Where the corpus goes on; absent at its start. */
  readonly cursor?: unknown;
}

/** state.json. */
interface StateFile extends Progress {
  readonly schema: typeof STATE_SCHEMA;
  readonly identity: Identity;
  /** Name of the file with the tensors, beside this one. */
  readonly file: string;
  /** CRC-32 of that file: damage would be trained on, or written as the result. */
  readonly crc: number;
  readonly trainer: Omit<TrainerState, (typeof PARTS)[number]>;
}

/** What is written: CRC-32 of the rest as JSON, because another digit would be believed. */
type SealedState = StateFile & { readonly seal: number };

export interface SavedState {
  readonly identity: Identity;
  readonly progress: Progress;
  /** The weights, unread, by the names of the checkpoint's tensors. */
  readonly weights: ReadonlyMap<string, TensorRef>;
  /** Reads everything. */
  trainer(): Promise<TrainerState>;
}

/** Undefined where no state was saved. Throws "input" for one that is not of this version, "damaged" for one that is broken. */
export async function readState(directory: string): Promise<SavedState | undefined> {
  const file = path.join(directory, STATE_FILE);
  if (!fs.existsSync(file)) return undefined;
  const state = parseState(file);
  const tensors = await readTensors(path.join(directory, state.file), state.crc);
  const { step, tokens, skipped, seconds, cursor } = state;
  return {
    identity: state.identity,
    progress: { step, tokens, skipped, seconds, ...(cursor === undefined ? {} : { cursor }) },
    weights: partOf(tensors, "weights"),
    trainer: async () => ({
      ...state.trainer,
      weights: await decodeAll(partOf(tensors, "weights")),
      m: await decodeAll(partOf(tensors, "m")),
      v: await decodeAll(partOf(tensors, "v")),
    }),
  };
}

/** First the tensors, under a name of their own, then state.json that names them: a kill at any moment leaves the last pair or this one. */
export async function writeState(
  directory: string,
  shapes: ReadonlyMap<string, Shape>,
  saved: { readonly identity: Identity; readonly progress: Progress; readonly trainer: TrainerState },
): Promise<void> {
  const { identity, progress, trainer } = saved;
  const { weights, m, v, ...rest } = trainer;
  fs.mkdirSync(directory, { recursive: true });
  // Two runs on one output must not write under one name; the process tells them apart.
  const file = `step-${String(progress.step).padStart(8, "0")}-${process.pid.toString(36)}-${Date.now().toString(36)}.safetensors`;
  const tensors = PARTS.flatMap((part) => tensorsOf(part, { weights, m, v }[part], shapes));
  const plan = layOut(file, tensors, new Map([["format", "pt"]]));
  await writeDurably(directory, plan);
  const crc = await checksum(plannedSource(plan));
  const state: StateFile = { schema: STATE_SCHEMA, identity, ...progress, file, crc, trainer: rest };
  const sealed: SealedState = { ...state, seal: sealOf(state) };
  await writeDurably(directory, textPlan(STATE_FILE, `${JSON.stringify(sealed, null, 2)}\n`));
  removeOlder(directory, file);
}

/** Tensors that no state names any more, and halves of them. */
function removeOlder(directory: string, kept: string): void {
  try {
    for (const name of fs.readdirSync(directory)) {
      if (name.startsWith("step-") && name !== kept) fs.rmSync(path.join(directory, name), { force: true });
    }
  } catch (error) {
    throw outputFailure(error, directory);
  }
}

function sealOf(state: Partial<StateFile>): number {
  return crc32(JSON.stringify(state));
}

function tensorsOf(
  part: string,
  values: ReadonlyMap<string, Float32Array>,
  shapes: ReadonlyMap<string, Shape>,
): readonly NamedTensor[] {
  return [...values].map(([name, data]): NamedTensor => {
    const source = memorySource(name, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    const shape = shapes.get(name) ?? [data.length];
    return [`${part}/${name}`, { kind: "stored", dtype: "F32", shape, bytes: data.byteLength, source, offset: 0 }];
  });
}

function partOf(tensors: ReadonlyMap<string, TensorRef>, part: string): ReadonlyMap<string, TensorRef> {
  const found = [...tensors].filter(([name]) => name.startsWith(`${part}/`));
  return new Map(found.map(([name, tensor]) => [name.slice(part.length + 1), tensor]));
}

async function decodeAll(tensors: ReadonlyMap<string, TensorRef>): Promise<ReadonlyMap<string, Float32Array>> {
  const values = new Map<string, Float32Array>();
  for (const [name, tensor] of tensors) values.set(name, await decodeTensor(tensor));
  return values;
}

/** Whatever is wrong with the file, only another run can mend it. */
async function readTensors(file: string, crc: number): Promise<ReadonlyMap<string, TensorRef>> {
  try {
    const source = fileSource(file);
    if ((await checksum(source)) !== crc) throw broken(file, "is not what was saved: its checksum differs", "damaged");
    return (await openSafetensorsFile(source, path.basename(file))).tensors;
  } catch (error) {
    if (!(error instanceof ExpandError) || error.fix === FIX) throw error;
    throw broken(file, error.message.slice(error.at === undefined ? 0 : error.at.length + 2), error.tag, error);
  }
}

/** Bytes read at once. */
const CHUNK = 16 << 20;

async function checksum(source: ByteSource): Promise<number> {
  let crc = 0;
  for (let at = 0; at < source.size; at += CHUNK) {
    crc = crc32(await source.read(at, Math.min(CHUNK, source.size - at)), crc);
  }
  return crc;
}

const FIX = "Pass --no-resume to start the run again.";

function broken(at: string, message: string, tag: ExpandError["tag"], cause?: unknown): ExpandError {
  return new ExpandError(tag, message, { at, fix: FIX, cause });
}

function parseState(file: string): StateFile {
  let state: Partial<StateFile>;
  let seal: number | undefined;
  try {
    ({ seal, ...state } = JSON.parse(fs.readFileSync(file, "utf8")) as Partial<SealedState>);
  } catch {
    throw broken(file, "is not JSON", "damaged");
  }
  const { schema, file: tensors, crc, step, identity, trainer } = state;
  if (schema !== STATE_SCHEMA) {
    throw broken(file, `expected "schema": "${STATE_SCHEMA}", found ${JSON.stringify(schema ?? null)}`, "input");
  }
  const isWhole =
    typeof step === "number" && typeof crc === "number" && identity !== undefined && trainer !== undefined;
  if (!isWhole || typeof tensors !== "string" || path.basename(tensors) !== tensors) {
    throw broken(file, "lacks a part of the state", "damaged");
  }
  if (sealOf(state) !== seal) throw broken(file, "is not what was saved: its checksum differs", "damaged");
  return state as StateFile;
}
