// A map of characters as SentencePiece stores it, from entries in the open. Each node has 256 places of its own: large, and simple.

/** Entries are looked up as UTF-8. */
export function charsMap(entries: Readonly<Record<string, string>>): Buffer {
  const texts: Buffer[] = [];
  const units: number[] = [0];
  const place = (at: number, label: number, under: readonly (readonly [key: Buffer, text: number])[]): void => {
    const base = Math.ceil(units.length / 256) * 256;
    for (let slot = 0; slot < 256; slot++) units[base + slot] = 0;
    const leaf = under.find(([key]) => key.length === 0);
    if (leaf !== undefined) units[base] = (leaf[1] | 0x80000000) >>> 0;
    units[at] = ((at ^ base) << 10) | (leaf === undefined ? 0 : 0x100) | label;
    for (const byte of new Set(under.flatMap(([key]) => Array.from(key.subarray(0, 1))))) {
      const below = under.filter(([key]) => key[0] === byte).map(([key, text]) => [key.subarray(1), text] as const);
      place(base ^ byte, byte, below);
    }
  };
  let end = 0;
  const keys = Object.entries(entries).map(([key, text]) => {
    const at = end;
    texts.push(Buffer.from(`${text}\0`));
    end += Buffer.byteLength(text) + 1;
    return [Buffer.from(key), at] as const;
  });
  place(0, 0, keys);
  const trie = Buffer.alloc(4 + units.length * 4);
  trie.writeUInt32LE(units.length * 4);
  for (const [at, unit] of units.entries()) trie.writeUInt32LE(unit, 4 + at * 4);
  return Buffer.concat([trie, ...texts]);
}
