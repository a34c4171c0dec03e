// Where data lies in a GGUF file: alignment, padding and the names of split files. Shared by reading and writing; no I/O.
import { type GgufEntry, ggufNumber, ggufTypeName } from "../../checkpoint/gguf-metadata.ts";
import { ExpandError } from "../../errors.ts";

export const ALIGNMENT_KEY = "general.alignment";
/** The keys that say which part of a split model a file is. They describe files, not the model. */
export const SPLIT_KEYS = { no: "split.no", count: "split.count", tensors: "split.tensors.count" } as const;

/** GGML_MAX_NAME is 64 and counts the closing NUL. */
export const MAX_NAME_BYTES = 63;
/** GGML_MAX_DIMS. */
export const MAX_DIMENSIONS = 4;
/** split.count is a u16. */
export const MAX_PARTS = 65535;

const DEFAULT_ALIGNMENT = 32;
const MAX_ALIGNMENT = 2 ** 30;

/** Bytes that every tensor's offset is a multiple of. */
export function alignmentOf(file: string, entries: ReadonlyMap<string, GgufEntry>): number {
  const entry = entries.get(ALIGNMENT_KEY);
  if (entry === undefined) return DEFAULT_ALIGNMENT;
  const refuse = (found: string): never => {
    throw new ExpandError(
      "damaged",
      `key "${ALIGNMENT_KEY}" is ${found}; a u32 power of two up to ${MAX_ALIGNMENT} was expected`,
      {
        at: file,
        fix: "Download or convert the file again.",
      },
    );
  };
  if (entry.type !== "u32") return refuse(`of type ${ggufTypeName(entry)}`);
  const alignment = ggufNumber(entry);
  if (alignment === 0 || alignment > MAX_ALIGNMENT || (alignment & (alignment - 1)) !== 0)
    return refuse(`${alignment}`);
  return alignment;
}

/** The next multiple of `alignment`. */
export function padded(size: number, alignment: number): number {
  return Math.ceil(size / alignment) * alignment;
}

export interface PartName {
  readonly stem: string;
  /** From 0. */
  readonly index: number;
  readonly count: number;
}

/** Reads `<stem>-00002-of-00005.gguf`; undefined for other names. */
export function parsePartName(name: string): PartName | undefined {
  const match = /^(.*)-([0-9]{5})-of-([0-9]{5})\.gguf$/s.exec(name);
  if (match?.[1] === undefined) return undefined;
  return { stem: match[1], index: Number(match[2]) - 1, count: Number(match[3]) };
}

export function partName(part: PartName): string {
  const digits = (value: number): string => String(value).padStart(5, "0");
  return `${part.stem}-${digits(part.index + 1)}-of-${digits(part.count)}.gguf`;
}
