// The delta of an expanded checkpoint as one safetensors file: tensors of the copies, and how the checkpoint's files are put together from
// them and from the base. Plans and parses; reads and writes no weights.
import { ExpandError } from "../../errors.ts";
import { isSafetensorsDtype } from "../../formats/safetensors/dtypes.ts";
import { layOut, type NamedTensor } from "../../formats/safetensors/layout.ts";
import { JsonDocument, type JsonObject, type JsonValue } from "../../json.ts";
import type { FilePlan } from "../../storage/file-plan.ts";
import type { TensorRef } from "../../tensor/reference.ts";
import { joinedSource, type Stretch } from "../../tensor/source.ts";
import { VERSION } from "../../version.ts";
import { type AssembledFile, parseFiles } from "./assembly.ts";

export const DELTA_SCHEMA = "expand-checkpoint/delta/1";
/** The key of the header's `__metadata__` that holds everything but tensors, as JSON. */
const KEY = "expand-checkpoint";
/** Kept bytes of a file stand in a tensor of this name and the file's; no model names a tensor so. */
const KEPT = "expand-checkpoint/file/";

export interface DeltaBase {
  readonly format: string;
  /** Fingerprint of its headers and settings. */
  readonly headers: string;
  /** SHA-256 of the bytes of every tensor. */
  readonly tensors: Readonly<Record<string, string>>;
  /** SHA-256 of the other files that the expanded checkpoint took over. */
  readonly files: Readonly<Record<string, string>>;
}

/** What a delta says beside its tensors. The SHA-256 of every file is known. */
export interface Delta {
  /** plan.json as it was, null where the checkpoint has none. */
  readonly plan: JsonValue;
  readonly base: DeltaBase;
  readonly expanded: { readonly format: string; readonly headers: string };
  /** Expanded indices of the copies whose tensors these are. */
  readonly copies: readonly number[];
  /** SHA-256 of every tensor in the delta. */
  readonly own: Readonly<Record<string, string>>;
  readonly files: readonly AssembledFile[];
}

/** The tensor that holds the kept bytes of a file. */
export function keptName(file: string): string {
  return KEPT + file;
}

export function keptTensor(file: string, kept: readonly Stretch[]): NamedTensor {
  const source = joinedSource(file, kept);
  return [keptName(file), { kind: "stored", dtype: "U8", shape: [source.size], bytes: source.size, source, offset: 0 }];
}

/** As it can stand in a safetensors file: types of other formats as their bytes. */
export function storable(tensor: TensorRef): TensorRef {
  return isSafetensorsDtype(tensor.dtype) ? tensor : { ...tensor, dtype: "U8", shape: [tensor.bytes] };
}

export function planDelta(name: string, delta: Delta, tensors: readonly NamedTensor[]): FilePlan {
  const record = { schema: DELTA_SCHEMA, tool: `expand-checkpoint ${VERSION}`, ...delta };
  const metadata = new Map([
    ["format", "pt"],
    [KEY, JSON.stringify(record)],
  ]);
  return layOut(name, tensors, metadata);
}

/** Throws "input" for a file that is no delta of this version, "damaged" for one that contradicts itself. */
export function parseDelta(at: string, metadata: ReadonlyMap<string, string> | undefined): Delta {
  const text = metadata?.get(KEY);
  const value = text === undefined ? null : JsonDocument.parse(at, text).value;
  const record = isObject(value) ? value : {};
  if (record.schema !== DELTA_SCHEMA) {
    throw new ExpandError(
      "input",
      `is no delta: expected "schema": "${DELTA_SCHEMA}", found ${JSON.stringify(record.schema ?? null)}`,
      {
        at,
        fix: "Name a file that expand-checkpoint delta extract wrote.",
      },
    );
  }
  const { base, expanded, own, plan = null, copies } = record;
  if (!isObject(base) || !isObject(expanded)) return damaged(at);
  return {
    plan,
    base: {
      format: textOf(base.format, at),
      headers: textOf(base.headers, at),
      tensors: textsOf(base.tensors, at),
      files: textsOf(base.files, at),
    },
    expanded: { format: textOf(expanded.format, at), headers: textOf(expanded.headers, at) },
    copies: Array.isArray(copies) ? copies.filter((index) => typeof index === "number") : [],
    own: textsOf(own, at),
    files: parseFiles(record.files, at).map((file) => (file.sha256 === undefined ? damaged(at) : file)),
  };
}

function textsOf(value: JsonValue | undefined, at: string): Readonly<Record<string, string>> {
  if (!isObject(value)) return damaged(at);
  return Object.fromEntries(Object.entries(value).map(([key, text]) => [key, textOf(text, at)]));
}

function textOf(value: JsonValue | undefined, at: string): string {
  return typeof value === "string" ? value : damaged(at);
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function damaged(at: string): never {
  throw new ExpandError("damaged", "does not say what it is a delta of", {
    at,
    fix: "Extract it again; it is damaged, or of another version.",
  });
}
