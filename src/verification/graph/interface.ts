// What a graph promises to the outside: its inputs and outputs, with those of caches numbered by block. Compares names, types and sizes;
// looks at no node.
import { type GraphProto, OnnxType, type ValueInfoProto } from "../../graph/onnx.ts";
import type { CacheTemplate, GraphBlocks } from "../../residual/blocks.ts";
import { type Finding, type FoundBlock, finding, listed } from "../report.ts";

/** Names of BEFORE's caches in AFTER, and those that the copies must have. */
export interface Numbers {
  /** Name in BEFORE to name in AFTER, for every block's original. */
  readonly originals: ReadonlyMap<string, string>;
  /** Name in AFTER to the block that has it there, and to the name in BEFORE of the block that was copied. */
  readonly copies: ReadonlyMap<string, { readonly at: number; readonly source: string }>;
}

/** `blocks` are AFTER's, all of them known. */
export function numbersFor(before: GraphBlocks, blocks: readonly FoundBlock[]): Numbers {
  const originals = new Map<string, string>();
  const copies = new Map<string, { at: number; source: string }>();
  const ranks = new Map<CacheTemplate, number>();
  for (const [at, { kind, from = -1 }] of blocks.entries()) {
    for (const template of before.caches) {
      const name = template.names.get(from);
      if (name === undefined) continue;
      const rank = ranks.get(template) ?? 0;
      ranks.set(template, rank + 1);
      const number = (template.counts === "rank" ? rank : at) + template.offset;
      const expected = `${template.before}${number}${template.after}`;
      if (kind === "original") originals.set(name, expected);
      else copies.set(expected, { at, source: name });
    }
  }
  return { originals, copies };
}

/** Inputs and outputs: all of BEFORE's, those of the copies, and no others. */
export function compareInterfaces(before: GraphProto, after: GraphProto, numbers: Numbers): readonly Finding[] {
  return [
    ...compareSide("input", before.input, after.input, numbers),
    ...compareSide("output", before.output, after.output, numbers),
  ];
}

function compareSide(
  side: "input" | "output",
  before: readonly ValueInfoProto[],
  after: readonly ValueInfoProto[],
  numbers: Numbers,
): readonly Finding[] {
  const sources = new Map(before.map((value) => [value.name, value]));
  const expected = new Map(before.map((value) => [numbers.originals.get(value.name) ?? value.name, value]));
  for (const [name, { source }] of numbers.copies) {
    const value = sources.get(source);
    if (value !== undefined) expected.set(name, value);
  }
  const found = new Map(after.map((value) => [value.name, value]));
  const findings: Finding[] = [];
  const missing = [...expected.keys()].filter((name) => !found.has(name));
  const added = [...found.keys()].filter((name) => !expected.has(name));
  if (missing.length > 0) {
    findings.push(
      finding("interface-differs", `${side}s of AFTER`, `expected ${listed(missing)}, not there`, { tensors: missing }),
    );
  }
  if (added.length > 0) {
    findings.push(
      finding("interface-differs", `${side}s of AFTER`, `found ${listed(added)}, which BEFORE gives no reason for`, {
        tensors: added,
      }),
    );
  }
  for (const [name, source] of expected) {
    const value = found.get(name);
    if (value === undefined || typeText(value) === typeText(source)) continue;
    findings.push(
      finding("interface-differs", `${side} ${name}`, `expected ${typeText(source)}, found ${typeText(value)}`, {
        tensors: [name],
      }),
    );
  }
  return findings;
}

/** "FLOAT [batch_size, 2, ?, 16]". */
function typeText({ type }: ValueInfoProto): string {
  if (type?.value.case !== "tensorType") return type?.value.case ?? "no type";
  const { elemType, shape } = type.value.value;
  const name = OnnxType[elemType] ?? `type ${elemType}`;
  if (shape === undefined) return name;
  return `${name} [${shape.dim.map(({ value }) => (value.case === undefined ? "?" : `${value.value}`)).join(", ")}]`;
}
