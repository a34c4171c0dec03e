// Proves that a block of AFTER is a copy that adds exactly 0 and can learn: each branch closed by one factor, all else its source's bytes.
import type { Architecture, Block, Branch, Factor, FixedTensor } from "../architecture/architecture.ts";
import type { RunEvent } from "../events.ts";
import { filled, isZero } from "../tensor/reference.ts";
import { compareAll, describe, type Evidence, groupOf, type Pair, pairUp } from "./pairs.ts";
import { type ClosedBranch, type Finding, finding, listed } from "./report.ts";

export interface CopyProof {
  readonly closed: readonly ClosedBranch[];
  readonly findings: readonly Finding[];
}

/** "closed": every value is as the factor wants it. "unknown": missing, or cast, which other findings say. */
type State = "closed" | "open" | "unknown";

/** Checks block `at` of AFTER as a copy of `block`. */
export async function* proveCopy(
  evidence: Evidence,
  architecture: Architecture,
  block: Block,
  at: number,
): AsyncGenerator<RunEvent, CopyProof, void> {
  const group = groupOf(block, at, `block ${at}, a copy of block ${block.index}`);
  const findings: Finding[] = [];
  const names = [...block.tensors.values()].map((name) => [name, architecture.rename(name, at)] as const);
  const pairs = new Map(pairUp(evidence, group, names, findings).map((pair) => [pair.sourceName, pair]));
  const copy = new Copy(evidence, at, pairs, (name) => architecture.rename(name, at), findings);
  const closed: ClosedBranch[] = [];
  for (const branch of block.branches) {
    const found = yield* copy.proveBranch(branch);
    if (found !== undefined) closed.push(found);
  }
  for (const fixed of block.fixed) yield* copy.proveFixed(fixed);
  yield* compareAll(evidence, "copy-differs", group, copy.unexplained(), findings);
  return { closed, findings };
}

class Copy {
  readonly #evidence: Evidence;
  readonly #at: number;
  readonly #pairs: ReadonlyMap<string, Pair>;
  readonly #rename: (name: string) => string;
  readonly #findings: Finding[];
  readonly #states = new Map<string, State>();
  readonly #negativeZeros = new Set<string>();
  /** Names in BEFORE of tensors that need not equal their source. */
  readonly #explained = new Set<string>();

  constructor(
    evidence: Evidence,
    at: number,
    pairs: ReadonlyMap<string, Pair>,
    rename: (name: string) => string,
    findings: Finding[],
  ) {
    this.#evidence = evidence;
    this.#at = at;
    this.#pairs = pairs;
    this.#rename = rename;
    this.#findings = findings;
  }

  /** Every tensor that closes nothing. */
  unexplained(): readonly Pair[] {
    return [...this.#pairs.values()].filter((pair) => !this.#explained.has(pair.sourceName));
  }

  async *proveBranch(branch: Branch): AsyncGenerator<RunEvent, ClosedBranch | undefined, void> {
    for (const factor of branch.factors) for (const fixed of factor.tensors) yield* this.#look(fixed);
    const closed = branch.factors.filter((factor) => this.#open(factor).length === 0);
    const preferred = branch.factors[branch.preferred];
    const closing = preferred !== undefined && closed.includes(preferred) ? preferred : closed[0];
    if (closing === undefined) {
      yield* this.#reportOpen(branch);
      return undefined;
    }
    this.#explain(closing);
    if (closed.length > 1) yield* this.#reportDead(branch, closed);
    this.#reportNegativeZeros(branch, closing);
    return {
      branch: branch.name,
      factor: closing.kind,
      tensors: closing.tensors.map((each) => this.#rename(each.tensor)),
    };
  }

  async *proveFixed(fixed: FixedTensor): AsyncGenerator<RunEvent, void, void> {
    const state = yield* this.#look(fixed);
    this.#explained.add(fixed.tensor);
    if (state !== "open") return;
    const name = this.#rename(fixed.tensor);
    const message = yield* this.#wrongValue(fixed);
    this.#findings.push(finding("copy-not-neutral", name, message, { block: this.#at, tensors: [name] }));
  }

  /** Reads a tensor until it differs from its pattern. */
  async *#look({ tensor, pattern }: FixedTensor): AsyncGenerator<RunEvent, State, void> {
    const known = this.#states.get(tensor);
    if (known !== undefined) return known;
    const found = this.#evidence.after.tensors.get(this.#rename(tensor));
    let state: State = "unknown";
    // Zero bytes are 0 in every type; any other pattern belongs to its own.
    if (found !== undefined && (this.#pairs.has(tensor) || isZero(pattern))) {
      const { difference, negativeZero } = yield* this.#evidence.comparison.compare(
        found,
        filled(found, pattern),
        true,
      );
      state = difference === undefined ? "closed" : "open";
      if (difference === undefined && negativeZero) this.#negativeZeros.add(tensor);
    }
    this.#states.set(tensor, state);
    return state;
  }

  #open(factor: Factor): readonly FixedTensor[] {
    return factor.tensors.filter((each) => this.#states.get(each.tensor) !== "closed");
  }

  #explain(factor: Factor): void {
    for (const each of factor.tensors) this.#explained.add(each.tensor);
  }

  /** Names the tensors that keep the branch open: of the factor that is closest to closed, else of the preferred one. */
  async *#reportOpen(branch: Branch): AsyncGenerator<RunEvent, void, void> {
    const share = (factor: Factor): number => 1 - this.#open(factor).length / factor.tensors.length;
    const preferred = branch.factors[branch.preferred];
    const [nearest] = branch.factors.toSorted(
      (a, b) => share(b) - share(a) || Number(b === preferred) - Number(a === preferred),
    );
    if (nearest === undefined) return;
    this.#explain(nearest);
    const culprits = nearest.tensors.filter((each) => this.#states.get(each.tensor) === "open");
    const [first, ...others] = culprits;
    if (first === undefined) return;
    const tensors = culprits.map((each) => this.#rename(each.tensor));
    const rest = others.length === 0 ? "" : `; neither does ${listed(tensors.slice(1))}`;
    const message = `${this.#rename(first.tensor)} ${yield* this.#wrongValue(first)}${rest}`;
    this.#findings.push(finding("copy-not-closed", this.#where(branch), message, { block: this.#at, tensors }));
  }

  /** Only here is a tensor that failed read to its end, to count. */
  async *#wrongValue(fixed: FixedTensor): AsyncGenerator<RunEvent, string, void> {
    const found = this.#evidence.after.tensors.get(this.#rename(fixed.tensor));
    if (found === undefined) return "is missing";
    const { difference } = yield* this.#evidence.comparison.compare(found, filled(found, fixed.pattern));
    return `does not hold ${fixed.value} everywhere: it differs ${difference === undefined ? "" : describe(difference, found)}`;
  }

  /** Two closed factors in series never get a gradient. A copy of a block that is dead itself is an exact copy all the same. */
  async *#reportDead(branch: Branch, closed: readonly Factor[]): AsyncGenerator<RunEvent, void, void> {
    let deadInSource = true;
    for (const factor of closed) {
      this.#explain(factor);
      for (const { tensor } of factor.tensors) {
        const pair = this.#pairs.get(tensor);
        if (pair === undefined) continue;
        const { difference } = yield* this.#evidence.comparison.compare(pair.found, pair.source, true);
        if (difference !== undefined) deadInSource = false;
      }
    }
    const factors = closed.map(
      (factor) =>
        `its ${factor.kind} (${listed(
          factor.tensors.map((each) => this.#rename(each.tensor)),
          1,
        )})`,
    );
    const message = `${factors.join(" and ")} are both closed: the branch adds 0, and can never learn to add anything else`;
    const tensors = closed.flatMap((factor) => factor.tensors.map((each) => this.#rename(each.tensor)));
    this.#findings.push(
      finding("copy-dead", this.#where(branch), deadInSource ? `${message}; its source block cannot either` : message, {
        block: this.#at,
        tensors,
        ...(deadInSource ? { severity: "warns" as const, fix: "Copy another block, one that can learn." } : {}),
      }),
    );
  }

  #reportNegativeZeros(branch: Branch, closing: Factor): void {
    const tensors = closing.tensors
      .filter((each) => this.#negativeZeros.has(each.tensor))
      .map((each) => this.#rename(each.tensor));
    if (tensors.length === 0) return;
    this.#findings.push(
      finding("negative-zero", this.#where(branch), `${listed(tensors)} holds -0`, { block: this.#at, tensors }),
    );
  }

  #where(branch: Branch): string {
    return `block ${this.#at}, ${branch.name} branch`;
  }
}
