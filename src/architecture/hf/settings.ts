// One stack's view of the JSON settings: where a field stands, what it says, what it would say after edits. Never changes a document.
import { ExpandError } from "../../errors.ts";
import type { JsonDocument, JsonObject, JsonValue } from "../../json.ts";
import type { ConfigEdit } from "../architecture.ts";

export const CONFIG = "config.json";

export class Settings {
  readonly #values: ReadonlyMap<string, JsonValue>;
  readonly #scopes: readonly string[];

  private constructor(values: ReadonlyMap<string, JsonValue>, scopes: readonly string[]) {
    this.#values = values;
    this.#scopes = scopes;
  }

  /** `scopes` are objects of config.json, the deciding one first; those that are absent are left out. */
  static of(documents: ReadonlyMap<string, JsonDocument>, scopes: readonly string[]): Settings {
    const values = new Map([...documents].map(([name, document]) => [name, document.value]));
    const config = values.get(CONFIG);
    const found = scopes.filter((scope) => isObject(valueAt(config, scope)));
    return new Settings(values, found);
  }

  get scopes(): readonly string[] {
    return this.#scopes;
  }

  /** Value in the deciding scope that has the field. */
  get(field: string, document: string = CONFIG): JsonValue | undefined {
    return this.paths(field, document)
      .map((path) => valueAt(this.#values.get(document), path))
      .at(0);
  }

  number(field: string): number | undefined {
    const value = this.get(field);
    return typeof value === "number" ? value : undefined;
  }

  /** Full paths at which a field stands on disk and is not null, the deciding one first. */
  paths(field: string, document: string = CONFIG): readonly string[] {
    const scopes = document === CONFIG ? this.#scopes : [""];
    return scopes
      .map((scope) => join(scope, field))
      .filter((path) => (valueAt(this.#values.get(document), path) ?? null) !== null);
  }

  /** Where a new field goes: the deciding scope. */
  home(field: string): string {
    return join(this.#scopes[0] ?? "", field);
  }

  at(path: string, document: string = CONFIG): JsonValue | undefined {
    return valueAt(this.#values.get(document), path);
  }

  /** The same view after edits. */
  with(edits: readonly ConfigEdit[]): Settings {
    const values = new Map(this.#values);
    for (const edit of edits) {
      values.set(edit.document, replaced(values.get(edit.document) ?? {}, edit.path.split("."), edit.after));
    }
    return new Settings(values, this.#scopes);
  }
}

/** One change; an absent side means that the key is new or goes. */
export function edit(
  document: string,
  path: string,
  before: JsonValue | undefined,
  after: JsonValue | undefined,
): ConfigEdit {
  return { document, path, ...(before === undefined ? {} : { before }), ...(after === undefined ? {} : { after }) };
}

export function isObject(value: JsonValue | undefined): value is JsonObject {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

export function isList(value: JsonValue | undefined): value is readonly JsonValue[] {
  return Array.isArray(value);
}

function join(scope: string, field: string): string {
  return scope === "" ? field : `${scope}.${field}`;
}

function valueAt(root: JsonValue | undefined, path: string): JsonValue | undefined {
  let value = root;
  for (const key of path === "" ? [] : path.split(".")) {
    if (!isObject(value) || !Object.hasOwn(value, key)) return undefined;
    value = value[key];
  }
  return value;
}

function replaced(root: JsonValue, path: readonly string[], after: JsonValue | undefined): JsonValue {
  const [key, ...rest] = path;
  if (key === undefined) return after ?? null;
  if (!isObject(root)) throw new ExpandError("bug", `no object to hold "${key}"`, { at: CONFIG });
  if (rest.length === 0 && after === undefined) {
    return Object.fromEntries(Object.entries(root).filter(([name]) => name !== key));
  }
  return { ...root, [key]: replaced(root[key] ?? {}, rest, after) };
}
