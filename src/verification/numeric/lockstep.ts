// Advances both sides together, block by block, and finds by numbers alone which block of AFTER is BEFORE's, which is a copy, and where
// they part. Trusts no plan, no name and no structure.
import { setImmediate } from "node:timers/promises";
import type { RunEvent } from "../../events.ts";
import type { BlockComparison } from "../report.ts";
import { isWithin, type Measure, measure, NOTHING, relative, rootMeanSquare, together } from "./measure.ts";
import type { State, Walker } from "./walker.ts";

/** What became of one block of AFTER. */
export interface Step extends BlockComparison {
  /** A copy that gives back its input under `===`, or an original within the tolerance. */
  readonly holds: boolean;
  /** Non-finite values of BEFORE's state at the same place. */
  readonly nonFiniteBefore: number;
}

export interface Walk {
  readonly steps: readonly Step[];
  /** Blocks of BEFORE that nothing in AFTER answers to. */
  readonly missing: readonly number[];
  readonly before: State;
  readonly after: State;
}

/** A difference this many times smaller than another tells two explanations apart. */
const CLEARLY = 4;

/** Runs every block of both sides once. */
export class Lockstep {
  readonly #before: Walker;
  readonly #after: Walker;
  readonly #tolerance: number;
  readonly #steps: Step[] = [];
  readonly #missing: number[] = [];
  readonly #total: number;
  /** Where BEFORE stands: the state that enters its block `#next`. */
  #state: State;
  #next = 0;
  /** That block's output, once it was needed. */
  #ahead: State | undefined;
  #done = 0;

  /** `start` is BEFORE's state behind its embedding. */
  constructor(before: Walker, after: Walker, tolerance: number, start: State) {
    this.#before = before;
    this.#after = after;
    this.#tolerance = tolerance;
    this.#state = start;
    this.#total = costOf(before) + costOf(after);
  }

  /** `entered` is AFTER's state behind its embedding. */
  async *run(entered: State): AsyncGenerator<RunEvent, Walk, void> {
    let state = entered;
    const { blocks } = this.#after;
    for (let at = 0; at < blocks; at++) {
      const output = yield* this.#advance(this.#after, at, state);
      const step = yield* this.#judge(at, state, output, blocks - at - 1);
      this.#steps.push(step);
      yield { kind: "note", level: "info", text: sentence(step) };
      state = output;
    }
    while (this.#next < this.#before.blocks) {
      const output = yield* this.#expected();
      if (output !== undefined && sameNumbers(output, this.#state)) this.#recognise();
      else this.#missing.push(this.#next);
      this.#consume(output ?? this.#state);
    }
    return { steps: this.#steps, missing: this.#missing, before: this.#state, after: state };
  }

  async *#judge(at: number, input: State, output: State, left: number): AsyncGenerator<RunEvent, Step, void> {
    const self = compare(output, input);
    if (isWithin(self, 0) && self.torn === 0) return this.#step(at, "copy", output, self, true);
    let expected = yield* this.#expected();
    while (expected !== undefined && sameNumbers(expected, this.#state)) {
      this.#recognise();
      this.#consume(expected);
      expected = yield* this.#expected();
    }
    // BEFORE is used up: whatever stands here was added.
    if (expected === undefined) return this.#step(at, "copy", output, self, false);
    const against = compare(output, expected);
    const holds = isWithin(against, this.#tolerance);
    const spare = left - (this.#before.blocks - this.#next);
    const kind =
      holds || spare < 0 ? "original" : guess(self, updateDistance([output, input], [expected, this.#state]));
    if (kind === "copy") return this.#step(at, kind, output, self, false);
    const step = this.#step(at, kind, output, against, holds);
    this.#consume(expected);
    return step;
  }

  #step(at: number, kind: Step["kind"], output: State, difference: Measure, holds: boolean): Step {
    const from = kind === "original" ? this.#next : kind === "copy" && this.#next > 0 ? this.#next - 1 : undefined;
    return {
      at,
      ...(from === undefined ? {} : { from }),
      kind,
      norm: rootMeanSquare(output),
      maxAbs: difference.maxAbs,
      maxRel: relative(difference),
      nonFinite: difference.nonFinite,
      nonFiniteBefore: difference.nonFiniteExpected,
      holds,
    };
  }

  /** The output of BEFORE's next block; undefined behind the last. */
  async *#expected(): AsyncGenerator<RunEvent, State | undefined, void> {
    if (this.#ahead === undefined && this.#next < this.#before.blocks) {
      this.#ahead = yield* this.#advance(this.#before, this.#next, this.#state);
    }
    return this.#ahead;
  }

  #consume(output: State): void {
    this.#state = output;
    this.#ahead = undefined;
    this.#next++;
  }

  /** BEFORE's block `#next` gives back its input too: a block of AFTER that was taken for a copy is it. */
  #recognise(): void {
    const last = this.#steps.findLastIndex((step) => step.kind === "original");
    const at = this.#steps.findIndex((step, index) => index > last && step.kind === "copy" && step.holds);
    const step = this.#steps[at];
    if (step === undefined) this.#missing.push(this.#next);
    else this.#steps[at] = { ...step, kind: "original", from: this.#next };
  }

  async *#advance(side: Walker, at: number, state: State): AsyncGenerator<RunEvent, State, void> {
    const output = await side.advance(at, state);
    this.#done += side.cost(at);
    await setImmediate();
    yield { kind: "bytes", done: Math.min(this.#done, this.#total), total: this.#total };
    return output;
  }
}

function costOf({ blocks, cost }: Walker): number {
  return Array.from({ length: blocks }, (_, at) => cost(at)).reduce((sum, each) => sum + each, 0);
}

/** All sittings as one. */
export function compare(found: State, expected: State): Measure {
  return found.reduce((sum, values, index) => {
    const other = expected[index] ?? new Float32Array();
    return together(sum, measure(values, other));
  }, NOTHING);
}

function sameNumbers(a: State, b: State): boolean {
  return compare(a, b).differing === 0;
}

/**
 * What a block is that neither returns its input nor gives what BEFORE's next block gives, by what it adds to its input: next to nothing,
 * or about what that block adds.
 */
function guess(self: Measure, against: number): Step["kind"] {
  if (self.torn > 0 || !Number.isFinite(against)) return "unknown";
  const ratio = Math.sqrt(self.squares / against);
  return ratio * CLEARLY < 1 ? "copy" : ratio > CLEARLY ? "original" : "unknown";
}

/** Sum of squares of (output - input) on one side less that on the other. Behind a difference, states alone say little. */
function updateDistance(found: readonly [State, State], expected: readonly [State, State]): number {
  let squares = 0;
  for (const [index, output] of found[0].entries()) {
    const [input, other, before] = [found[1][index], expected[0][index], expected[1][index]];
    for (let at = 0; at < output.length; at++) {
      const distance = (output[at] ?? 0) - (input?.[at] ?? 0) - ((other?.[at] ?? 0) - (before?.[at] ?? 0));
      squares += distance * distance;
    }
  }
  return squares;
}

function sentence({ at, kind, from, holds, maxAbs }: Step): string {
  const what = kind === "unknown" ? "of unknown origin" : kind === "copy" ? "a copy" : `block ${from} of BEFORE`;
  return `block ${at} is ${what}: ${holds && maxAbs === 0 ? "exact" : `differs by up to ${maxAbs}`}`;
}
