// A text as token ids, by the tokenizer.json of a checkpoint: byte-pair encoding as most decoders have it. Whatever it does not know it
// refuses, since ids that are nearly right look like right ones. Adds no special tokens.
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { ExpandError } from "../../errors.ts";

interface Part {
  readonly type?: string;
  readonly normalizers?: readonly Part[];
  readonly pretokenizers?: readonly Part[];
  readonly pattern?: { readonly Regex?: string; readonly String?: string };
  readonly content?: string;
  readonly prepend?: string;
  readonly behavior?: string;
  readonly invert?: boolean;
  readonly add_prefix_space?: boolean;
  readonly use_regex?: boolean;
  readonly individual_digits?: boolean;
}

interface Tokenizer {
  readonly normalizer?: Part | null;
  readonly pre_tokenizer?: Part | null;
  readonly model?: {
    readonly type?: string;
    readonly vocab?: Readonly<Record<string, number>>;
    readonly merges?: readonly (string | readonly [string, string])[];
    readonly byte_fallback?: boolean;
    readonly ignore_merges?: boolean;
    readonly dropout?: number | null;
    readonly continuing_subword_prefix?: string | null;
    readonly end_of_word_suffix?: string | null;
  };
}

const FILE = "tokenizer.json";
/** GPT-2's, which ByteLevel uses unless it is told not to. */
const GPT2 = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** Throws "usage" when the checkpoint has no tokenizer.json, or one that is not read here. */
export async function promptIds(checkpoint: Checkpoint, text: string): Promise<readonly number[]> {
  const source = checkpoint.assets.get(FILE);
  if (source === undefined) refuse("is not in BEFORE");
  const tokenizer = parse(Buffer.from(await source.read(0, source.size)).toString("utf8"));
  const { model } = tokenizer;
  const special = model?.dropout || model?.continuing_subword_prefix || model?.end_of_word_suffix;
  if (model?.type !== "BPE" || model.vocab === undefined || special)
    refuse(`has a model of type ${model?.type}, not plain BPE`);
  const ranks = new Map((model.merges ?? []).map((merge, rank) => [pairKey(merge), rank]));
  const words = split([normalize(text, tokenizer.normalizer)], tokenizer.pre_tokenizer);
  return words.flatMap((word) => {
    const whole = model.ignore_merges === true ? model.vocab?.[word] : undefined;
    return whole === undefined ? encode(word, model.vocab ?? {}, ranks, model.byte_fallback === true) : [whole];
  });
}

function parse(text: string): Tokenizer {
  try {
    return JSON.parse(text) as Tokenizer;
  } catch {
    return refuse("is not JSON");
  }
}

function pairKey(merge: string | readonly [string, string]): string {
  return typeof merge === "string" ? merge : merge.join(" ");
}

function normalize(text: string, part: Part | null | undefined): string {
  switch (part?.type) {
    case undefined:
      return text;
    case "NFC":
    case "NFKC":
    case "NFD":
      return text.normalize(part.type);
    case "Prepend":
      return text === "" ? text : (part.prepend ?? "") + text;
    case "Replace":
      return part.pattern?.String === undefined
        ? refuse("replaces by a pattern")
        : text.replaceAll(part.pattern.String, () => part.content ?? "");
    case "Sequence":
      return (part.normalizers ?? []).reduce(normalize, text);
    default:
      return refuse(`has a normalizer of type ${part?.type}`);
  }
}

function split(words: readonly string[], part: Part | null | undefined): readonly string[] {
  switch (part?.type) {
    case undefined:
      return words;
    case "Sequence":
      return (part.pretokenizers ?? []).reduce(split, words);
    case "Digits":
      return words.flatMap((word) => isolate(word, part.individual_digits === true ? /\p{N}/gu : /\p{N}+/gu));
    case "Split":
      if (part.behavior !== "Isolated" || part.invert === true) return refuse(`splits by ${part.behavior}`);
      return words.flatMap((word) => isolate(word, expressionOf(part)));
    case "ByteLevel": {
      const begun = words.map((word) => (part.add_prefix_space === true && !word.startsWith(" ") ? ` ${word}` : word));
      const cut = part.use_regex === false ? begun : begun.flatMap((word) => isolate(word, GPT2));
      return cut.map((word) => [...Buffer.from(word)].map((byte) => BYTES[byte]).join(""));
    }
    default:
      return refuse(`has a pre-tokenizer of type ${part?.type}`);
  }
}

/** Matches, and what is between them. */
function isolate(word: string, expression: RegExp): readonly string[] {
  const parts: string[] = [];
  let done = 0;
  for (const match of word.matchAll(expression)) {
    parts.push(word.slice(done, match.index), match[0]);
    done = match.index + match[0].length;
  }
  return [...parts, word.slice(done)].filter((each) => each !== "");
}

function expressionOf({ pattern }: Part): RegExp {
  const literal = pattern?.String?.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");
  // Inline flags are newer than the oldest Node; the one use of them is for English contractions.
  const plain = pattern?.Regex?.replace(/\(\?i:([^()]*)\)/g, (_, inner: string) => `(?:${eitherCase(inner)})`);
  try {
    return new RegExp(literal ?? plain ?? "", "gu");
  } catch {
    return refuse("splits by a pattern that JavaScript does not know");
  }
}

function eitherCase(text: string): string {
  return text.replace(/[a-z]/gi, (letter) => `[${letter.toLowerCase()}${letter.toUpperCase()}]`);
}

/** Merges the pair of the lowest rank until none is left. */
function encode(
  word: string,
  vocabulary: Readonly<Record<string, number>>,
  ranks: ReadonlyMap<string, number>,
  byteFallback: boolean,
): readonly number[] {
  const parts = [...word];
  for (;;) {
    let [best, lowest] = [-1, Number.POSITIVE_INFINITY];
    for (let at = 0; at + 1 < parts.length; at++) {
      const rank = ranks.get(`${parts[at]} ${parts[at + 1]}`) ?? Number.POSITIVE_INFINITY;
      if (rank < lowest) [best, lowest] = [at, rank];
    }
    if (best < 0) break;
    parts.splice(best, 2, `${parts[best]}${parts[best + 1]}`);
  }
  return parts.flatMap((part) => {
    const id = Object.hasOwn(vocabulary, part) ? vocabulary[part] : undefined;
    if (id !== undefined) return [id];
    const bytes = [...Buffer.from(part)].map((byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
    const ids = bytes.map((each) => vocabulary[each]);
    if (!byteFallback || ids.includes(undefined)) return refuse(`has no token for ${JSON.stringify(part)}`);
    return ids.filter((each) => each !== undefined);
  });
}

/** GPT-2's alphabet: a printable character for every byte. */
const BYTES: readonly string[] = (() => {
  const isPlain = (byte: number): boolean => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(isPlain(byte) ? byte : next++));
})();

function refuse(message: string): never {
  throw new ExpandError("usage", `${FILE} ${message}, so --prompt cannot be tokenized`, {
    fix: "Tokenize the text yourself and pass --token-ids.",
  });
}
