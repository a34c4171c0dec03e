// Gathers the evidence on every block, tensor, setting and file of AFTER, in that order. Decides nothing: findings do.
import type { Block } from "../architecture/architecture.ts";
import { type Layout, sourceIndex } from "../architecture/layout.ts";
import { ExpandError } from "../errors.ts";
import type { RunEvent } from "../events.ts";
import type { TensorRef } from "../tensor/reference.ts";
import { type AlignedBlock, type Alignment, align, Sampler } from "./alignment.ts";
import { compareAssets } from "./assets.ts";
import { type CopyProof, proveCopy } from "./copies.ts";
import type { Ground } from "./ground.ts";
import { compareAll, type Evidence, type Group, groupOf, pairUp, summed } from "./pairs.ts";
import { type Check, type Finding, type FoundBlock, finding, listed } from "./report.ts";
import { compareSettings } from "./settings.ts";

export class Proof {
  readonly findings: Finding[] = [];
  readonly blocks: FoundBlock[] = [];
  readonly skipped: Check[] = [];
  readonly #ground: Ground;
  readonly #evidence: Evidence;

  constructor(ground: Ground, evidence: Evidence) {
    this.#ground = ground;
    this.#evidence = evidence;
  }

  async *run(signal: AbortSignal | undefined): AsyncGenerator<RunEvent, void, void> {
    const { before, after, comparison } = this.#evidence;
    const { architecture, numbering } = this.#ground;
    yield { kind: "phase", name: "find blocks" };
    const sampler = new Sampler(comparison, signal);
    const alignment = await align(before, after, architecture, numbering.blocks, sampler);
    yield { kind: "phase", name: "compare" };
    for (const [at, block] of alignment.blocks.entries()) this.blocks.push(yield* this.#proveBlock(at, block));
    this.#reportOrder(alignment);
    const { findings, resliced } = this.#judgeSettings(alignment);
    yield* this.#proveRest(resliced);
    const { graphs } = this.#ground;
    if (graphs !== undefined) this.findings.push(...(yield* graphs.prove(this.#evidence, this.blocks)));
    this.#reportAdded();
    this.findings.push(...findings);
    this.findings.push(...(yield* compareAssets(before, after, comparison)));
    this.findings.splice(0, this.findings.length, ...summed(this.findings));
  }

  async *#proveBlock(at: number, aligned: AlignedBlock): AsyncGenerator<RunEvent, FoundBlock, void> {
    const { architecture, numbering } = this.#ground;
    if (aligned.kind === "copy") return yield* this.#proveCopy(at, aligned.candidates);
    if (aligned.kind === "original") {
      const block = architecture.blocks[aligned.from];
      if (block !== undefined) yield* this.#proveOriginal(at, block, `block ${at}`);
      return { kind: "original", from: aligned.from };
    }
    for (const name of numbering.names.get(at) ?? []) this.#evidence.seen.add(name);
    this.findings.push(
      finding("block-unknown", `block ${at}`, "is neither a block of BEFORE nor a closed copy of one", { block: at }),
    );
    return { kind: "unknown" };
  }

  async *#proveOriginal(at: number, block: Block, where: string): AsyncGenerator<RunEvent, void, void> {
    const { architecture } = this.#ground;
    const group = groupOf(block, at, where);
    const names = [...block.tensors.values()].map((name) => [name, architecture.rename(name, at)] as const);
    const pairs = pairUp(this.#evidence, group, names, this.findings);
    yield* compareAll(this.#evidence, "original-differs", group, pairs, this.findings);
  }

  /** Samples may leave several sources open; the one with the fewest findings is it. */
  async *#proveCopy(at: number, candidates: readonly number[]): AsyncGenerator<RunEvent, FoundBlock, void> {
    const { architecture } = this.#ground;
    let best: (CopyProof & { readonly from: number }) | undefined;
    for (const from of candidates) {
      const block = architecture.blocks[from];
      if (block === undefined) continue;
      const proof = yield* proveCopy(this.#evidence, architecture, block, at);
      if (best === undefined || proof.findings.length < best.findings.length) best = { ...proof, from };
      if (!proof.findings.some((each) => each.severity === "refutes")) break;
    }
    if (best === undefined) return { kind: "unknown" };
    this.findings.push(...best.findings);
    return { kind: "copy", from: best.from, closed: best.closed };
  }

  #reportOrder(alignment: Alignment): void {
    for (const from of alignment.missing) {
      this.findings.push(
        finding(
          "block-missing",
          `BEFORE's block ${from}`,
          `is not among the ${alignment.blocks.length} blocks of AFTER`,
        ),
      );
    }
    for (const [at, block] of alignment.blocks.entries()) {
      if (block.kind === "original" && block.misplaced) this.findings.push(outOfOrder(alignment, at, block.from));
    }
  }

  /** The tail, renumbered by as many blocks as were added, and what belongs to no block. */
  async *#proveRest(resliced: ReadonlyMap<string, TensorRef>): AsyncGenerator<RunEvent, void, void> {
    const { architecture, numbering } = this.#ground;
    const added = numbering.blocks - architecture.blocks.length;
    for (const block of architecture.tail) {
      const at = block.index + added;
      yield* this.#proveOriginal(at, block, `block ${at}, after the stack`);
    }
    const group: Group = { at: "outside the blocks" };
    const pairs = pairUp(
      this.#evidence,
      group,
      architecture.outside.map((name) => [name, name] as const),
      this.findings,
      resliced,
    );
    yield* compareAll(this.#evidence, "original-differs", group, pairs, this.findings);
  }

  #reportAdded(): void {
    const { after, seen } = this.#evidence;
    const added = [...after.tensors.keys()].filter((name) => !seen.has(name));
    if (added.length === 0) return;
    this.findings.push(
      finding("tensor-added", after.location, `holds what BEFORE gives no reason for: ${listed(added)}`, {
        tensors: added,
      }),
    );
  }

  /**
   * Settings can only be judged by a layout, so they are skipped when blocks are lost, moved or unknown. Gives the tensors outside of
   * the blocks that this layout slices anew.
   */
  #judgeSettings(alignment: Alignment): {
    readonly findings: readonly Finding[];
    readonly resliced: ReadonlyMap<string, TensorRef>;
  } {
    const { before, after } = this.#evidence;
    const layout = layoutOf(alignment, this.blocks);
    if (layout === undefined) {
      this.skipped.push("settings");
      return { findings: [], resliced: new Map() };
    }
    try {
      const { edits, warnings, resliced = new Map() } = this.#ground.architecture.adapt(layout);
      const differences = compareSettings(before.config, after.config, edits);
      const readers = warnings.map((text) => finding("reader-differs", after.location, text));
      return { findings: [...differences, ...readers], resliced };
    } catch (error) {
      if (!(error instanceof ExpandError) || (error.tag !== "plan" && error.tag !== "unsupported")) throw error;
      const fix = error.fix === undefined ? {} : { fix: error.fix };
      return { findings: [finding("placement-unsafe", after.location, error.message, fix)], resliced: new Map() };
    }
  }
}

function layoutOf(alignment: Alignment, blocks: readonly FoundBlock[]): Layout | undefined {
  if (alignment.missing.length > 0 || alignment.blocks.some((each) => each.kind === "original" && each.misplaced))
    return undefined;
  const layout = blocks.flatMap(({ kind, from }) =>
    kind === "unknown" || from === undefined ? [] : [{ kind, from: sourceIndex(from) }],
  );
  return layout.length === blocks.length ? layout : undefined;
}

/** Names the nearest original on the wrong side. */
function outOfOrder(alignment: Alignment, at: number, from: number): Finding {
  const originals = (blocks: readonly AlignedBlock[]): readonly number[] =>
    blocks.flatMap((each) => (each.kind === "original" ? [each.from] : []));
  const higherBefore = originals(alignment.blocks.slice(0, at)).filter((each) => each > from);
  const lowerAfter = originals(alignment.blocks.slice(at + 1)).filter((each) => each < from);
  const place =
    higherBefore.length > 0
      ? `after BEFORE's block ${Math.min(...higherBefore)}`
      : `before BEFORE's block ${Math.max(...lowerAfter)}`;
  return finding("block-order", `block ${at}`, `is BEFORE's block ${from}, but stands ${place}`, { block: at });
}
