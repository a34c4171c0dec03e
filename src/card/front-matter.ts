// The YAML at the head of a model card, edited where it must be: every other line stays as its author wrote it.
import { isMap, isScalar, isSeq, type Pair, parseDocument, stringify, type YAMLMap } from "yaml";
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

/** The value of a key; undefined when there is none. */
export function frontValue(front: string, key: string): unknown {
  const value: unknown = mapOf(front).get(key);
  return isScalar(value) ? value.value : isSeq(value) || isMap(value) ? value.toJSON() : value;
}

/** One key set to a value, where it stood or at the end. */
export function withValue(front: string, key: string, value: unknown): string {
  const line = stringify({ [key]: value }, { lineWidth: 0 });
  const pair = pairOf(front, key);
  const span = pair && spanOf(pair);
  return span === undefined ? front + line : checked(front.slice(0, span.start) + line + front.slice(span.end));
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
  return mapOf(front).items.find((pair) => isScalar(pair.key) && pair.key.value === key);
}

/** From the key to the end of the value's last line. */
function spanOf({ key, value }: Entry): { readonly start: number; readonly end: number } | undefined {
  const start = isScalar(key) ? key.range?.[0] : undefined;
  const end = isScalar(value) || isSeq(value) || isMap(value) ? value.range?.[2] : undefined;
  return start === undefined || end === undefined ? undefined : { start, end };
}

function mapOf(front: string): YAMLMap {
  const document = parseDocument(front, { uniqueKeys: true });
  const [error] = document.errors;
  const { contents } = document;
  if (error === undefined && (contents === null || isMap(contents))) {
    return contents ?? (parseDocument("{}").contents as YAMLMap);
  }
  throw new ExpandError(
    "input",
    `its front matter is not YAML with keys (${error?.message.split("\n")[0] ?? "a list"})`,
    {
      at: "README.md",
      fix: "Mend the lines between the two lines of dashes at its head.",
    },
  );
}

/** An edit that would break the document is our bug, not the author's. */
function checked(front: string): string {
  mapOf(front);
  return front;
}
