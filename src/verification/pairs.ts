// Pairs tensors of AFTER with those of BEFORE that they must equal, and reports the ones that cannot be paired. Reads no weights,
// except through the comparison it is given.
import type { Block } from "../architecture/architecture.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import type { RunEvent } from "../events.ts";
import type { TensorRef } from "../tensor/reference.ts";
import type { Comparison, Difference } from "./comparison.ts";
import { type Finding, type FindingCode, finding, listed, type Severity } from "./report.ts";
import { spellElement } from "./values.ts";

/** What one verification knows and has found so far. */
export interface Evidence {
  readonly before: Checkpoint;
  readonly after: Checkpoint;
  readonly comparison: Comparison;
  /** Names of AFTER that have been accounted for. */
  readonly seen: Set<string>;
}

/** A tensor of AFTER and the one of BEFORE with the same role, type and shape. */
export interface Pair {
  readonly name: string;
  readonly sourceName: string;
  readonly found: TensorRef;
  readonly source: TensorRef;
}

/** A group of tensors with one thing to be said about it: a block, or everything outside the blocks. */
export interface Group {
  readonly at: string;
  readonly block?: number;
  /** Names in BEFORE that AFTER may lack. */
  readonly optional?: ReadonlySet<string>;
}

/** Buffers that every reader computes, and that newer versions of transformers no longer write. */
const RECOMPUTED = /(?:^|\.)(?:inv_freq|masked_bias|attn\.bias|attention\.bias)$/;

/** Block `at` of AFTER, which is expected to hold what `block` of BEFORE holds. */
export function groupOf(block: Block, at: number, where: string): Group {
  const names = [...block.tensors].filter(([inner]) => block.buffers.has(inner) && RECOMPUTED.test(inner));
  return { at: where, block: at, optional: new Set(names.map(([, name]) => name)) };
}

/** `names` maps a name in BEFORE to the name expected in AFTER; `resliced` tensors stand in for BEFORE's own. */
export function pairUp(
  evidence: Evidence,
  group: Group,
  names: Iterable<readonly [string, string]>,
  findings: Finding[],
  resliced?: ReadonlyMap<string, TensorRef>,
): readonly Pair[] {
  const pairs: Pair[] = [];
  const faults = new Faults();
  for (const [sourceName, name] of names) {
    const source = resliced?.get(sourceName) ?? evidence.before.tensors.get(sourceName);
    const found = evidence.after.tensors.get(name);
    if (source === undefined) continue;
    if (found === undefined) {
      faults.add("tensor-missing", name, "", group.optional?.has(sourceName) ? "warns" : "refutes");
      continue;
    }
    evidence.seen.add(name);
    const [was, is] = [`[${source.shape.join(", ")}]`, `[${found.shape.join(", ")}]`];
    if (was !== is) faults.add("shape-changed", name, `expected shape ${was}, found ${is}`);
    else if (source.dtype !== found.dtype) {
      faults.add("dtype-changed", name, `expected ${source.dtype}, found ${found.dtype}`);
    } else pairs.push({ name, sourceName, found, source });
  }
  findings.push(...faults.findings(group));
  return pairs;
}

/** Collects tensors with the same fault, so that a cast checkpoint gives one finding for each block and not one for each tensor. */
class Faults {
  readonly #found = new Map<string, { code: FindingCode; text: string; severity: Severity; tensors: string[] }>();

  add(code: FindingCode, tensor: string, text: string, severity: Severity = "refutes"): void {
    const key = `${code} ${severity} ${text}`;
    const fault = this.#found.get(key) ?? { code, text, severity, tensors: [] };
    this.#found.set(key, fault);
    fault.tensors.push(tensor);
  }

  findings(group: Group): readonly Finding[] {
    const block = group.block === undefined ? {} : { block: group.block };
    return [...this.#found.values()].map(({ code, text, severity, tensors }) =>
      finding(
        code,
        group.at,
        code === "tensor-missing" ? `has no ${listed(tensors)}` : `${text} (${listed(tensors)})`,
        {
          severity,
          tensors,
          ...block,
        },
      ),
    );
  }
}

/** Faults of many tensors at once, which say more together: a cast checkpoint, or another model altogether. */
const SUMMED: ReadonlySet<FindingCode> = new Set(["shape-changed", "dtype-changed"]);

/** One finding for all blocks that have a fault of the same code, and not one for each; everything else as it was. */
export function summed(findings: readonly Finding[]): readonly Finding[] {
  const inBlocks = findings.filter(({ code, block }) => SUMMED.has(code) && block !== undefined);
  return findings.flatMap((each) => {
    const alike = inBlocks.includes(each) ? inBlocks.filter(({ code }) => code === each.code) : [];
    const blocks = [...new Set(alike.flatMap(({ block }) => block ?? []))];
    const [block] = blocks;
    if (block === undefined || blocks.length < 2) return each;
    if (each !== alike[0]) return [];
    const tensors = alike.flatMap((one) => one.tensors ?? []);
    const message = `${tensors.length} tensors are not as in BEFORE, the first: ${each.message}`;
    return finding(each.code, `blocks ${listed(blocks.map(String))}`, message, { tensors, block });
  });
}

/** Proves each pair byte-equal, or says where it is not. */
export async function* compareAll(
  evidence: Evidence,
  code: "original-differs" | "copy-differs" | "frozen-changed",
  group: Group,
  pairs: Iterable<Pair>,
  findings: Finding[],
): AsyncGenerator<RunEvent, void, void> {
  for (const { name, sourceName, found, source } of pairs) {
    const { difference } = yield* evidence.comparison.compare(found, source);
    if (difference === undefined) continue;
    const other = name === sourceName ? "BEFORE's" : `BEFORE's ${sourceName}`;
    findings.push(
      finding(code, name, `differs from ${other} ${describe(difference, found)}`, {
        tensors: [name],
        ...(group.block === undefined ? {} : { block: group.block }),
      }),
    );
  }
}

/** "in 1 of 64 bytes, the first at byte 3 (element 1 is NaN)". */
export function describe(difference: Difference, found: TensorRef): string {
  const element = spellElement(found.dtype, difference);
  const where = `byte ${difference.first}${element === undefined ? "" : ` (${element})`}`;
  return `in ${difference.bytes} of ${found.bytes} bytes, the first at ${where}`;
}
