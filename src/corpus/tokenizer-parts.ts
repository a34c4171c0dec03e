// A tokenizer.json in the words that @huggingface/tokenizers computes exactly as the library in Rust does: parts where the two differ are
// said in other parts where they agree, and a part that cannot be said is refused. Changes no meaning.
import { ExpandError, quote } from "../errors.ts";
import { CharsMap } from "./charsmap.ts";

type Json = Readonly<Record<string, unknown>>;
type Rewrite = (part: Json, refuse: Refuse) => Json;
type Refuse = (message: string) => never;

const SPACE = "\\p{White_Space}";
/** As Rust's regex crate has \w. */
const WORD = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\u200c\\u200d";
/** Of Unicode and of ASCII, as in BERT. */
const PUNCTUATION = "\\p{P}!-\\/:-@\\[-`{-~";
/** Not to be followed by nothing: an empty match behind it is found by V8 within surrogate pairs too. */
const START = "\\A";
/** GPT-2's, which ByteLevel uses unless it is told not to. */
const GPT2 = `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+`;
const IDEOGRAPHS =
  "[\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff\\u{20000}-\\u{2a6df}\\u{2a700}-\\u{2b73f}\\u{2b740}-\\u{2b81f}\\u{2b920}-\\u{2ceaf}\\u{2f800}-\\u{2fa1f}]";

const isolate = (regex: string): Json => ({
  type: "Split",
  pattern: { Regex: regex },
  behavior: "Isolated",
  invert: false,
});
/** The matches only. */
const keep = (regex: string): Json => ({ ...isolate(regex), behavior: "Removed", invert: true });
const replace = (regex: string, content: string): Json => ({ type: "Replace", pattern: { Regex: regex }, content });
const same: Rewrite = (part) => part;

const NORMALIZERS: Readonly<Record<string, Rewrite>> = {
  NFC: same,
  NFD: same,
  NFKC: same,
  NFKD: same,
  StripAccents: same,
  // JavaScript has a form of its own for a sigma at the end of a word.
  Lowercase: () => ({ type: "Sequence", normalizers: [replace("Σ", "σ"), { type: "Lowercase" }] }),
  Strip: ({ strip_left, strip_right }) => ({
    type: "Sequence",
    normalizers: [
      ...(strip_left === true ? [replace(`${START}${SPACE}+`, "")] : []),
      ...(strip_right === true ? [replace(`${SPACE}+\\z`, "")] : []),
    ],
  }),
  Prepend: ({ prepend }) => replace(`${START}(?:.|\\n)`, `${literal(String(prepend))}$&`),
  Replace: (part, refuse) => {
    patternOf(part, refuse);
    return { ...part, content: literal(String(part.content ?? "")) };
  },
  BertNormalizer: (part) => ({
    type: "Sequence",
    normalizers: [
      { ...part, lowercase: false, strip_accents: false, handle_chinese_chars: false },
      ...(part.handle_chinese_chars === true ? [replace(IDEOGRAPHS, " $& ")] : []),
      ...((part.strip_accents ?? part.lowercase) ? [{ type: "NFD" }, replace("\\p{Mn}", "")] : []),
      ...(part.lowercase === true ? [replace("Σ", "σ"), { type: "Lowercase" }] : []),
    ],
  }),
  // What it removes, then what it takes for a space.
  Nmt: () => ({
    type: "Sequence",
    normalizers: [
      replace("[\\u0001-\\u0008\\u000b\\u000e-\\u001f\\u007f\\u008f\\u009f]", ""),
      replace("[\\t\\n\\f\\r\\u1680\\u200b-\\u200f\\u2028\\u2029\\u2581\\ufeff\\ufffd]", " "),
    ],
  }),
  Precompiled: ({ precompiled_charsmap: data }, refuse) => {
    if (typeof data !== "string") return refuse("has a Precompiled normalizer without its map of characters");
    const map = new CharsMap(Buffer.from(data, "base64"));
    // The library gives `content` to `String.replaceAll`, which also takes a function.
    return { type: "Replace", pattern: { Regex: "[\\s\\S]+" }, content: (text: string) => map.normalize(text) };
  },
  Sequence: (part, refuse) => ({
    ...part,
    normalizers: rewriteAll(part.normalizers, NORMALIZERS, "normalizer", refuse),
  }),
};

const PRE_TOKENIZERS: Readonly<Record<string, Rewrite>> = {
  BertPreTokenizer: () => keep(`[^${SPACE}${PUNCTUATION}]+|[${PUNCTUATION}]`),
  Whitespace: () => keep(`[${WORD}]+|[^${WORD}${SPACE}]+`),
  WhitespaceSplit: () => keep(`[^${SPACE}]+`),
  Digits: ({ individual_digits }) => isolate(individual_digits === true ? "\\p{N}" : "\\p{N}+"),
  Punctuation: ({ behavior = "Isolated" }, refuse) => {
    if (behavior !== "Isolated" && behavior !== "Contiguous") return refuse(`splits punctuation as ${behavior}`);
    return isolate(behavior === "Isolated" ? `[${PUNCTUATION}]` : `[${PUNCTUATION}]+`);
  },
  Metaspace: (part, refuse) => {
    const { replacement = "▁", add_prefix_space, prepend_scheme, split } = part;
    const scheme = prepend_scheme ?? (add_prefix_space === false ? "never" : "always");
    if (typeof replacement !== "string" || replacement.length !== 1)
      return refuse("has a Metaspace of several characters");
    const spaced = { type: "Metaspace", replacement, prepend_scheme: scheme };
    const mark = escaped(replacement);
    return split === false ? spaced : sequence([spaced, isolate(`${mark}?[^${mark}]+|${mark}`)]);
  },
  // The library's own pattern takes JavaScript's idea of white space.
  ByteLevel: ({ add_prefix_space = true, use_regex = true }) =>
    sequence([
      ...(add_prefix_space === true ? [replace(`${START}[^ ]`, " $&")] : []),
      ...(use_regex === true ? [isolate(GPT2)] : []),
      { type: "ByteLevel", add_prefix_space: false, use_regex: false },
    ]),
  Split: (part, refuse) => {
    const regex = patternOf(part, refuse);
    const { behavior, invert } = part;
    const mark = markOf(part);
    if (mark !== undefined && behavior === "MergedWithPrevious") return isolate(`[^${mark}]*${mark}|[^${mark}]+`);
    if (mark !== undefined && behavior === "MergedWithNext") return isolate(`${mark}[^${mark}]*|[^${mark}]+`);
    if (behavior === "Isolated") return isolate(regex);
    if (behavior !== "Removed") return refuse(`splits as ${String(behavior)}`);
    // What stands between matches is cut out by the library with `String.split`, which gives back groups.
    if (invert !== true && /\((?!\?)/.test(regex)) return refuse("removes a pattern that has groups");
    return { ...isolate(regex), behavior, invert: invert === true };
  },
  Sequence: (part, refuse) => sequence(rewriteAll(part.pretokenizers, PRE_TOKENIZERS, "pre-tokenizer", refuse)),
};

const MODELS: Readonly<Record<string, Rewrite>> = {
  BPE: (part, refuse) => {
    if (part.dropout) return refuse("drops merges at random");
    if (part.continuing_subword_prefix) return refuse("marks what continues a word by a prefix");
    return part;
  },
  // Its pieces are found by unigram.ts; the library is left to number them.
  Unigram: ({ vocab }, refuse) => {
    if (!isScored(vocab)) return refuse("has a vocabulary that is no list of tokens with their scores");
    return { type: "WordLevel", vocab: Object.fromEntries(vocab.map(([piece], id) => [piece, id])) };
  },
  // The library knows it only by what it lacks.
  WordLevel: ({ vocab }) => ({ type: "WordLevel", vocab }),
  WordPiece: same,
};

/** Throws "unsupported" naming what would be computed otherwise. */
export function exactTokenizer(file: Json, at: string): Json {
  const refuse: Refuse = (message) => {
    throw new ExpandError("unsupported", `${message}, which is not computed here as in the library that trained it`, {
      at,
      fix: "Tokenize the text elsewhere.",
    });
  };
  for (const token of list(file.added_tokens)) {
    if (token.single_word === true) refuse(`takes ${quote(String(token.content))} as a whole word only`);
  }
  const model = rewrite(typed(file.model), MODELS, "model", refuse);
  const splitter = rewrite(file.pre_tokenizer, PRE_TOKENIZERS, "pre-tokenizer", refuse);
  if (model?.fuse_unk === true && model.byte_fallback !== true && splitter !== null && !isByteLevel(splitter))
    refuse("joins what is unknown in a word");
  return {
    ...file,
    added_tokens: list(file.added_tokens),
    normalizer: rewrite(file.normalizer, NORMALIZERS, "normalizer", refuse),
    pre_tokenizer: breaksAtSpaces(model) ? sequence([...(splitter === null ? [] : [splitter]), WORDS]) : splitter,
    model,
    post_processor: null,
    decoder: file.decoder ?? null,
  };
}

/**
 * Whether no merge joins something with a space that follows it, so that words can be merged one by one: the same tokens, of words that are
 * remembered, where the library would else merge a whole text at once.
 */
function breaksAtSpaces(model: Json | null): boolean {
  if (model?.type !== "BPE" || model.ignore_merges === true || model.end_of_word_suffix) return false;
  if (!isObject(model.vocab)) return false;
  const tokens = Object.keys(model.vocab);
  return tokens.includes("▁") && tokens.every((token) => !/[^▁]▁/.test(token));
}

const WORDS = isolate("▁*[^▁]+|▁+");

function isByteLevel(part: Json): boolean {
  return part.type === "ByteLevel" || list(part.pretokenizers).some(isByteLevel);
}

/** Older files do not name the kind of their model. */
function typed(model: unknown): unknown {
  if (!isObject(model) || model.type !== undefined) return model;
  if (model.merges !== undefined) return { ...model, type: "BPE" };
  if (Array.isArray(model.vocab)) return { ...model, type: "Unigram" };
  return { ...model, type: model.continuing_subword_prefix === undefined ? "WordLevel" : "WordPiece" };
}

function isScored(vocab: unknown): vocab is readonly (readonly [string, number])[] {
  return (
    Array.isArray(vocab) &&
    vocab.every((entry) => Array.isArray(entry) && typeof entry[0] === "string" && Number.isFinite(entry[1]))
  );
}

function rewrite(part: unknown, known: Readonly<Record<string, Rewrite>>, kind: string, refuse: Refuse): Json | null {
  if ((part === null || part === undefined) && kind !== "model") return null;
  if (!isObject(part)) return refuse(`has no ${kind}`);
  const type = String(part.type);
  const how = Object.hasOwn(known, type) ? known[type] : undefined;
  return how === undefined ? refuse(`has a ${kind} of type ${quote(type)}`) : how(part, refuse);
}

function rewriteAll(
  parts: unknown,
  known: Readonly<Record<string, Rewrite>>,
  kind: string,
  refuse: Refuse,
): readonly Json[] {
  return list(parts)
    .map((part) => rewrite(part, known, kind, refuse))
    .filter((part) => part !== null);
}

function sequence(pretokenizers: readonly Json[]): Json {
  return { type: "Sequence", pretokenizers };
}

function patternOf({ pattern }: Json, refuse: Refuse): string {
  const { Regex, String: text } = isObject(pattern) ? pattern : {};
  if (typeof text === "string") return escaped(text);
  return typeof Regex === "string" ? Regex : refuse("has a pattern of no known kind");
}

/** A pattern that is one character. */
function markOf({ pattern, invert }: Json): string | undefined {
  const text = isObject(pattern) ? pattern.String : undefined;
  return typeof text === "string" && [...text].length === 1 && invert !== true ? escaped(text) : undefined;
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");
}

/** What stands for itself in `String.replace`. */
function literal(content: string): string {
  return content.replaceAll("$", "$$$$");
}

function list(parts: unknown): readonly Json[] {
  return Array.isArray(parts) ? parts.filter(isObject) : [];
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
