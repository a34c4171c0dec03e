// Orders that follow from a seed, in integer arithmetic only, so that every platform has the same. Keeps no list of what it orders.

/** 32 bits that depend on every bit of every key; Murmur3's mixing. */
export function mixed(...keys: readonly number[]): number {
  let hash = 0x9747b28c;
  for (const key of keys) {
    // A key may have more than 32 bits (2^53 at most).
    for (const part of [key >>> 0, Math.floor(key / 2 ** 32) >>> 0]) {
      const scrambled = Math.imul(rotated(Math.imul(part, 0xcc9e2d51), 15), 0x1b873593);
      hash = (Math.imul(rotated(hash ^ scrambled, 13), 5) + 0xe6546b64) >>> 0;
    }
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function rotated(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

const ROUNDS = 6;

/**
 * Where element `index` of `count` goes in the order of `seed`: a bijection of [0, count), computed without a table. A Feistel network on the
 * next even number of bits, walked until it lands inside (fewer than four steps on average). `count` up to 2^32.
 */
export function permuted(index: number, count: number, seed: number): number {
  if (count < 2) return index;
  const half = Math.max(1, Math.ceil((32 - Math.clz32(count - 1)) / 2));
  const mask = 2 ** half - 1;
  let at = index;
  do {
    let [left, right] = [Math.floor(at / 2 ** half), at & mask];
    for (let round = 0; round < ROUNDS; round++) {
      [left, right] = [right, (left ^ mixed(seed, round, right)) & mask];
    }
    at = (left >>> 0) * 2 ** half + (right >>> 0);
  } while (at >= count);
  return at;
}

/** Fisher and Yates, in place. */
export function shuffle<Item>(items: Item[], seed: number): void {
  for (let at = items.length - 1; at > 0; at--) {
    const other = mixed(seed, at) % (at + 1);
    const [first, second] = [items[at], items[other]];
    if (first === undefined || second === undefined) return;
    items[at] = second;
    items[other] = first;
  }
}
