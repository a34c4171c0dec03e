// Text as token ids and back, by a checkpoint's own tokenizer.json: what @huggingface/tokenizers computes exactly, and nothing that it does not.
import { ExpandError } from "../errors.ts";
import type { ByteSource } from "../tensor/source.ts";
import { valueDigest } from "./digest.ts";
import { exactTokenizer } from "./tokenizer-parts.ts";

export interface Tokenizer {
  /** One more than the largest id. */
  readonly vocabulary: number;
  /** What begins a document: the begin-of-text token, where the settings or the file's own template add one. */
  readonly beginOfText: number | undefined;
  /**
   * What ends a document: the end-of-text token wherever the settings name one, also where they do not add it to a prompt (`add_eos_token`):
   * between documents it is what says that another begins. Else what the template adds behind a text.
   */
  readonly endOfText: number | undefined;
  /** Identity of the files it was read from. */
  readonly digest: string;
  /** Adds nothing; tokens that are written out in the text ("</s>") are recognized, as Python does. */
  encode(text: string): number[];
  decode(ids: readonly number[]): string;
}

export interface TokenizerSources {
  /** tokenizer.json */
  readonly tokenizer: ByteSource;
  /** tokenizer_config.json */
  readonly config?: ByteSource;
}

type Json = Readonly<Record<string, unknown>>;

const TOKENIZER = "tokenizer.json";
const CONFIG = "tokenizer_config.json";
/** Bytes. The largest in use has some 35 MB. */
const MAX_FILE = 2 ** 28;

/** The tokenizer among a checkpoint's files, by name. Throws "input" when there is none, with `where` as the place it was looked for. */
export async function tokenizerAmong(assets: ReadonlyMap<string, ByteSource>, where: string): Promise<Tokenizer> {
  const [tokenizer, config] = [assets.get(TOKENIZER), assets.get(CONFIG)];
  if (tokenizer === undefined) {
    throw new ExpandError("input", `has no ${TOKENIZER}, so text cannot be tokenized`, {
      at: where,
      fix: `Name a directory that has it with --tokenizer DIR.`,
    });
  }
  return openTokenizer(config === undefined ? { tokenizer } : { tokenizer, config });
}

/** Throws "damaged" for what is no tokenizer, "unsupported" for one that would not be computed exactly as its authors' library does. */
export async function openTokenizer({ tokenizer, config }: TokenizerSources): Promise<Tokenizer> {
  const file = await readJson(tokenizer);
  const settings = config === undefined ? {} : await readJson(config);
  const { Tokenizer: Library } = await import("@huggingface/tokenizers");
  const exact = exactTokenizer(file, tokenizer.name);
  const library = construct(tokenizer, () => new Library(exact, {}));
  const encode = (text: string): number[] =>
    encoded(tokenizer, () => library.encode(text, { add_special_tokens: false }).ids);
  const around = templateOf(file);
  const idOf = (name: string): number | undefined => library.token_to_id(name);
  const begin = named(settings, "bos_token", idOf);
  const adds = settings.add_bos_token;
  return {
    vocabulary: vocabularyOf(file),
    beginOfText: adds === true ? begin : adds === false ? undefined : around.before.map(idOf).at(0),
    endOfText: named(settings, "eos_token", idOf) ?? around.after.map(idOf).at(0),
    digest: valueDigest([file, settings]),
    encode,
    decode: (ids) => (ids.length === 0 ? "" : library.decode([...ids], { clean_up_tokenization_spaces: false })),
  };
}

async function readJson(source: ByteSource): Promise<Json> {
  if (source.size > MAX_FILE)
    throw new ExpandError("unsupported", `has ${source.size} bytes, more than ${MAX_FILE}`, { at: source.name });
  const data = await source.read(0, source.size);
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(data));
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Json;
  } catch (cause) {
    throw new ExpandError("damaged", "is not JSON", { at: source.name, fix: "Download the file again.", cause });
  }
  throw new ExpandError("damaged", "is not a JSON object", { at: source.name, fix: "Download the file again." });
}

/** The library throws bare errors for what it does not know. */
function construct<Made>(source: ByteSource, make: () => Made): Made {
  try {
    return make();
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new ExpandError("unsupported", `cannot be read: ${message}`, {
      at: source.name,
      fix: "Tokenize the text elsewhere.",
      cause,
    });
  }
}

function encoded(source: ByteSource, run: () => readonly (number | undefined)[]): number[] {
  const ids = construct(source, run);
  const known = ids.filter((id) => id !== undefined);
  if (known.length === ids.length) return known;
  throw new ExpandError("unsupported", "has no token for a part of the text, nor one for what is unknown", {
    at: source.name,
    fix: "Remove the characters that the model has no token for.",
  });
}

/** The id of a token that the settings name, as a string or with its properties. */
function named(settings: Json, key: string, idOf: (name: string) => number | undefined): number | undefined {
  const value = settings[key];
  const name = typeof value === "object" && value !== null ? (value as Json).content : value;
  return typeof name === "string" ? idOf(name) : undefined;
}

interface Around {
  readonly before: readonly string[];
  readonly after: readonly string[];
}

/** The tokens that the file's own post-processor puts around a text. */
function templateOf(file: Json): Around {
  const processors = flattened(file.post_processor);
  const before: string[] = [];
  const after: string[] = [];
  for (const { type, single, cls, sep } of processors) {
    if (type === "TemplateProcessing" && Array.isArray(single)) {
      const text = single.findIndex((item: Json) => item.Sequence !== undefined);
      for (const [at, item] of (single as readonly Json[]).entries()) {
        const id = (item.SpecialToken as Json | undefined)?.id;
        if (typeof id === "string") (at < text ? before : after).push(id);
      }
    }
    if (Array.isArray(cls) && typeof cls[0] === "string") before.push(cls[0]);
    if (Array.isArray(sep) && typeof sep[0] === "string") after.push(sep[0]);
  }
  return { before, after };
}

function flattened(processor: unknown): readonly Json[] {
  if (typeof processor !== "object" || processor === null) return [];
  const { type, processors } = processor as Json;
  return type === "Sequence" && Array.isArray(processors) ? processors.flatMap(flattened) : [processor as Json];
}

function vocabularyOf(file: Json): number {
  const vocab = (file.model as Json | undefined)?.vocab;
  let largest = -1;
  // An array's ids are its places.
  if (Array.isArray(vocab)) largest = vocab.length - 1;
  else
    for (const id of Object.values((vocab ?? {}) as Record<string, unknown>)) largest = Math.max(largest, Number(id));
  for (const { id } of (file.added_tokens ?? []) as readonly Json[]) largest = Math.max(largest, Number(id));
  return largest + 1;
}
