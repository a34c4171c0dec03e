// One JSON object per line, of which one field is the text. Never skips a line that it cannot read.
import { ExpandError, quote } from "../errors.ts";
import type { ByteSource } from "../tensor/source.ts";
import { type Document, pieces, type TextFile } from "./document.ts";
import { chooseField } from "./field.ts";
import { decodeText, type Line, lineNumber, lines, linesOfPart, partsOf } from "./lines.ts";

/** Lines, where the first has nulls. */
const LOOKED_AT = 1000;

type Fields = Readonly<Record<string, unknown>>;

/** Reads the first lines, to choose the field. */
export async function openJsonLines(source: ByteSource, field: string | undefined): Promise<TextFile> {
  const chosen = await fieldOf(source, field);
  if (chosen === undefined) return { source, parts: 0, documents: async function* () {} };
  return { source, field: chosen, parts: partsOf(source.size), documents: (part) => documents(source, part, chosen) };
}

/** By the first line, and for what is null there by the first ones that say more. Undefined when no line is not blank. */
async function fieldOf(source: ByteSource, field: string | undefined): Promise<string | undefined> {
  const kinds = new Map<string, unknown>();
  let read = 0;
  for await (const line of lines(source, 0, source.size)) {
    const fields = await parse(source, line);
    if (fields === undefined) continue;
    for (const name of read === 0 ? Object.keys(fields) : kinds.keys())
      kinds.set(name, kinds.get(name) ?? fields[name]);
    if (++read === LOOKED_AT || ![...kinds.values()].includes(null)) break;
  }
  if (read === 0) return undefined;
  const names = [...kinds.keys()];
  const strings = names.filter((name) => typeof kinds.get(name) === "string");
  return chooseField(source.name, names, strings, field);
}

async function* documents(source: ByteSource, part: number, field: string): AsyncGenerator<Document> {
  for await (const line of linesOfPart(source, part)) {
    const fields = await parse(source, line);
    if (fields === undefined) continue;
    const value = Object.hasOwn(fields, field) ? fields[field] : undefined;
    if (value === null) continue;
    if (typeof value !== "string") {
      const found = value === undefined ? "is missing" : `is ${Array.isArray(value) ? "an array" : typeof value}`;
      const names = Object.keys(fields).map(quote).join(", ");
      return await refuse(
        source,
        line,
        `field ${quote(field)} ${found}, not a string; the line has ${names || "none"}`,
      );
    }
    if (HALF_PAIR.test(value)) await refuse(source, line, `field ${quote(field)} holds half of a surrogate pair`);
    yield* pieces(value, { file: source.name, place: `byte ${line.offset}` });
  }
}

/** Undefined for a blank line. */
async function parse(source: ByteSource, line: Line): Promise<Fields | undefined> {
  const text = decodeText(source, line.bytes, line.offset);
  if (text.trim() === "") return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    return refuse(source, line, "is not JSON", cause);
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Fields;
  return refuse(source, line, "is JSON, but not an object");
}

/** A pair is one character to a Unicode pattern; half of one is left over. */
const HALF_PAIR = /\p{Surrogate}/u;

async function refuse(source: ByteSource, { offset }: Line, message: string, cause?: unknown): Promise<never> {
  throw new ExpandError("damaged", `line ${await lineNumber(source, offset)} ${message}`, {
    at: source.name,
    fix: "Write one JSON object per line, with the text as a string.",
    cause,
  });
}
