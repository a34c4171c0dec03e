// Typed access to the settings of one GGUF architecture. Reads metadata only; never guesses a value.
import type { GgufEntry, GgufMetadata } from "../../checkpoint/gguf-metadata.ts";
import { ggufArray, ggufNumber, ggufString } from "../../checkpoint/gguf-metadata.ts";
import { ExpandError } from "../../errors.ts";
import type { JsonValue } from "../../json.ts";

/** Keys whose name has no architecture in front. */
const UNPREFIXED = "xielu.";

export class Settings {
  readonly architecture: string;
  readonly #metadata: GgufMetadata;

  constructor(metadata: GgufMetadata, architecture: string) {
    this.#metadata = metadata;
    this.architecture = architecture;
  }

  /** The full key: "block_count" is "llama.block_count". */
  key(name: string): string {
    return name.startsWith(UNPREFIXED) ? name : `${this.architecture}.${name}`;
  }

  entry(name: string): GgufEntry | undefined {
    return this.#metadata.entries.get(this.key(name));
  }

  /** A scalar number, or undefined when the key is absent. Throws "unsupported" when it is not a number. */
  number(name: string): number | undefined {
    const entry = this.entry(name);
    return entry === undefined ? undefined : ggufNumber(entry);
  }

  /** Elements as JSON, or undefined when the key is absent or no array. */
  array(name: string): readonly JsonValue[] | undefined {
    const entry = this.entry(name);
    return entry?.type === "array" ? ggufArray(entry).map((item) => plain(entry, item)) : undefined;
  }

  /** The value as JSON, or undefined when the key is absent. */
  value(name: string): JsonValue | undefined {
    const entry = this.entry(name);
    if (entry === undefined) return undefined;
    if (entry.type === "string") return ggufString(entry);
    return this.array(name) ?? (entry.type === "bool" ? entry.raw[0] !== 0 : ggufNumber(entry));
  }

  /** Entries of this architecture by their name without it. */
  own(): ReadonlyMap<string, GgufEntry> {
    const prefix = `${this.architecture}.`;
    const entries = [...this.#metadata.entries].filter(([key]) => key.startsWith(prefix) || key.startsWith(UNPREFIXED));
    return new Map(entries.map(([key, entry]) => [key.startsWith(prefix) ? key.slice(prefix.length) : key, entry]));
  }

  /** Number of tokens: the key, else the length of the token list. */
  vocabulary(): number | undefined {
    return this.number("vocab_size") ?? this.#metadata.entries.get("tokenizer.ggml.tokens")?.count;
  }
}

function plain(entry: GgufEntry, item: unknown): JsonValue {
  if (typeof item === "number" || typeof item === "boolean") return item;
  if (typeof item === "bigint" && Number.isSafeInteger(Number(item))) return Number(item);
  throw new ExpandError("unsupported", `holds a value that is not a number: ${String(item).slice(0, 40)}`, {
    at: entry.key,
    fix: "Convert the model again with a current llama.cpp.",
  });
}
