// Decimal numbers as the library in Rust reads them: its JSON reader rounds twice, so that one score in eight is off by its last bit. Where two
// ways to cut a word are nearly as likely, that bit decides. Reads nothing else.

const LARGEST = 2n ** 64n - 1n;
const NUMBER = /^(-?)(\d+)(?:(\.)(\d+))?(?:[eE]([+-]?\d+))?$/;

/** JSON in which every number is the text that spells it. Throws what JSON.parse does. */
export function spelledNumbers(json: string): unknown {
  const spelled = json.replace(/"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g, (found) =>
    found[0] === '"' ? found : `"${found}"`,
  );
  return JSON.parse(spelled);
}

/** serde_json without its `float_roundtrip`: digits as 64 bits, rounded, and then times or by a power of ten. NaN for what is no number. */
export function readScore(spelling: string): number {
  const [, sign, whole = "", point, decimals = "", exponent = "0"] = NUMBER.exec(spelling) ?? [];
  if (sign === undefined) return Number.NaN;
  let { digits, taken } = digitsOf(0n, whole);
  let power = whole.length - taken;
  if (point !== undefined) {
    ({ digits, taken } = digitsOf(digits, decimals));
    power -= taken;
  }
  const size = scaled(Number(digits), power + Number(exponent));
  return sign === "-" ? -size : size;
}

/** Digits behind those that there are, until 64 bits are full. */
function digitsOf(before: bigint, text: string): { readonly digits: bigint; readonly taken: number } {
  if (text.length < 20) {
    const all = before * 10n ** BigInt(text.length) + BigInt(text);
    if (all <= LARGEST) return { digits: all, taken: text.length };
  }
  let digits = before;
  for (let taken = 0; taken < text.length; taken++) {
    const next = digits * 10n + BigInt(text.charAt(taken));
    if (next > LARGEST) return { digits, taken };
    digits = next;
  }
  return { digits, taken: text.length };
}

function scaled(digits: number, power: number): number {
  let [value, left] = [digits, power];
  for (; left < -308 && value !== 0; left += 308) value /= 1e308;
  if (value === 0) return 0;
  return left < 0 ? value / Number(`1e${-left}`) : value * Number(`1e${left}`);
}
