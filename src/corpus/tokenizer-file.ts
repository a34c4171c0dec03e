// What a tokenizer's files say beside how text is cut into words: which tokens there are, and what stands around a text. Encodes nothing.
import { ExpandError, quote } from "../errors.ts";
import type { ByteSource } from "../tensor/source.ts";
import { readScore, spelledNumbers } from "./scores.ts";
import { Unigram } from "./unigram.ts";

type Json = Readonly<Record<string, unknown>>;

export interface TokenizerFile {
  readonly json: Json;
  readonly text: string;
}

/** Bytes. The largest in use has some 35 MB. */
const MAX_FILE = 2 ** 28;
/** Ids are 32 bits wide where they are kept. */
const MAX_ID = 2 ** 31;
const FIX = "Download the file again.";

/** Throws "damaged" for what is not a JSON object. */
export async function parseTokenizerFile(source: ByteSource): Promise<TokenizerFile> {
  if (source.size > MAX_FILE)
    throw new ExpandError("unsupported", `has ${source.size} bytes, more than ${MAX_FILE}`, {
      at: source.name,
      fix: "Give the model's tokenizer.json.",
    });
  const data = await source.read(0, source.size);
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(data);
    const json: unknown = JSON.parse(text);
    if (typeof json === "object" && json !== null && !Array.isArray(json)) return { json: json as Json, text };
  } catch (cause) {
    throw new ExpandError("damaged", "is not JSON", { at: source.name, fix: FIX, cause });
  }
  throw new ExpandError("damaged", "is not a JSON object", { at: source.name, fix: FIX });
}

/** Throws "damaged" for other JSON, such as a model's config.json. */
export function checkTokenizerFile({ model }: Json, at: string): void {
  const vocab = typeof model === "object" && model !== null ? (model as Json).vocab : undefined;
  if (typeof vocab === "object" && vocab !== null) return;
  const fix = "Give the model's tokenizer.json, or download it again.";
  throw new ExpandError("damaged", "is no tokenizer: it has no model with a vocabulary", { at, fix });
}

/** Of a vocabulary with scores, which no other model has. */
export function unigramOf({ json, text }: TokenizerFile): Unigram | undefined {
  const { vocab, unk_id, byte_fallback } = json.model as Json;
  if (!Array.isArray(vocab)) return undefined;
  const spelled = spelledNumbers(text) as {
    readonly model: { readonly vocab: readonly (readonly [string, string])[] };
  };
  const pieces = spelled.model.vocab.map(([piece, score]) => [piece, readScore(score)] as const);
  return new Unigram(pieces, typeof unk_id === "number" ? unk_id : undefined, byte_fallback === true);
}

/** What the library looks for outside of the file, where a model has whole words only. */
export function unknownOf({ model }: Json): Json {
  const { unk_token } = model as Json;
  return unk_token === undefined ? {} : { unk_token };
}

/** One more than the largest id: of the model's own tokens, and of all. Throws "damaged" for an id that is no number. */
export function vocabulariesOf(
  { model, added_tokens }: Json,
  at: string,
): { readonly own: number; readonly all: number } {
  const { vocab } = model as Json;
  // An array's ids are its places.
  const own = Array.isArray(vocab) ? vocab.length : above(Object.entries((vocab ?? {}) as Json), at);
  const added = ((added_tokens ?? []) as readonly Json[]).map(({ content, id }) => [String(content), id] as const);
  return { own, all: Math.max(own, above(added, at)) };
}

function above(tokens: readonly (readonly [token: string, id: unknown])[], at: string): number {
  let most = 0;
  for (const [token, id] of tokens) {
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= MAX_ID)
      throw new ExpandError("damaged", `token ${quote(token)} has the id ${JSON.stringify(id)}, not a whole number`, {
        at,
        fix: FIX,
      });
    most = Math.max(most, id + 1);
  }
  return most;
}

interface Marks {
  readonly beginOfText: number | undefined;
  readonly endOfText: number | undefined;
}

/** What stands around a text, by the settings, else by the file's own template. */
export function marksOf(file: Json, settings: Json, idOf: (name: string) => number | undefined): Marks {
  const around = templateOf(file);
  const begin = named(settings, "bos_token", idOf);
  const adds = settings.add_bos_token;
  return {
    beginOfText: adds === true ? begin : adds === false ? undefined : around.before.map(idOf).at(0),
    endOfText: named(settings, "eos_token", idOf) ?? around.after.map(idOf).at(0),
  };
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
