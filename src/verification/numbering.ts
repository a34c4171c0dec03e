// Reads block numbers out of AFTER's tensor names, with the names of BEFORE's blocks as the only pattern. Believes no setting.
import type { Architecture, Block } from "../architecture/architecture.ts";

/** An index that no checkpoint has, so that it can be found again in a name. */
const MARK = 987_654_321;

export interface Numbering {
  /** Number of blocks of AFTER's stack: the highest number found + 1, or the number of the first block that can only be a tail. */
  readonly blocks: number;
  /** Names of AFTER that have a block's form, by block number. */
  readonly names: ReadonlyMap<number, readonly string[]>;
}

type Suffixes = ReadonlyMap<string, ReadonlySet<string>>;

/** `names` are those of AFTER. */
export function findNumbering(architecture: Architecture, names: Iterable<string>): Numbering {
  const ofBlocks = suffixes(architecture, architecture.blocks);
  const ofTail = suffixes(architecture, architecture.tail);
  const found = new Map<number, string[]>();
  let onlyTail = Number.POSITIVE_INFINITY;
  for (const name of names) {
    const inTail = match(ofTail, name);
    const number = match(ofBlocks, name) ?? inTail;
    if (number === undefined) continue;
    if (match(ofBlocks, name) === undefined && inTail !== undefined) onlyTail = Math.min(onlyTail, inTail);
    const list = found.get(number) ?? [];
    list.push(name);
    found.set(number, list);
  }
  // Any block of BEFORE may be lost from AFTER, but no more: a larger number is a stray name, which "tensor-added" reports.
  const limit = found.size + architecture.blocks.length;
  for (const number of [...found.keys()]) if (number >= limit) found.delete(number);
  const end = [...found.keys()].reduce((most, number) => Math.max(most, number + 1), 0);
  return { blocks: Math.min(end, onlyTail), names: found };
}

/** What follows the number, by what stands before it. A tail that is not numbered with the blocks has none. */
function suffixes(architecture: Architecture, blocks: readonly Block[]): Suffixes {
  const found = new Map<string, Set<string>>();
  for (const block of blocks) {
    for (const name of block.tensors.values()) {
      const [prefix, suffix] = architecture.rename(name, MARK).split(String(MARK));
      if (prefix === undefined || suffix === undefined) continue;
      const known = found.get(prefix) ?? new Set();
      found.set(prefix, known.add(suffix));
    }
  }
  return found;
}

function match(patterns: Suffixes, name: string): number | undefined {
  for (const [prefix, known] of patterns) {
    if (!name.startsWith(prefix)) continue;
    const digits = /^(?:0|[1-9][0-9]{0,5})(?![0-9])/.exec(name.slice(prefix.length))?.[0];
    if (digits !== undefined && known.has(name.slice(prefix.length + digits.length))) return Number(digits);
  }
  return undefined;
}
