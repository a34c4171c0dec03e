// What the blocks' tensors do not prove of two graphs: that AFTER without its copies is BEFORE, node by node and byte by byte, and that caches
// are numbered as the blocks stand. Decides nothing: findings do.
import type { RunEvent } from "../../events.ts";
import { tensorOf } from "../../graph/graph.ts";
import { OnnxType, type TensorProto } from "../../graph/onnx.ts";
import { domainOf } from "../../graph/walk.ts";
import type { GraphBlock } from "../../residual/blocks.ts";
import { mainGraph } from "../../residual/normalise.ts";
import { compareAll, type Evidence, type Pair } from "../pairs.ts";
import { type Finding, type FoundBlock, finding, listed } from "../report.ts";
import { type Bypassed, type ConstantPair, GraphWalk } from "./equality.ts";
import { compareInterfaces, type Numbers, numbersFor } from "./interface.ts";
import { type GraphView, hasBytes } from "./view.ts";

export class GraphProof {
  readonly #before: GraphView;
  readonly #after: GraphView;

  constructor(before: GraphView, after: GraphView) {
    this.#before = before;
    this.#after = after;
  }

  /** `blocks` are AFTER's. Says nothing where one of them is unknown, missing or out of order: other findings do. */
  async *run(evidence: Evidence, blocks: readonly FoundBlock[]): AsyncGenerator<RunEvent, readonly Finding[], void> {
    const originals = blocks.filter(({ kind }) => kind === "original").map(({ from }) => from);
    const inOrder = originals.length === this.#before.uses.length && originals.every((from, at) => from === at);
    if (!inOrder || blocks.some(({ kind }) => kind === "unknown")) return [];
    const numbers = numbersFor(this.#before.found, blocks);
    const [before, after] = [mainGraph(this.#before.found.lowered), mainGraph(this.#after.found.lowered)];
    const walk = new GraphWalk(numbers.originals, this.#bypassed(blocks));
    const interfaces = compareInterfaces(before, after, numbers);
    const there = new Set(after.output.map(({ name }) => name));
    // Where numbers are wrong, caches of different blocks would be compared.
    const outputs = before.output
      .filter(({ name }) => interfaces.length === 0 || !numbers.originals.has(name))
      .map(({ name }) => [name, numbers.originals.get(name) ?? name] as const)
      .filter(([, name]) => there.has(name));
    const mismatches = walk.compare(before, after, outputs);
    return [
      ...mismatches.map(({ at, message }) => finding("graph-differs", at, message)),
      ...this.#compareOpsets(),
      ...interfaces,
      ...this.#compareCode(blocks, numbers),
      ...(yield* this.#compareConstants(evidence, blocks, walk.constants)),
      ...this.#roundings(),
    ];
  }

  /** A closed copy leaves what it took. */
  #bypassed(blocks: readonly FoundBlock[]): Bypassed {
    return new Map(
      this.#after.found.bodies.map(({ body }, index) => {
        const passages = this.#after.found.blocks.flatMap((block, at) => {
          const passage = blocks[at]?.kind === "copy" ? block.passages[index] : undefined;
          return passage === undefined ? [] : [[passage.output, passage.input] as const];
        });
        return [body.graph, new Map(passages)];
      }),
    );
  }

  #compareOpsets(): readonly Finding[] {
    const versions = ({ found }: GraphView): ReadonlyMap<string, bigint> =>
      new Map(found.lowered.model.opsetImport.map(({ domain, version }) => [domainOf(domain), version]));
    const after = versions(this.#after);
    return [...versions(this.#before)].flatMap(([domain, version]) => {
      const found = after.get(domain);
      if (found === version) return [];
      const at = `opset ${domain === "" ? "ai.onnx" : domain}`;
      return [finding("graph-differs", at, `expected version ${version}, found ${found ?? "none"}`)];
    });
  }

  /** A copy runs the code of its source block, on its own caches and on the values that the source block reads. */
  #compareCode(blocks: readonly FoundBlock[], numbers: Numbers): readonly Finding[] {
    const found = this.#after.found.blocks;
    const positions = new Map(
      blocks.flatMap(({ kind, from }, at) => (kind === "original" ? [[from, at] as const] : [])),
    );
    return found.flatMap((block, at) => {
      const { kind, from = -1 } = blocks[at] ?? {};
      const source = this.#before.found.blocks[from];
      const original = found[positions.get(from) ?? -1];
      const where = `block ${at}`;
      if (source === undefined || original === undefined) return [];
      if (source.structure !== block.structure) {
        return [finding("graph-differs", where, `does not compute what BEFORE's block ${from} does`, { block: at })];
      }
      if (kind !== "copy") return [];
      const [mine, its] = [sharedBy(block), sharedBy(original)];
      const strange = mine.filter((name) => !its.includes(name));
      const taken = cachesOf(block).filter((name) => numbers.copies.get(name)?.at !== at);
      return [
        ...(strange.length === 0
          ? []
          : [
              finding("copy-differs", where, `reads ${listed(strange)}, which its source block does not`, {
                block: at,
              }),
            ]),
        ...(taken.length === 0
          ? []
          : [
              finding("interface-differs", where, `uses ${listed(taken)}, which is not numbered as its own`, {
                block: at,
              }),
            ]),
      ];
    });
  }

  /** Constants of originals' blocks have been compared by role already. */
  async *#compareConstants(
    evidence: Evidence,
    blocks: readonly FoundBlock[],
    constants: readonly ConstantPair[],
  ): AsyncGenerator<RunEvent, readonly Finding[], void> {
    const done = new Set(
      blocks.flatMap(({ kind, from = -1 }, at) => (kind === "original" ? this.#compared(from, at) : [])),
    );
    const findings: Finding[] = [];
    const pairs = new Map<string, Pair>();
    for (const { before, after, name } of constants) {
      const key = `${before.name}\n${name}`;
      if (done.has(`${before.name}\n${after.name}`) || pairs.has(key)) continue;
      const fault = faultOf(before, after, name);
      if (fault !== undefined) findings.push(fault);
      else if (hasBytes(before.dataType)) {
        const [source, found] = [
          tensorOf(this.#before.found.lowered, before),
          tensorOf(this.#after.found.lowered, after),
        ];
        pairs.set(key, { name, sourceName: before.name || name, source, found });
      }
    }
    const group = { at: "outside the blocks" };
    yield* compareAll(evidence, "original-differs", group, pairs.values(), findings);
    return findings;
  }

  /** Pairs of initializers that the proof of an original has compared: those that `rename` brought together. */
  #compared(from: number, at: number): readonly string[] {
    const found = new Map((this.#after.uses[at] ?? []).map(({ role, initializer }) => [role, initializer]));
    return (this.#before.uses[from] ?? []).map(({ role, initializer }) => `${initializer}\n${found.get(role)}`);
  }

  /** onnxruntime's fused norm normalises the sum before it is rounded; behind a copy stands the rounded one. */
  #roundings(): readonly Finding[] {
    const fused = this.#after.found.bodies.flatMap(({ body, lowered }) =>
      [...lowered.values()].filter(
        ({ fused: node }) => body.initializers.get(node.input[2] ?? "")?.dataType === OnnxType.FLOAT16,
      ),
    );
    if (fused.length === 0) return [];
    const text =
      "its norms are fused with half-precision sums, which onnxruntime rounds after the norm has read them: outputs may differ by a rounding";
    return [finding("reader-differs", this.#after.checkpoint.location, text)];
  }
}

function sharedBy(block: GraphBlock): readonly string[] {
  return block.passages.flatMap(({ shared }) => shared);
}

function cachesOf(block: GraphBlock): readonly string[] {
  return block.passages.flatMap(({ cacheInputs, cacheOutputs }) => [
    ...cacheInputs,
    ...cacheOutputs.map(({ name }) => name),
  ]);
}

/** Types, shapes and texts; bytes are compared by those who can read them. */
function faultOf(before: TensorProto, after: TensorProto, name: string): Finding | undefined {
  if (before.dataType !== after.dataType) {
    const [was, is] = [before, after].map(({ dataType }) => OnnxType[dataType] ?? `type ${dataType}`);
    return finding("dtype-changed", name, `expected ${was}, found ${is}`, { tensors: [name] });
  }
  const [was, is] = [before, after].map(({ dims }) => `[${dims.join(", ")}]`);
  if (was !== is) return finding("shape-changed", name, `expected shape ${was}, found ${is}`, { tensors: [name] });
  if (hasBytes(before.dataType)) return undefined;
  const same =
    before.stringData.length === after.stringData.length &&
    before.stringData.every((text, at) => Buffer.compare(text, after.stringData[at] ?? new Uint8Array()) === 0);
  return same ? undefined : finding("original-differs", name, "holds other texts than BEFORE's", { tensors: [name] });
}
