// The YAML at the head of a model card, edited where it must be: every other line stays as its author wrote it.
import { type Document, isMap, isNode, isScalar, isSeq, type Pair, parseDocument, stringify, YAMLMap } from "yaml";
import { ExpandError } from "../errors.ts";

/** A card in its two parts. */
export interface Card {
  /** Between the two lines of dashes, which are not part of it; ends with a line break unless it is empty. */
  readonly front: string;
  readonly body: string;
}

/** Metadata of the Hub that holds for an expanded model as for its source. */
export const CARRIED = ["license", "license_name", "license_link", "language", "library_name", "pipeline_tag"] as const;

/** Cards without front matter have an empty one. */
export function splitCard(text: string): Card {
  const found = /^\uFEFF?---[ \t]*\r?\n([\s\S]*?)(?:^|\n)---[ \t]*(?:\r?\n|$)/.exec(text);
  if (found === null) return { front: "", body: text };
  const front = (found[1] ?? "").replace(/\r?\n?$/, "\n");
  return { front: front.trim() === "" ? "" : front, body: text.slice(found[0].length) };
}

export function joinCard({ front, body }: Card): string {
  return `---\n${front}---\n${body}`;
}

/** The value of a key, aliases followed; undefined when there is none. */
export function frontValue(front: string, key: string): unknown {
  const { values } = parsed(front);
  return Object.hasOwn(values, key) ? values[key] : undefined;
}

/** One key set to a value, where it stood or at the end. */
export function withValue(front: string, key: string, value: unknown): string {
  // The Hub reads YAML 1.1, where a bare no is false and not Norwegian.
  const line = stringify({ [key]: value }, { lineWidth: 0, compat: "yaml-1.1", aliasDuplicateObjects: false });
  const pair = pairOf(front, key);
  const span = pair && spanOf(pair);
  return checked(span === undefined ? front + line : front.slice(0, span.start) + line + front.slice(span.end));
}

export function withoutKey(front: string, key: string): string {
  const pair = pairOf(front, key);
  const span = pair && spanOf(pair);
  return span === undefined ? front : front.slice(0, span.start) + front.slice(span.end);
}

/** The tags that are missing, behind those that are there. */
export function withTags(front: string, tags: readonly string[]): string {
  const found = frontValue(front, "tags");
  const known = Array.isArray(found) ? found : found === undefined || found === null ? [] : [found];
  const missing = tags.filter((tag) => !known.includes(tag));
  if (missing.length === 0) return front;
  const value = pairOf(front, "tags")?.value;
  const last = isSeq(value) && value.flow !== true ? value.items.at(-1) : undefined;
  const end = isScalar(last) ? last.range?.[1] : undefined;
  if (end === undefined) return withValue(front, "tags", [...known, ...missing]);
  const indent = /^[ \t]*/.exec(front.slice(front.lastIndexOf("\n", end - 1) + 1))?.[0] ?? "";
  const lines = missing.map((tag) => `\n${indent}- ${tag}`).join("");
  return checked(front.slice(0, end) + lines + front.slice(end));
}

type Entry = Pair<unknown, unknown>;

function pairOf(front: string, key: string): Entry | undefined {
  return parsed(front).map.items.find((pair) => isScalar(pair.key) && pair.key.value === key);
}

/** From the key to the end of the value's last line. */
function spanOf({ key, value }: Entry): { readonly start: number; readonly end: number } | undefined {
  const start = isScalar(key) ? key.range?.[0] : undefined;
  const end = isNode(value) ? value.range?.[2] : undefined;
  return start === undefined || end === undefined ? undefined : { start, end };
}

interface Front {
  readonly map: YAMLMap;
  readonly values: Readonly<Record<string, unknown>>;
}

function parsed(front: string): Front {
  const document = parseDocument(front, { uniqueKeys: true });
  const { contents } = document;
  const [error] = document.errors;
  if (error !== undefined) return refused(error.message);
  if (contents === null) return { map: new YAMLMap(), values: {} };
  return isMap(contents) ? { map: contents, values: valuesOf(document) } : refused("a list");
}

/** Throws for aliases that would fill the memory. */
function valuesOf(document: Document.Parsed): Readonly<Record<string, unknown>> {
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    return refused(error instanceof Error ? error.message : String(error));
  }
}

function refused(reason: string): never {
  throw new ExpandError("input", `its front matter is not YAML with keys (${reason.split("\n")[0]})`, {
    at: "README.md",
    fix: "Mend the lines between the two lines of dashes at its head.",
  });
}

/** What could not be edited where it stands, such as keys in braces, is refused and not broken. */
function checked(front: string): string {
  parsed(front);
  return front;
}
