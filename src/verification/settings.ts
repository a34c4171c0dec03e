// Compares AFTER's settings with those of BEFORE, adapted to the layout that was found. Expects nothing of a setting beyond that.
import type { ConfigEdit } from "../architecture/architecture.ts";
import type { Config } from "../checkpoint/checkpoint.ts";
import {
  type GgufEntry,
  type GgufScalar,
  type GgufValue,
  ggufTypeName,
  ggufValue,
} from "../checkpoint/gguf-metadata.ts";
import type { JsonDocument, JsonObject, JsonValue } from "../json.ts";
import { type Finding, type FindingCode, finding } from "./report.ts";

const CONFIG = "config.json";
/** Says how to sample, not what to compute. */
const GENERATION = "generation_config.json";

/** Settings of config.json that no computation depends on: provenance, storage and habits of the library that wrote it. */
const LABELS = new Set([
  "_commit_hash",
  "_name_or_path",
  "transformers_version",
  "use_cache",
  "gradient_checkpointing",
  "_attn_implementation_autoset",
  "unsloth_version",
  "unsloth_fixed",
]);
/** One setting under two names: transformers 4 and 5. */
const SAME_SETTING = ["torch_dtype", "dtype"] as const;

/** GGUF keys that describe the file. The split.* keys number its parts, and are no settings at all. */
const GGUF_LABEL = /^(?:general\.(?!architecture$|quantization_version$)|quantize\.)/;
const GGUF_STORAGE = /^split\./;

export function compareSettings(before: Config, after: Config, edits: readonly ConfigEdit[]): readonly Finding[] {
  if (before.dialect === "gguf" && after.dialect === "gguf") {
    return compareMetadata(before.metadata.entries, after.metadata.entries, edits);
  }
  if (before.dialect === "gguf" || after.dialect === "gguf") return [];
  const findings: Finding[] = [];
  for (const name of new Set([...before.documents.keys(), ...after.documents.keys()])) {
    const walk = new DocumentWalk(name, edits);
    findings.push(...walk.compare(before.documents.get(name), after.documents.get(name)));
  }
  return findings;
}

/** Walks two JSON documents side by side, down to the first values that differ. */
class DocumentWalk {
  readonly #name: string;
  readonly #edits: Map<string, ConfigEdit>;
  readonly #findings: Finding[] = [];

  constructor(name: string, edits: readonly ConfigEdit[]) {
    this.#name = name;
    this.#edits = new Map(edits.filter((edit) => edit.document === name).map((edit) => [edit.path, edit]));
  }

  compare(before: JsonDocument | undefined, after: JsonDocument | undefined): readonly Finding[] {
    if (after === undefined) {
      const detail = this.#name === GENERATION ? ({ severity: "warns" } as const) : {};
      return [
        finding(
          "settings-missing",
          this.#name,
          "is in BEFORE and not in AFTER, so nothing says what AFTER computes",
          detail,
        ),
      ];
    }
    if (before === undefined) return [finding("label-changed", this.#name, "is in AFTER only")];
    this.#walk([], sameNames(before.value), sameNames(after.value));
    for (const edit of this.#edits.values()) this.#stale(edit, undefined);
    return this.#findings;
  }

  #walk(path: readonly string[], before: JsonValue | undefined, after: JsonValue | undefined): void {
    const edit = this.#edits.get(path.join("."));
    if (edit !== undefined) {
      this.#edits.delete(edit.path);
      this.#stale(edit, after);
    } else if (isObject(before) && isObject(after)) {
      for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) {
        this.#walk([...path, key], own(before, key), own(after, key));
      }
    } else if (!same(before, after)) this.#changed(path, before, after);
  }

  #stale(edit: ConfigEdit, found: JsonValue | undefined): void {
    if (!same(edit.after, found))
      this.#add("setting-stale", edit.path, `expected ${spell(edit.after)}, found ${spell(found)}`);
  }

  #changed(path: readonly string[], before: JsonValue | undefined, after: JsonValue | undefined): void {
    const label = this.#name === CONFIG && LABELS.has(path.at(-1) ?? "");
    const text = label
      ? `was ${spell(before)}, is ${spell(after)}`
      : `expected ${spell(before)}, found ${spell(after)}`;
    this.#add(label ? "label-changed" : "setting-changed", path.join("."), text);
  }

  #add(code: FindingCode, path: string, message: string): void {
    const detail = this.#name === GENERATION ? ({ severity: "warns" } as const) : {};
    this.#findings.push(finding(code, `${this.#name}: ${path}`, message, detail));
  }
}

/** `torch_dtype` read as `dtype`, at the top and one level down, where a nested text_config repeats it. */
function sameNames(value: JsonValue, depth = 0): JsonValue {
  if (!isObject(value) || depth > 1) return value;
  const [old, now] = SAME_SETTING;
  return Object.fromEntries(
    Object.entries(value).map(([key, part]) => [
      key === old && !Object.hasOwn(value, now) ? now : key,
      sameNames(part, depth + 1),
    ]),
  );
}

type Entries = ReadonlyMap<string, GgufEntry>;

function compareMetadata(before: Entries, after: Entries, edits: readonly ConfigEdit[]): readonly Finding[] {
  const findings: Finding[] = [];
  const expected = new Map(edits.map((edit) => [edit.path, edit]));
  for (const key of new Set([...before.keys(), ...after.keys(), ...expected.keys()])) {
    const [was, is, edit] = [before.get(key), after.get(key), expected.get(key)];
    if (edit !== undefined) {
      if (!holds(edit, was, is)) {
        findings.push(finding("setting-stale", key, `expected ${spell(edit.after)}, found ${spellEntry(is)}`));
      }
    } else if (!GGUF_STORAGE.test(key) && !equalEntries(was, is)) {
      const label = GGUF_LABEL.test(key);
      const text = label
        ? `was ${spellEntry(was)}, is ${spellEntry(is)}`
        : `expected ${spellEntry(was)}, found ${spellEntry(is)}`;
      findings.push(finding(label ? "label-changed" : "setting-changed", key, text));
    }
  }
  return findings;
}

function equalEntries(a: GgufEntry | undefined, b: GgufEntry | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return ggufTypeName(a) === ggufTypeName(b) && Buffer.compare(a.raw, b.raw) === 0;
}

function holds(edit: ConfigEdit, was: GgufEntry | undefined, is: GgufEntry | undefined): boolean {
  if (is === undefined || edit.after === undefined) return is === edit.after;
  const keepsType = edit.type !== undefined || was === undefined || ggufTypeName(was) === ggufTypeName(is);
  return keepsType && sameValue(edit.after, ggufValue(is), is.element ?? is.type);
}

function sameValue(expected: JsonValue, found: GgufValue, type: string): boolean {
  if (Array.isArray(expected)) {
    return (
      Array.isArray(found) &&
      found.length === expected.length &&
      expected.every((item: JsonValue, at) => sameValue(item, found[at] ?? Number.NaN, type))
    );
  }
  if (typeof expected === "number") {
    const number = typeof found === "bigint" ? Number(found) : found;
    return number === (type === "f32" ? Math.fround(expected) : expected);
  }
  return (found instanceof Uint8Array ? Buffer.from(found).toString() : found) === expected;
}

function same(a: JsonValue | undefined, b: JsonValue | undefined): boolean {
  if (Array.isArray(a) && Array.isArray(b))
    return a.length === b.length && a.every((item: JsonValue, at) => same(item, b[at]));
  if (!isObject(a) || !isObject(b)) return a === b || (Number.isNaN(a) && Number.isNaN(b));
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && same(a[key], b[key]));
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function own(object: JsonObject, key: string): JsonValue | undefined {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

/** Characters of a value that a message shows. */
const SHOWN = 80;

function spell(value: JsonValue | undefined): string {
  if (value === undefined) return "nothing";
  const length = Array.isArray(value) ? ` (${value.length} entries)` : "";
  const text = JSON.stringify(value);
  return (text.length <= SHOWN ? text : `${text.slice(0, SHOWN)}...`) + length;
}

function spellEntry(entry: GgufEntry | undefined): string {
  if (entry === undefined) return "nothing";
  if (entry.type === "array" && entry.count > SHOWN) return `${entry.count} values (${ggufTypeName(entry)})`;
  const plain = (item: GgufScalar): JsonValue =>
    item instanceof Uint8Array ? Buffer.from(item).toString() : typeof item === "bigint" ? Number(item) : item;
  const value = ggufValue(entry);
  const read = Array.isArray(value) ? value.map(plain) : plain(value as GgufScalar);
  return `${spell(read)} (${ggufTypeName(entry)})`;
}
