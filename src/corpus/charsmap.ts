// The replacements that a SentencePiece model was trained with (`precompiled_charsmap`), made as the library in Rust makes them: by clusters, and of
// a short cluster all by its first entry. Believes no offset in the data.

/** Behind its size in bytes, a double array of 32-bit units (a trie of UTF-8 bytes), then the texts it leads to, each ended by a zero. */
const SIZE = 4;
/** Bytes. A cluster of fewer is looked up whole. */
const LONG = 6;
/** Replacements that are remembered. */
const REMEMBERED = 2 ** 16;
/** Before a printable character of ASCII a cluster always ends, but for signs that are written before another (U+0600). */
const BREAKS = /(?<=[^\p{Cf}\u0d4e\u{11000}-\u{11fff}])(?=[ -~])/u;
/**
 * What may make one cluster of several characters in fewer than six bytes. It is looked for first because V8's segmenter takes some microseconds
 * for every cluster, and longer in longer texts.
 */
const JOINING = /[\r\p{M}\p{Cf}\p{Emoji_Modifier}\u0d4e\u0e33\u0eb3\uff9e\uff9f\u{11000}-\u{11fff}]/u;
const CLUSTERS = new Intl.Segmenter("und", { granularity: "grapheme" });

export class CharsMap {
  readonly #units: Uint32Array;
  readonly #texts: Uint8Array;
  readonly #remembered = new Map<string, string>();

  /** Throws RangeError for what is none. */
  constructor(data: Uint8Array) {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    const size = data.length < SIZE ? 0 : view.getUint32(0, true);
    if (size < 4 || size > data.length - SIZE) throw new RangeError("the map of characters ends early");
    this.#units = Uint32Array.from({ length: Math.floor(size / 4) }, (_, at) => view.getUint32(SIZE + at * 4, true));
    this.#texts = data.subarray(SIZE + this.#units.length * 4);
  }

  normalize(text: string): string {
    let normalized = "";
    for (const run of text.split(BREAKS)) {
      if (!JOINING.test(run)) for (const character of run) normalized += this.#replaced(character);
      else for (const { segment } of CLUSTERS.segment(run)) normalized += this.#replaced(segment);
    }
    return normalized;
  }

  #replaced(cluster: string): string {
    const known = this.#remembered.get(cluster);
    if (known !== undefined) return known;
    const whole = Buffer.byteLength(cluster) < LONG ? this.#first(cluster) : undefined;
    const replaced = whole ?? Array.from(cluster, (character) => this.#first(character) ?? character).join("");
    if (this.#remembered.size < REMEMBERED) this.#remembered.set(cluster, replaced);
    return replaced;
  }

  /** What the shortest entry that the text begins with leads to. */
  #first(text: string): string | undefined {
    let at = offsetOf(this.#unit(0));
    for (const byte of Buffer.from(text)) {
      if (byte === 0) return undefined;
      at ^= byte;
      const unit = this.#unit(at);
      // The sign bit marks a value, which has no label.
      if ((unit & 0x800000ff) !== byte) return undefined;
      at ^= offsetOf(unit);
      if ((unit & 0x100) !== 0) return this.#textAt(this.#unit(at) & 0x7fffffff);
    }
    return undefined;
  }

  #unit(at: number): number {
    const unit = this.#units[at];
    if (unit === undefined) throw new RangeError("the map of characters leads out of itself");
    return unit;
  }

  #textAt(from: number): string {
    if (from > this.#texts.length) throw new RangeError("the map of characters leads out of its texts");
    const end = this.#texts.indexOf(0, from);
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
      this.#texts.subarray(from, end < 0 ? this.#texts.length : end),
    );
  }
}

function offsetOf(unit: number): number {
  return (unit >>> 10) << ((unit & 0x200) >>> 6);
}
