// Finds which blocks of AFTER are BEFORE's and which are copies, from small samples of their bytes. A proposal only: what it says is
// proved by comparing every byte afterwards.
import { createHash } from "node:crypto";
import type { Architecture, Block } from "../architecture/architecture.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { throwIfAborted } from "../errors.ts";
import { filled, isZero, type TensorRef } from "../tensor/reference.ts";
import type { Comparison } from "./comparison.ts";

/** Bytes looked at per tensor, from its middle. */
const SAMPLE = 4096;
/** Tensors looked at per block: this many of those that can close it, and as many others. */
const PER_BLOCK = 12;

export type AlignedBlock =
  /** `misplaced`: it is BEFORE's block, but not in BEFORE's order. */
  | { readonly kind: "original"; readonly from: number; readonly misplaced: boolean }
  /** Best source first; more than one where samples cannot tell them apart. */
  | { readonly kind: "copy"; readonly candidates: readonly number[] }
  | { readonly kind: "unknown" };

export interface Alignment {
  /** Entry j is block j of AFTER. */
  readonly blocks: readonly AlignedBlock[];
  /** Blocks of BEFORE that are nowhere in AFTER. */
  readonly missing: readonly number[];
}

/** How alike a block of AFTER and one of BEFORE are. */
interface Likeness {
  readonly asOriginal: number;
  readonly asCopy: number;
  /** Every sample is equal. */
  readonly same: boolean;
  /** Some sample is closed in AFTER and open in BEFORE. */
  readonly closed: boolean;
}

/** Finding a block of BEFORE in order earns up to 2, a copy up to 1. Leaving a block of BEFORE out costs this. */
const MISSING = 1;
/** What it costs to take a block for an original in which every branch is closed: more than an original earns. */
const CLOSED_ORIGINAL = 2.5;

/** `count` is the number of AFTER's blocks. Reads at most 2 x PER_BLOCK samples of each block. */
export async function align(
  before: Checkpoint,
  after: Checkpoint,
  architecture: Architecture,
  count: number,
  sampler: Sampler,
): Promise<Alignment> {
  const samples = architecture.blocks.map(sampleOf);
  const likeness: Likeness[][] = [];
  for (let at = 0; at < count; at++) {
    const row: Likeness[] = [];
    for (const sample of samples) {
      const seen = new Map<string, Resemblance>();
      for (const name of sample.names) {
        const found = after.tensors.get(architecture.rename(name, at));
        seen.set(name, await sampler.resemblance(found, before.tensors.get(name), sample.patterns.get(name)));
      }
      row.push(likenessOf(sample, seen));
    }
    likeness.push(row);
  }
  return restoreMisplaced(assign(likeness, architecture.blocks.length), likeness);
}

/** Keeps what was sampled: a digest stands for a tensor's type, shape and sample. */
export class Sampler {
  readonly #comparison: Comparison;
  readonly #signal: AbortSignal | undefined;
  readonly #known = new Map<TensorRef, string>();
  readonly #closed = new Map<string, string>();

  constructor(comparison: Comparison, signal: AbortSignal | undefined) {
    this.#comparison = comparison;
    this.#signal = signal;
  }

  async resemblance(
    found: TensorRef | undefined,
    source: TensorRef | undefined,
    pattern: Uint8Array | undefined,
  ): Promise<Resemblance> {
    if (found === undefined || source === undefined) return "different";
    const digest = await this.#digest(found);
    if (digest === (await this.#digest(source))) return "equal";
    const fits = pattern !== undefined && (found.dtype === source.dtype || isZero(pattern));
    if (fits && digest === (await this.#closedDigest(found, pattern))) return "closed";
    return found.dtype === source.dtype ? "different" : "cast";
  }

  async #digest(tensor: TensorRef): Promise<string> {
    throwIfAborted(this.#signal);
    const known = this.#known.get(tensor);
    if (known !== undefined) return known;
    const made = await this.#make(tensor);
    this.#known.set(tensor, made);
    return made;
  }

  /** The digest that `tensor` would have if it held `pattern`. */
  async #closedDigest(tensor: TensorRef, pattern: Uint8Array): Promise<string> {
    const key = `${tensor.dtype} ${tensor.shape} ${Buffer.from(pattern).toString("hex")}`;
    const known = this.#closed.get(key) ?? (await this.#make(filled(tensor, pattern)));
    this.#closed.set(key, known);
    return known;
  }

  async #make(tensor: TensorRef): Promise<string> {
    const length = Math.min(tensor.bytes, SAMPLE);
    // A multiple of 8 bytes, so that a repeated pattern is in phase.
    const at = Math.floor((tensor.bytes - length) / 16) * 8;
    const bytes = await this.#comparison.sample(tensor, at, length);
    // -0 counts as 0 in a sample; the full comparison tells them apart.
    const content = bytes.every((byte) => (byte & 0x7f) === 0) ? Buffer.alloc(length) : bytes;
    return createHash("sha1").update(`${tensor.dtype} ${tensor.shape} `).update(content).digest("base64");
  }
}

/** What is sampled of one block of BEFORE. */
interface Sample {
  readonly names: readonly string[];
  /** What a name must hold to close a factor. */
  readonly patterns: ReadonlyMap<string, Uint8Array>;
  /** For each branch, the sampled names of each factor. */
  readonly branches: readonly (readonly (readonly string[])[])[];
}

function sampleOf(block: Block): Sample {
  const closing = block.branches.flatMap((branch) => branch.factors.flatMap((factor) => factor.tensors));
  const patterns = new Map([...closing, ...block.fixed].map((each) => [each.tensor, each.pattern]));
  const others = [...block.tensors.values()].filter((name) => !patterns.has(name));
  const names = [...spread([...patterns.keys()]), ...spread(others)];
  const branches = block.branches.map(({ factors }) =>
    factors.map(({ tensors }) => tensors.map((each) => each.tensor).filter((name) => names.includes(name))),
  );
  return { names, patterns, branches };
}

type Resemblance = "equal" | "closed" | "cast" | "different";

function likenessOf({ branches }: Sample, seen: ReadonlyMap<string, Resemblance>): Likeness {
  const total = Math.max(1, seen.size);
  const count = (kind: Resemblance): number => [...seen.values()].filter((each) => each === kind).length;
  const [equal, closed, cast] = [count("equal"), count("closed"), count("cast")];
  const isClosed = (factor: readonly string[]): boolean =>
    factor.some((name) => seen.get(name) === "closed") &&
    factor.every((name) => seen.get(name) === "closed" || seen.get(name) === "equal");
  const share = branches.filter((factors) => factors.some(isClosed)).length / Math.max(1, branches.length);
  return {
    asOriginal: (2 * equal + cast) / total - CLOSED_ORIGINAL * share,
    asCopy: (equal + closed + cast / 2) / total,
    same: equal === seen.size,
    closed: closed > 0,
  };
}

/** Up to PER_BLOCK names, evenly spaced. */
function spread(names: readonly string[]): readonly string[] {
  const step = Math.max(1, names.length / PER_BLOCK);
  return names.filter((_, index) => Math.floor(index / step) !== Math.floor((index - 1) / step));
}

/** The assignment of all blocks that earns most; where two earn the same, originals come first. */
function assign(likeness: readonly (readonly Likeness[])[], sources: number): Alignment {
  const best = bestGains(likeness, sources);
  const gain = (at: number, from: number): number => best[at]?.[from] ?? Number.NEGATIVE_INFINITY;
  const blocks: AlignedBlock[] = [];
  const missing: number[] = [];
  for (let at = 0, from = 0; at < likeness.length || from < sources; ) {
    const here = likeness[at]?.[from];
    if (here !== undefined && gain(at, from) === here.asOriginal + gain(at + 1, from + 1)) {
      blocks.push({ kind: "original", from, misplaced: false });
      at++;
      from++;
    } else if (at < likeness.length && gain(at, from) === copyGain(likeness[at]) + gain(at + 1, from)) {
      blocks.push(copyOf(likeness[at] ?? [], from - 1));
      at++;
    } else {
      missing.push(from);
      from++;
    }
  }
  return { blocks, missing };
}

/** Entry [at][from]: what blocks `at`... of AFTER and `from`... of BEFORE can earn together. */
function bestGains(likeness: readonly (readonly Likeness[])[], sources: number): readonly (readonly number[])[] {
  const best: number[][] = [];
  for (let at = likeness.length; at >= 0; at--) {
    const row: number[] = new Array(sources + 1);
    for (let from = sources; from >= 0; from--) {
      const below = best[at + 1];
      const here = likeness[at]?.[from];
      const choices = [
        at === likeness.length && from === sources ? 0 : Number.NEGATIVE_INFINITY,
        from < sources ? (row[from + 1] ?? 0) - MISSING : Number.NEGATIVE_INFINITY,
        below === undefined ? Number.NEGATIVE_INFINITY : copyGain(likeness[at]) + (below[from] ?? 0),
        here === undefined || below === undefined ? Number.NEGATIVE_INFINITY : here.asOriginal + (below[from + 1] ?? 0),
      ];
      row[from] = Math.max(...choices);
    }
    best[at] = row;
  }
  return best;
}

function copyGain(row: readonly Likeness[] | undefined): number {
  return Math.max(0, ...(row ?? []).map((each) => each.asCopy));
}

/** A copy that neither resembles half of a source's samples nor is closed anywhere is not one. */
function copyOf(row: readonly Likeness[], last: number): AlignedBlock {
  const top = copyGain(row);
  const candidates = [...row.keys()]
    .filter((from) => row[from]?.asCopy === top && (top >= 0.5 || row[from]?.closed === true))
    .sort((a, b) => Math.abs(a - last) - Math.abs(b - last) || a - b);
  return top > 0 && candidates.length > 0 ? { kind: "copy", candidates } : { kind: "unknown" };
}

/** A missing block that stands elsewhere, with nothing closed, was moved rather than lost. */
function restoreMisplaced(alignment: Alignment, likeness: readonly (readonly Likeness[])[]): Alignment {
  const missing = new Set(alignment.missing);
  const blocks = alignment.blocks.map((block, at): AlignedBlock => {
    if (block.kind !== "copy") return block;
    const from = block.candidates.find((each) => missing.has(each) && likeness[at]?.[each]?.same === true);
    if (from === undefined) return block;
    missing.delete(from);
    return { kind: "original", from, misplaced: true };
  });
  return { blocks, missing: [...missing] };
}
