// Finds the block number in a list entry and knows which modules stand where in the expanded checkpoint. Pure.
import type { Layout } from "../../layout.ts";

/** The number of a block inside an entry: entry.slice(start, end). */
export interface BlockNumber {
  readonly start: number;
  readonly end: number;
  readonly index: number;
  /** The names before it when the entry starts there ("model.layers."); undefined behind a wildcard. */
  readonly prefix: string | undefined;
}

/** Names that wrap the text stack in one reader's tree and not in another's (transformers conversion_mapping.py). */
const WRAPPERS: ReadonlySet<string> = new Set([
  "model",
  "language_model",
  "text_model",
  "transformer",
  "llm",
  "thinker",
]);

/** A number between dots (escaped or not), or at the end. Digits in groups, sets and repetitions are not found. */
const NUMBER = /(?<=\.)\d+(?=\.|\\\.|\*|\$?$)/g;
const WILDCARD = /^\^?(?:\.\*\??|\(\.\*\)|\(\?:\.\*\)|\*)/;

/** The first block number of one of the stack's prefixes. `skipped`: length of a marker such as "re:". */
export function findBlockNumber(entry: string, skipped: number, prefixes: readonly string[]): BlockNumber | undefined {
  for (const found of entry.matchAll(NUMBER)) {
    const written = entry.slice(skipped, found.index);
    const names = written.replace(WILDCARD, "").replace(/^\^/, "").replaceAll("\\.", ".");
    if (!isStack(names, prefixes)) continue;
    const prefix = WILDCARD.test(written) ? undefined : names;
    return { start: found.index, end: found.index + found[0].length, index: Number(found[0]), prefix };
  }
  return undefined;
}

function isStack(names: string, prefixes: readonly string[]): boolean {
  if (names === "" || names === ".") return true;
  const parts = names.split(".");
  return prefixes.some((prefix) => {
    if (`.${prefix}`.endsWith(names.startsWith(".") ? names : `.${names}`)) return true;
    return parts.at(-2) === prefix.split(".").at(-2) && parts.slice(0, -2).every((part) => WRAPPERS.has(part));
  });
}

/** True when an entry speaks of numbered modules of a list with the stack's own name, in a form that findBlockNumber cannot read. */
export function seemsNumbered(entry: string, prefixes: readonly string[]): boolean {
  return prefixes.some((prefix) => {
    const list = prefix.split(".").at(-2) ?? "";
    return list !== "" && new RegExp(`(?:^|[^A-Za-z_])${list}[^A-Za-z_]*\\d`).test(entry.replaceAll(/\\[ds]/g, ""));
  });
}

/** A module and its name in the expanded checkpoint. */
export interface MovedModule {
  readonly before: string;
  readonly after: string;
}

/** Where each block of the source stands in the expanded checkpoint, blocks behind the stack (multi-token prediction) included. */
export class BlockMoves {
  readonly #positions = new Map<number, number[]>();
  readonly #sources: number;
  readonly #grown: number;

  constructor(layout: Layout) {
    this.#sources = layout.filter((block) => block.kind === "original").length;
    this.#grown = layout.length - this.#sources;
    layout.forEach((block, at) => {
      this.#positions.set(block.from, [...(this.#positions.get(block.from) ?? []), at]);
    });
  }

  of(index: number): readonly number[] {
    return this.#positions.get(index) ?? (index >= this.#sources ? [index + this.#grown] : []);
  }
}

/** Every module that holds a tensor, and the modules around it below its block, by block index; `outside` for the rest. */
export class ModuleTree {
  readonly #blocks = new Map<number, Set<string>>();
  readonly #outside = new Set<string>();
  readonly #prefixes: readonly string[];
  readonly #moved = new Map<string, readonly MovedModule[]>();

  constructor(tensors: Iterable<string>, prefixes: readonly string[]) {
    const found = new Set<string>();
    for (const tensor of tensors) {
      const prefix = prefixes.find((text) => tensor.startsWith(text) && /^\d+\./.test(tensor.slice(text.length)));
      const number = prefix === undefined ? "" : (/^\d+/.exec(tensor.slice(prefix.length))?.[0] ?? "");
      const modules = prefix === undefined ? this.#outside : this.#block(Number(number));
      if (prefix !== undefined) found.add(prefix);
      const path = prefix === undefined ? tensor : tensor.slice(prefix.length + number.length + 1);
      for (let dot = path.lastIndexOf("."); dot > 0; dot = path.lastIndexOf(".", dot - 1)) {
        const module = path.slice(0, dot);
        if (modules.has(module)) break;
        modules.add(module);
      }
    }
    this.#prefixes = [...found];
  }

  #block(index: number): Set<string> {
    const modules = this.#blocks.get(index) ?? new Set();
    this.#blocks.set(index, modules);
    return modules;
  }

  /** All modules with their new names. `alias`: a prefix that the file does not use, seen too. `every`: numbered siblings (experts) beyond 0 too. */
  moved(moves: BlockMoves, alias: string | undefined, every: boolean): readonly MovedModule[] {
    const prefixes = new Set(alias === undefined ? this.#prefixes : [...this.#prefixes, alias]);
    const key = `${every} ${[...prefixes].join(" ")}`;
    const all = this.#moved.get(key) ?? this.#move(moves, prefixes, every);
    this.#moved.set(key, all);
    return all;
  }

  #move(moves: BlockMoves, prefixes: ReadonlySet<string>, every: boolean): readonly MovedModule[] {
    const all: MovedModule[] = [...this.#outside].map((module) => ({ before: module, after: module }));
    for (const [index, modules] of this.#blocks) {
      const kept = [...modules].filter((module) => every || !/(?:^|\.)0*[1-9]\d*(?:\.|$)/.test(module));
      for (const prefix of prefixes) {
        for (const at of moves.of(index)) {
          for (const module of kept)
            all.push({ before: `${prefix}${index}.${module}`, after: `${prefix}${at}.${module}` });
        }
      }
    }
    return all;
  }
}
