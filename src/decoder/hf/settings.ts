// Settings of config.json, read once each by a reader that knows what they mean. What no reader asked for stops the run by name.
import { ExpandError } from "../../errors.ts";
import type { JsonObject, JsonValue } from "../../json.ts";
import { isInert } from "./inert.ts";

export class Settings {
  readonly #values: JsonObject;
  readonly #path: string;
  readonly #read = new Set<string>();

  constructor(values: JsonObject, path = "config.json") {
    this.#values = values;
    this.#path = path;
  }

  /** The stored value, null counting as absent. */
  value(key: string): JsonValue | undefined {
    this.#read.add(key);
    return (Object.hasOwn(this.#values, key) ? this.#values[key] : undefined) ?? undefined;
  }

  /** True when the key is stored and is not null. Asking is not reading. */
  has(key: string): boolean {
    return Object.hasOwn(this.#values, key) && this.#values[key] !== null;
  }

  number(key: string, fallback?: number): number {
    return this.#typed(key, this.value(key) ?? fallback, "a number", isNumber);
  }

  /** A whole number of at least 1. */
  count(key: string, fallback?: number): number {
    return this.#typed(key, this.value(key) ?? fallback, "a whole number of at least 1", isCount);
  }

  /** `absent` where the key is not stored; undefined where it is null, which turns a feature off. */
  optionalNumber(key: string, absent?: number): number | undefined {
    return this.#optional(key, absent, "a number", isNumber);
  }

  /** The same for a whole number of at least 1. */
  optionalCount(key: string, absent?: number): number | undefined {
    return this.#optional(key, absent, "a whole number of at least 1", isCount);
  }

  flag(key: string, fallback: boolean): boolean {
    return this.#typed(key, this.value(key) ?? fallback, "true or false", (value) => typeof value === "boolean");
  }

  text(key: string, fallback?: string): string {
    return this.#typed(key, this.value(key) ?? fallback, "a word", (value) => typeof value === "string");
  }

  numbers(key: string): readonly number[] {
    return this.#typed(key, this.value(key), "a list of numbers", isNumbers);
  }

  optionalNumbers(key: string): readonly number[] | undefined {
    const value = this.value(key);
    return value === undefined ? undefined : this.#typed(key, value, "a list of numbers", isNumbers);
  }

  optionalTexts(key: string): readonly string[] | undefined {
    const value = this.value(key);
    return value === undefined ? undefined : this.#typed(key, value, "a list of words", isTexts);
  }

  /** Settings below a key, with a reading of their own: call `finish` on them too. Absent: undefined. */
  below(key: string): Settings | undefined {
    const value = this.value(key);
    if (value === undefined) return undefined;
    return new Settings(this.#typed(key, value, "an object", isObject), `${this.#path}: ${key}`);
  }

  /** One of the keys of a table, as the table's value. Throws "unsupported" with what is known. */
  choice<T>(key: string, table: Readonly<Record<string, T>>, fallback?: string): T {
    const word = this.text(key, fallback);
    const found = Object.hasOwn(table, word) ? table[word] : undefined;
    if (found !== undefined) return found;
    throw this.refuse(key, `is "${word}"; supported are ${Object.keys(table).join(", ")}`);
  }

  /** Refuses any other value than this one, which an absent key also means. */
  only(key: string, expected: boolean | number | string): void {
    const value = this.value(key) ?? expected;
    if (value === expected) return;
    throw this.refuse(key, `is ${JSON.stringify(value)}; only ${JSON.stringify(expected)} is supported`);
  }

  refuse(key: string, message: string): ExpandError {
    return new ExpandError("unsupported", message, {
      at: `${this.#path}: ${key}`,
      fix: "Use verify --mode structure, or train --export: both do without a forward pass.",
    });
  }

  /** Throws "unsupported" with the first setting that may matter and that nothing read. */
  finish(family: string): void {
    for (const [key, value] of Object.entries(this.#values)) {
      if (this.#read.has(key) || isInert(key, value)) continue;
      throw this.refuse(key, `this setting is not understood for ${family}`);
    }
  }

  #optional(
    key: string,
    absent: number | undefined,
    wanted: string,
    is: (value: JsonValue) => value is number,
  ): number | undefined {
    const value = this.value(key);
    if (value !== undefined) return this.#typed(key, value, wanted, is);
    return Object.hasOwn(this.#values, key) ? undefined : absent;
  }

  #typed<T extends JsonValue>(
    key: string,
    value: JsonValue | undefined,
    wanted: string,
    is: (value: JsonValue) => value is T,
  ): T {
    if (value !== undefined && is(value)) return value;
    const found = value === undefined ? "missing" : JSON.stringify(value);
    throw new ExpandError("damaged", `is ${found}; ${wanted} was expected`, {
      at: `${this.#path}: ${key}`,
      fix: "Correct the setting, or download the file again.",
    });
  }
}

function isNumber(value: JsonValue): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

function isCount(value: JsonValue): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 1;
}

function isNumbers(value: JsonValue): value is readonly number[] {
  return Array.isArray(value) && value.every(isNumber);
}

function isTexts(value: JsonValue): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

function isObject(value: JsonValue): value is JsonObject {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}
