// Activation checkpointing: blocks are computed a second time, from their stored inputs, when their gradients are taken. Changes no number.
import type { NodeProto } from "../graph/onnx.ts";
import { readsOf } from "../graph/walk.ts";
import type { Tape } from "./tape.ts";
import { sizeOf } from "./types/type.ts";

/** In front of the first boundary, and where there are none. */
const OUTSIDE = -1;

/**
 * Segment i is what descends from boundary i and from no later one. All but the last are computed again: what follows the last boundary is
 * differentiated at once.
 */
export class Recomputation {
  readonly #tape: Tape;
  readonly #boundaries: readonly string[];
  /** Of values; a boundary belongs to the segment that it begins. */
  readonly #segments = new Map<string, number>();
  #current = OUTSIDE;
  /** Values of the current segment, computed again. */
  #again = new Map<string, string>();
  /** A gradient that the current segment must wait for. */
  #after = "";

  constructor(tape: Tape, boundaries: readonly string[]) {
    this.#tape = tape;
    this.#boundaries = boundaries.map((name) => tape.resolve(name));
    for (const [at, name] of this.#boundaries.entries()) this.#segments.set(name, at);
    for (const node of tape.nodes) {
      const segment = this.segmentOf(node);
      for (const name of node.output) if (!this.#boundaries.includes(name)) this.#segments.set(name, segment);
    }
  }

  segmentOf(node: NodeProto): number {
    let last = OUTSIDE;
    for (const name of readsOf(node)) last = Math.max(last, this.#segments.get(name) ?? OUTSIDE);
    return last;
  }

  /** Nodes as they are differentiated: from the last segment to the first, inside of each from the last to the first. */
  backwards(nodes: readonly NodeProto[]): readonly NodeProto[] {
    const segments = Array.from({ length: this.#boundaries.length + 1 }, (): NodeProto[] => []);
    for (const node of nodes) segments[this.segmentOf(node) + 1]?.push(node);
    return segments.flat().reverse();
  }

  /** Call it before a node is differentiated, with a gradient of one of its outputs. */
  enter(node: NodeProto, gradient: string): void {
    const segment = this.segmentOf(node);
    if (segment === this.#current) return;
    this.#current = segment;
    this.#again = new Map();
    this.#after = gradient;
  }

  /** A value of the forward pass, computed again where it belongs to the segment whose turn it is. */
  forward(value: string): string {
    const name = this.#tape.resolve(value);
    const segment = this.#segments.get(name) ?? OUTSIDE;
    const isStored = segment !== this.#current || segment === OUTSIDE || segment === this.#boundaries.length - 1;
    return isStored && !this.#isWidened(name) ? name : this.#repeat(name);
  }

  /** A cast of a weight: kept, it would hold every 16-bit weight in f32 from the forward pass on. */
  #isWidened(name: string): boolean {
    if (this.#current === OUTSIDE || this.#current === this.#boundaries.length - 1) return false;
    const maker = this.#tape.makerOf(name);
    return maker?.opType === "Cast" && this.#tape.makerOf(maker.input[0] ?? "") === undefined;
  }

  #repeat(name: string): string {
    const known = this.#again.get(name);
    if (known !== undefined) return known;
    const maker = this.#tape.makerOf(name);
    if (this.#boundaries.includes(name) || maker === undefined) {
      const tied = this.#tied(name);
      this.#again.set(name, tied);
      return tied;
    }
    const inputs = maker.input.map((input) => (input === "" ? "" : this.forward(input)));
    const outputs = this.#tape.within("again", () => this.#tape.again(maker, inputs));
    for (const [at, output] of maker.output.entries()) if (output !== "") this.#again.set(output, outputs[at] ?? "");
    return this.#again.get(name) ?? name;
  }

  /**
   * h + 0 dY: without it the runtime would find that both computations are the same and keep the first (common-subexpression elimination),
   * and nothing would be saved. Exact while dY is finite; where it is not, the gradients are lost anyway.
   */
  #tied(name: string): string {
    const tape = this.#tape;
    return tape.within("again", () => {
      const { type, shape } = tape.typeOf(name);
      const after = tape.typeOf(this.#after);
      const zero = tape.op("Mul", [this.#after, tape.constant(0, after.type)]);
      const isLike = after.shape.length === shape.length && after.shape.every((size, at) => size === shape[at]);
      const folded = isLike || sizeOf(after.shape) === 1 ? zero : tape.op("ReduceSum", [zero], { keepdims: 0 });
      const scalar = isLike ? folded : tape.op("Reshape", [folded, tape.ints([])]);
      return tape.op("Add", [name, after.type === type ? scalar : tape.op("Cast", [scalar], { to: type })]);
    });
  }
}
