// Text as token ids and back, by a checkpoint's own tokenizer.json: what @huggingface/tokenizers computes exactly, and nothing that it does not.
import type { Tokenizer as Library } from "@huggingface/tokenizers";
import { ExpandError, quote } from "../errors.ts";
import type { ByteSource } from "../tensor/source.ts";
import { valueDigest } from "./digest.ts";
import {
  checkTokenizerFile,
  marksOf,
  parseTokenizerFile,
  type TokenizerFile,
  unigramOf,
  unknownOf,
  vocabulariesOf,
} from "./tokenizer-file.ts";
import { exactTokenizer } from "./tokenizer-parts.ts";

export interface Tokenizer {
  /** One more than the largest id that a text may become. */
  readonly vocabulary: number;
  /** The same, of the model's own tokens: those that were only added may have no place in the model, where no text has them (a pad token). */
  readonly ownVocabulary: number;
  /** What begins a document: the begin-of-text token, where the settings or the file's own template add one. */
  readonly beginOfText: number | undefined;
  /**
   * What ends a document: the end-of-text token wherever the settings name one, also where they do not add it to a prompt (`add_eos_token`):
   * between documents it is what says that another begins. Else what the template adds behind a text.
   */
  readonly endOfText: number | undefined;
  /** Identity of the files it was read from. */
  readonly digest: string;
  /** Adds nothing; tokens that are written out in the text ("</s>") are recognized, as Python does. `where` the text is from, for messages. */
  encode(text: string, where?: string): number[];
  decode(ids: readonly number[]): string;
}

export interface TokenizerSources {
  /** tokenizer.json */
  readonly tokenizer: ByteSource;
  /** tokenizer_config.json */
  readonly config?: ByteSource;
}

const TOKENIZER = "tokenizer.json";
const CONFIG = "tokenizer_config.json";

/** The tokenizer among a checkpoint's files, by name. Throws "usage" when there is none, with `where` as the place it was looked for. */
export async function tokenizerAmong(assets: ReadonlyMap<string, ByteSource>, where: string): Promise<Tokenizer> {
  const [tokenizer, config] = [assets.get(TOKENIZER), assets.get(CONFIG)];
  if (tokenizer === undefined) {
    throw new ExpandError("usage", `holds no ${TOKENIZER}, which turns text into tokens`, {
      at: where,
      fix: `Pass --tokenizer FILE, the ${TOKENIZER} of the model.`,
    });
  }
  return openTokenizer(config === undefined ? { tokenizer } : { tokenizer, config });
}

/** Throws "damaged" for what is no tokenizer, "unsupported" for one that would not be computed exactly as its authors' library does. */
export async function openTokenizer({ tokenizer, config }: TokenizerSources): Promise<Tokenizer> {
  const { name } = tokenizer;
  const file = await parseTokenizerFile(tokenizer);
  checkTokenizerFile(file.json, name);
  const settings = config === undefined ? {} : (await parseTokenizerFile(config)).json;
  const library = await libraryFor(file, name);
  const { own, all } = vocabulariesOf(file.json, name);
  return {
    vocabulary: all,
    ownVocabulary: own,
    ...marksOf(file.json, settings, (token) => library.token_to_id(token)),
    digest: valueDigest([file.json, settings]),
    encode: (text, where = name) => {
      const ids = construct(
        name,
        (): readonly (number | undefined)[] => library.encode(text, { add_special_tokens: false }).ids,
      );
      return ids.map((id) => id ?? refuseText(where));
    },
    decode: (ids) => {
      if (ids.length === 0) return "";
      return construct(name, () => library.decode([...ids], { clean_up_tokenization_spaces: false }));
    },
  };
}

/**
 * The tokenizer for a model that knows ids below `known`. Throws "usage" where the model's own tokens or what stands around a text are beyond;
 * an added token that is beyond is refused in the text that has it.
 */
export function tokenizerWithin(tokenizer: Tokenizer, known: number, at: string): Tokenizer {
  const { ownVocabulary, vocabulary, beginOfText = 0, endOfText = 0 } = tokenizer;
  if (vocabulary <= known) return tokenizer;
  const fix = "Pass the tokenizer of this model with --tokenizer.";
  if (ownVocabulary > known)
    throw new ExpandError("usage", `the tokenizer knows ${ownVocabulary} tokens, the model ${known}`, { at, fix });
  const mark = Math.max(beginOfText, endOfText);
  if (mark >= known) {
    const message = `${quote(tokenizer.decode([mark]))}, token ${mark}, stands around every text, and the model's last is ${known - 1}`;
    throw new ExpandError("usage", message, { at, fix });
  }
  const encode = (text: string, where = at): number[] => {
    const ids = tokenizer.encode(text, where);
    const beyond = ids.find((id) => id >= known);
    if (beyond === undefined) return ids;
    const name = quote(tokenizer.decode([beyond]));
    throw new ExpandError("input", `holds ${name}, which is token ${beyond}, and the last of ${at} is ${known - 1}`, {
      at: where,
      fix: `Remove ${name} from the text.`,
    });
  };
  return { ...tokenizer, vocabulary: known, encode };
}

/** The library's own, with the parts in place that it computes otherwise. */
async function libraryFor(file: TokenizerFile, name: string): Promise<Library> {
  const { Tokenizer: Library } = await import("@huggingface/tokenizers");
  return construct(name, () => {
    const exact = exactTokenizer(file.json, name);
    const library = new Library(exact, unknownOf(file.json));
    const unigram = unigramOf(file);
    if (unigram !== undefined && library.model !== null) {
      library.model.encode = (words: readonly string[]) => words.flatMap((word) => unigram.piecesOf(word));
      if (unigram.unknown !== undefined) library.model.unk_token_id = unigram.unknown;
    }
    return library;
  });
}

/** The library throws bare errors for what it does not know. */
function construct<Made>(at: string, make: () => Made): Made {
  try {
    return make();
  } catch (cause) {
    if (cause instanceof ExpandError) throw cause;
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new ExpandError("unsupported", `cannot be read: ${message}`, {
      at,
      fix: "Tokenize the text elsewhere.",
      cause,
    });
  }
}

function refuseText(at: string): never {
  throw new ExpandError("unsupported", "has a part that the tokenizer has no token for, nor one for what is unknown", {
    at,
    fix: "Remove the characters that the model has no token for.",
  });
}
