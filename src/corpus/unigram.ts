// The Unigram model: the likeliest pieces of a word, by the additions and comparisons of the library in Rust in their order, so that ties fall as
// they do there. Knows ids only of what its own vocabulary has.

/** How much less likely the unknown is than the least likely piece. */
const PENALTY = 10;
const NONE = -1;

export class Unigram {
  /** Id of what stands for the unknown. */
  readonly unknown: number | undefined;
  readonly #hasBytes: boolean;
  readonly #ids = new Map<string, number>();
  /** A trie of UTF-16 units: from node * 2^16 + unit to the next node. */
  readonly #edges = new Map<number, number>();
  /** By node, the piece that ends there. */
  readonly #ends: number[] = [NONE];
  readonly #scores: Float64Array;
  readonly #unknownScore: number;

  /** Pieces by id, with the logarithm of how likely each is. `bytes`: what is unknown becomes its bytes, where each has a piece ("<0xE2>"). */
  constructor(
    pieces: readonly (readonly [piece: string, score: number])[],
    unknown: number | undefined,
    bytes: boolean,
  ) {
    this.unknown = unknown;
    this.#hasBytes = bytes;
    this.#scores = Float64Array.from(pieces, ([, score]) => score);
    this.#unknownScore =
      this.#scores.reduce((least, score) => Math.min(least, score), Number.POSITIVE_INFINITY) - PENALTY;
    for (const [id, [piece]] of pieces.entries()) {
      this.#ids.set(piece, id);
      this.#insert(piece, id);
    }
  }

  /** In their order; what is unknown as it stands in the text, where bytes do not take its place. */
  piecesOf(word: string): readonly string[] {
    const { from, ids } = this.#best(word);
    const pieces: string[] = [];
    for (let end = word.length; end > 0; ) {
      let start = from[end] ?? 0;
      // What is unknown side by side is one.
      if (ids[end] === this.unknown) while (start > 0 && ids[start] === this.unknown) start = from[start] ?? 0;
      pieces.push(word.slice(start, end));
      end = start;
    }
    return pieces.reverse().flatMap((piece) => this.#known(piece));
  }

  #insert(piece: string, id: number): void {
    let node = 0;
    for (let at = 0; at < piece.length; at++) {
      const edge = node * 2 ** 16 + piece.charCodeAt(at);
      const next = this.#edges.get(edge) ?? this.#ends.push(NONE) - 1;
      this.#edges.set(edge, next);
      node = next;
    }
    this.#ends[node] = id;
  }

  /** Of the best way to each place: where its last piece begins, and its id. The first of equal ones is kept; shorter pieces come first. */
  #best(word: string): { readonly from: Int32Array; readonly ids: Int32Array } {
    const scores = new Float64Array(word.length + 1);
    const from = new Int32Array(word.length + 1).fill(NONE);
    const ids = new Int32Array(word.length + 1).fill(NONE);
    const offer = (start: number, end: number, id: number, score: number): void => {
      if (from[end] !== NONE && !(score > (scores[end] ?? 0))) return;
      scores[end] = score;
      from[end] = start;
      ids[end] = id;
    };
    for (let start = 0, width = 1; start < word.length; start += width) {
      width = (word.codePointAt(start) ?? 0) > 0xffff ? 2 : 1;
      const before = scores[start] ?? 0;
      let isKnown = false;
      for (let end = start, node: number | undefined = 0; end < word.length; ) {
        node = this.#edges.get(node * 2 ** 16 + word.charCodeAt(end++));
        if (node === undefined) break;
        const id = this.#ends[node] ?? NONE;
        if (id === NONE) continue;
        offer(start, end, id, (this.#scores[id] ?? 0) + before);
        isKnown ||= end - start === width;
      }
      if (!isKnown) offer(start, start + width, this.unknown ?? NONE, this.#unknownScore + before);
    }
    return { from, ids };
  }

  #known(piece: string): readonly string[] {
    if (this.#ids.has(piece)) return [piece];
    if (this.#hasBytes) {
      const bytes = Array.from(Buffer.from(piece), (byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
      if (bytes.every((byte) => this.#ids.has(byte))) return bytes;
    }
    return [piece];
  }
}
