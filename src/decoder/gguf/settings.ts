// Metadata of a GGUF model, read once each by a reader that knows what they mean. What no reader asked for stops the run by name.
import { Settings } from "../../architecture/gguf/settings.ts";
import { type GgufMetadata, ggufTypeName } from "../../checkpoint/gguf-metadata.ts";
import { ExpandError } from "../../errors.ts";
import type { JsonValue } from "../../json.ts";

/**
 * Keys of an architecture that change nothing where no reader asks for them: sizes that the tensors' shapes repeat, notes of converters,
 * and what llama.cpp v0.5.0 reads for embeddings and training only.
 */
const INERT: ReadonlySet<string> = new Set([
  "vocab_size",
  "tensor_data_layout",
  "pooling_type",
  "expert_shared_count",
  "expert_shared_feed_forward_length",
  "expert_feed_forward_length",
  "attention.layer_norm_epsilon",
  "attention.layer_norm_rms_epsilon",
  "rope.dimension_count",
  "rope.freq_base",
  "rope.scaling.finetuned",
]);

/** Numbers are what the file holds: an epsilon is the f32 nearest to 1e-5, not 1e-5. */
export class GgufSettings {
  readonly family: string;
  readonly #settings: Settings;
  readonly #read = new Set<string>();

  constructor(metadata: GgufMetadata, family: string) {
    this.family = family;
    this.#settings = new Settings(metadata, family);
  }

  value(name: string): JsonValue | undefined {
    this.#read.add(name);
    return this.#settings.value(name);
  }

  /** Throws "damaged" when it is missing and there is no fallback. */
  number(name: string, fallback?: number): number {
    const value = this.value(name) ?? fallback;
    if (typeof value === "number" && Number.isFinite(value)) return value;
    throw this.#damaged(name, "a number");
  }

  optionalNumber(name: string): number | undefined {
    return this.value(name) === undefined ? undefined : this.number(name);
  }

  /** A whole number of at least 1. */
  count(name: string, fallback?: number): number {
    const value = this.number(name, fallback);
    if (Number.isSafeInteger(value) && value >= 1) return value;
    throw this.#damaged(name, "a whole number of at least 1");
  }

  flag(name: string, fallback?: boolean): boolean {
    const value = this.value(name) ?? fallback;
    if (typeof value === "boolean") return value;
    throw this.#damaged(name, "true or false");
  }

  text(name: string, fallback: string): string {
    const value = this.value(name) ?? fallback;
    if (typeof value === "string") return value;
    throw this.#damaged(name, "a string");
  }

  /** A whole number of at least 1 for each of `blocks` blocks: one for all, or a list with one for each. */
  counts(name: string, blocks: number, fallback?: readonly number[]): readonly number[] {
    const stored = this.value(name);
    if (stored === undefined && fallback !== undefined) return fallback;
    if (!Array.isArray(stored)) return Array.from({ length: blocks }, () => this.count(name));
    const values = this.list(name, blocks).filter(
      (value): value is number => Number.isSafeInteger(value) && Number(value) >= 1,
    );
    if (values.length === stored.length) return values;
    throw this.refuse(name, "holds a 0; blocks without this part are not supported");
  }

  /** The elements of an array that has one for each block. */
  list(name: string, blocks: number): readonly JsonValue[] {
    const stored = this.value(name);
    if (!Array.isArray(stored)) throw this.#damaged(name, "an array");
    if (stored.length === blocks) return stored;
    throw this.refuse(name, `has ${stored.length} elements; the model has ${blocks} blocks`);
  }

  /** Refuses any other value than these; an absent key is accepted. */
  only(name: string, ...accepted: readonly (boolean | number)[]): void {
    const value = this.value(name);
    if (value === undefined || accepted.some((each) => each === value)) return;
    throw this.refuse(name, `is ${JSON.stringify(value)}; only ${accepted.join(" and ")} can be computed`);
  }

  refuse(name: string, message: string): ExpandError {
    return new ExpandError("unsupported", message, {
      at: this.#settings.key(name),
      fix: "Use verify --mode structure, or train --export: both do without a forward pass.",
    });
  }

  /** Throws "unsupported" with the first key of the architecture that may matter and that nothing read. */
  finish(): void {
    for (const name of this.#settings.own().keys()) {
      if (this.#read.has(name) || INERT.has(name)) continue;
      throw this.refuse(name, `this key is not understood for ${this.family}`);
    }
  }

  #damaged(name: string, wanted: string): ExpandError {
    const entry = this.#settings.entry(name);
    const found =
      entry === undefined ? "missing" : `of type ${ggufTypeName(entry)}, ${JSON.stringify(this.#settings.value(name))}`;
    return new ExpandError("damaged", `is ${found}; ${wanted} was expected`, {
      at: this.#settings.key(name),
      fix: "Convert the model again with a current llama.cpp.",
    });
  }
}
