// JSON documents that are read strictly and edited without touching what was not edited. Python's NaN and Infinity are read too;
// a number's spelling (1e-05, 10000.0) survives. Never evaluates anything.
import { ExpandError } from "./errors.ts";

export type JsonValue = null | boolean | number | string | readonly JsonValue[] | { readonly [key: string]: JsonValue };
export type JsonObject = { readonly [key: string]: JsonValue };

interface Node {
  /** Span of the value in the text: [start, end). */
  readonly start: number;
  readonly end: number;
  readonly value: JsonValue;
  readonly items?: readonly Node[];
  readonly members?: ReadonlyMap<string, Member>;
}
interface Member {
  readonly keyStart: number;
  readonly node: Node;
}

const FIX = "Correct the file, or take it again from where it came.";
/** Deeper nesting than any model file needs; keeps the parser's recursion bounded. */
const MAX_DEPTH = 128;
/** A quarter of a million tensors in a safetensors header; keeps a hostile 100 MB of "1,1,1" from taking tens of GB. */
const MAX_VALUES = 2_000_000;

export class JsonDocument {
  readonly name: string;
  readonly text: string;
  readonly #root: Node;

  private constructor(name: string, text: string, root: Node) {
    this.name = name;
    this.text = text;
    this.#root = root;
  }

  /** Throws "damaged" with the line when the bytes are not UTF-8 or not JSON, or when an object has a key twice. */
  static parse(name: string, data: Uint8Array | string): JsonDocument {
    const text = typeof data === "string" ? data : decodeUtf8(name, data);
    return new JsonDocument(name, text, new Parser(name, text).document());
  }

  get value(): JsonValue {
    return this.#root.value;
  }

  /** Value at a path of keys, or undefined. An empty path is the whole document. */
  get(path: readonly string[]): JsonValue | undefined {
    return this.#find(path)?.value;
  }

  /** The document with one value replaced, added (last in its object) or, for `undefined`, removed. The parent object must exist. */
  with(path: readonly string[], value: JsonValue | undefined): JsonDocument {
    const key = path.at(-1);
    const parent = this.#find(path.slice(0, -1));
    if (key === undefined || parent?.members === undefined) {
      throw new ExpandError("bug", `no object at ${path.slice(0, -1).join(".") || "the top"} to hold "${key}"`, {
        at: this.name,
      });
    }
    const member = parent.members.get(key);
    const text =
      value === undefined
        ? this.#remove(parent, key)
        : member === undefined
          ? this.#append(parent, key, value)
          : splice(this.text, member.node.start, member.node.end, this.#print(value, member.node));
    return JsonDocument.parse(this.name, text);
  }

  #find(path: readonly string[]): Node | undefined {
    let node: Node | undefined = this.#root;
    for (const key of path) node = node?.members?.get(key)?.node;
    return node;
  }

  #append(parent: Node, key: string, value: JsonValue): string {
    const members = [...(parent.members?.values() ?? [])];
    const last = members.at(-1);
    const indent = this.#indentOf(last?.keyStart);
    const entry = `${indent}${JSON.stringify(key)}: ${this.#print(value, undefined)}`;
    if (last !== undefined) return splice(this.text, last.node.end, last.node.end, `,${entry}`);
    return splice(this.text, parent.start + 1, parent.end - 1, entry.trim());
  }

  #remove(parent: Node, key: string): string {
    const members = [...(parent.members?.entries() ?? [])];
    const at = members.findIndex(([name]) => name === key);
    const found = members[at];
    if (found === undefined) return this.text;
    const previous = members[at - 1];
    const next = members[at + 1];
    if (previous !== undefined) return splice(this.text, previous[1].node.end, found[1].node.end, "");
    return splice(this.text, found[1].keyStart, next === undefined ? found[1].node.end : next[1].keyStart, "");
  }

  /** White space between the previous line's end and a member, so that an added one lines up. */
  #indentOf(keyStart: number | undefined): string {
    if (keyStart === undefined) return "";
    const lineStart = this.text.lastIndexOf("\n", keyStart);
    const between = this.text.slice(lineStart, keyStart);
    return lineStart >= 0 && between.trim() === "" ? between : " ";
  }

  /** Spells numbers as the replaced value spelled them, keeping floats floats, and a list's layout as it was. */
  #print(value: JsonValue, old: Node | undefined): string {
    const spelling = old === undefined ? new Map<number, string>() : this.#spellings(old);
    const float = [...spelling.values()].some((text) => /[.eE]/.test(text));
    const print = (item: JsonValue, indent: string | undefined): string => {
      if (typeof item === "number") return spelling.get(item) ?? spellNumber(item, float);
      if (Array.isArray(item)) {
        const parts = item.map((part: JsonValue) => print(part, undefined));
        if (indent === undefined) return `[${parts.join(", ")}]`;
        return `[${parts.map((part) => indent + part).join(",")}${indent.slice(0, -2)}]`;
      }
      if (item !== null && typeof item === "object") {
        return `{${Object.entries(item)
          .map(([key, part]) => `${JSON.stringify(key)}: ${print(part, undefined)}`)
          .join(", ")}}`;
      }
      return JSON.stringify(item);
    };
    const first = old?.items?.[0];
    const indent = first === undefined ? undefined : this.text.slice(old ? old.start + 1 : 0, first.start);
    return print(value, indent?.startsWith("\n") ? indent : undefined);
  }

  #spellings(node: Node): Map<number, string> {
    const found = new Map<number, string>();
    const visit = (part: Node): void => {
      if (typeof part.value === "number") found.set(part.value, this.text.slice(part.start, part.end));
      for (const item of part.items ?? []) visit(item);
      for (const member of part.members?.values() ?? []) visit(member.node);
    };
    visit(node);
    return found;
  }
}

function spellNumber(value: number, float: boolean): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "Infinity" : "-Infinity";
  const text = String(value);
  return float && Number.isInteger(value) && !text.includes("e") ? `${text}.0` : text;
}

function splice(text: string, start: number, end: number, replacement: string): string {
  return text.slice(0, start) + replacement + text.slice(end);
}

function decodeUtf8(name: string, data: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(data);
  } catch (error) {
    throw new ExpandError("damaged", "is not UTF-8 text", { at: name, fix: FIX, cause: error });
  }
}

const WORDS: ReadonlyMap<string, JsonValue> = new Map<string, JsonValue>([
  ["null", null],
  ["true", true],
  ["false", false],
  ["NaN", Number.NaN],
  ["Infinity", Number.POSITIVE_INFINITY],
  ["-Infinity", Number.NEGATIVE_INFINITY],
]);
const WORD = /-?[A-Za-z]+/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const SPACE = /[ \t\n\r]*/y;
// Strings go piece by piece: one pattern for a whole string runs out of regular-expression stack at some 10 MB.
// Control characters are not allowed in JSON strings.
// biome-ignore lint/suspicious/noControlCharactersInRegex: the JSON grammar forbids exactly these
const PLAIN = /[^"\\\u0000-\u001f]*/y;
const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;

class Parser {
  readonly #name: string;
  readonly #text: string;
  #at = 0;
  #values = 0;

  constructor(name: string, text: string) {
    this.#name = name;
    this.#text = text;
  }

  document(): Node {
    const node = this.#value(0);
    if (this.#at !== this.#text.length) this.#fail("the end of the file");
    return node;
  }

  /** Parses one value and the white space around it. */
  #value(depth: number): Node {
    if (++this.#values > MAX_VALUES) this.#fail(`at most ${MAX_VALUES} values`);
    this.#match(SPACE);
    const start = this.#at;
    const char = this.#text[start];
    const node =
      char === "{"
        ? this.#object(start, depth)
        : char === "["
          ? this.#array(start, depth)
          : { start, value: this.#scalar(char), end: this.#at };
    this.#match(SPACE);
    return node;
  }

  #scalar(char: string | undefined): JsonValue {
    if (char === '"') return this.#string();
    const number = this.#match(NUMBER);
    if (number) return Number(number);
    const start = this.#at;
    const word = WORDS.get(this.#match(WORD));
    if (word !== undefined) return word;
    this.#at = start;
    this.#fail("a value");
  }

  #string(): string {
    const start = this.#at;
    let escaped = false;
    if (this.#take('"')) {
      for (this.#match(PLAIN); this.#match(ESCAPE) !== ""; this.#match(PLAIN)) escaped = true;
      if (this.#take('"')) {
        return escaped ? JSON.parse(this.#text.slice(start, this.#at)) : this.#text.slice(start + 1, this.#at - 1);
      }
    }
    this.#at = start;
    this.#fail("a string");
  }

  #array(start: number, depth: number): Node {
    const items: Node[] = [];
    this.#open(depth);
    if (!this.#take("]")) {
      do items.push(this.#value(depth + 1));
      while (this.#take(","));
      if (!this.#take("]")) this.#fail('"," or "]"');
    }
    return { start, end: this.#at, value: items.map((item) => item.value), items };
  }

  #object(start: number, depth: number): Node {
    const members = new Map<string, Member>();
    this.#open(depth);
    if (!this.#take("}")) {
      do this.#member(members, depth);
      while (this.#take(","));
      if (!this.#take("}")) this.#fail('"," or "}"');
    }
    // Object.fromEntries defines own properties, so a key "__proto__" stays data.
    const value = Object.fromEntries([...members].map(([key, member]) => [key, member.node.value]));
    return { start, end: this.#at, value, members };
  }

  #member(members: Map<string, Member>, depth: number): void {
    this.#match(SPACE);
    const keyStart = this.#at;
    const key = this.#string();
    this.#match(SPACE);
    if (!this.#take(":")) this.#fail('":"');
    if (members.has(key)) this.#refuse(`has the key ${JSON.stringify(key.slice(0, 200))} twice`);
    members.set(key, { keyStart, node: this.#value(depth + 1) });
  }

  #open(depth: number): void {
    if (depth >= MAX_DEPTH) this.#fail(`at most ${MAX_DEPTH} levels`);
    this.#at++;
    this.#match(SPACE);
  }

  #take(char: string): boolean {
    if (this.#text[this.#at] !== char) return false;
    this.#at++;
    return true;
  }

  #match(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0] ?? "";
    this.#at += found.length;
    return found;
  }

  #fail(expected: string): never {
    const line = this.#text.slice(0, this.#at).split("\n").length;
    const found = this.#at < this.#text.length ? JSON.stringify(this.#text.slice(this.#at, this.#at + 12)) : "the end";
    this.#refuse(`is not JSON: line ${line}: expected ${expected}, found ${found}`);
  }

  #refuse(message: string): never {
    throw new ExpandError("damaged", message, { at: this.#name, fix: FIX });
  }
}
