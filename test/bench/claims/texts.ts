// The texts of the claims: stories that the source model tells, a licence as prose, and JavaScript as the domain, all the same on every run.
import fs from "node:fs";
import path from "node:path";
import { tokenizerOf } from "../../../src/commands/tokenizer.ts";
import { type Corpus, openCorpus } from "../../../src/corpus/corpus.ts";
import type { Tokenizer } from "../../../src/corpus/tokenizer.ts";
import { buildDecoder } from "../../../src/decoder/build.ts";
import { readSpec } from "../../../src/decoder/read.ts";
import { openCheckpoint } from "../../../src/formats/open.ts";
import { openRuntime, type Session } from "../../../src/runtime/runtime.ts";
import { generator } from "../../../src/verification/numeric/inputs.ts";
import { emptyCache, ints, materialise, nextCache } from "../../decoder/forward.ts";

const ROOT = path.resolve(import.meta.dirname, "../../..");
/** The TypeScript compiler, 6 MB of JavaScript, in the version that package-lock.json pins. */
const JAVASCRIPT = path.join(ROOT, "node_modules/typescript/lib/_tsc.js");
/** Bytes [from, to) of it. */
const TRAIN = [1_000_000, 2_000_000] as const;
const TEST = [4_000_000, 4_016_000] as const;
const STORIES = { count: 32, tokens: 256, seed: 0 };

export interface Texts {
  readonly tokenizer: Tokenizer;
  /** What is trained on. */
  readonly train: string;
  /** What is measured on, by name: "stories" (general), "prose" and "code" (the domain). */
  readonly measured: Readonly<Record<"stories" | "prose" | "code", string>>;
}

export async function writeTexts(source: string, folder: string): Promise<Texts> {
  fs.mkdirSync(folder, { recursive: true });
  const tokenizer = await tokenizerOf(await openCheckpoint(source), undefined);
  const code = fs.readFileSync(JAVASCRIPT);
  const write = (name: string, text: string | Uint8Array): string => {
    fs.writeFileSync(path.join(folder, name), text);
    return path.join(folder, name);
  };
  const stories = (await tell(source, tokenizer, path.join(folder, "teller"))).map((text) => JSON.stringify({ text }));
  return {
    tokenizer,
    train: write("train.txt", code.subarray(...TRAIN)),
    measured: {
      stories: write("stories.jsonl", `${stories.join("\n")}\n`),
      prose: write("prose.txt", fs.readFileSync(path.join(ROOT, "LICENSE"))),
      code: write("test.txt", code.subarray(...TEST)),
    },
  };
}

export interface Rows {
  readonly batch: number;
  readonly context: number;
}

/** What is trained on, in an order by the seed, without end. */
export function openTraining({ tokenizer, train }: Texts, rows: Rows, seed: number): Promise<Corpus> {
  return openCorpus([{ path: train }], { tokenizer, ...rows, seed, shuffle: true, repeat: true });
}

/** Sampled at temperature 1 from the begin-of-text token on, all at once; a story ends with its end-of-text token. */
async function tell(source: string, tokenizer: Tokenizer, folder: string): Promise<readonly string[]> {
  const spec = readSpec(await openCheckpoint(source));
  const runtime = await openRuntime({ device: "cpu" });
  const session = await runtime.open(await materialise(buildDecoder(spec), folder));
  const random = generator(STORIES.seed);
  const told = Array.from({ length: STORIES.count }, () => [tokenizer.beginOfText ?? 0]);
  let cache = emptyCache(spec, STORIES.count);
  for (let at = 0; at < STORIES.tokens; at++) {
    const outputs = await session.run(feeds(told, at, cache));
    const logits = outputs.logits?.data as Float32Array;
    for (const [row, ids] of told.entries()) {
      const own = logits.subarray(row * spec.vocabulary, (row + 1) * spec.vocabulary);
      ids.push(draw(own, random()));
    }
    cache = nextCache(outputs);
  }
  await runtime.close();
  return told.map((ids) => {
    const end = ids.indexOf(tokenizer.endOfText ?? -1);
    return tokenizer.decode(ids.slice(1, end < 0 ? undefined : end));
  });
}

function feeds(told: readonly (readonly number[])[], at: number, cache: object): Parameters<Session["run"]>[0] {
  return {
    input_ids: ints(told.map((ids) => [ids[at] ?? 0])),
    attention_mask: ints(told.map(() => Array.from({ length: at + 1 }, () => 1))),
    position_ids: ints(told.map(() => [at])),
    ...cache,
  };
}

/** The token at `share` of the cumulated probabilities. */
function draw(logits: Float32Array, share: number): number {
  const most = logits.reduce((max, each) => Math.max(max, each), Number.NEGATIVE_INFINITY);
  const weights = Float64Array.from(logits, (each) => Math.exp(each - most));
  let left = share * weights.reduce((sum, each) => sum + each, 0);
  for (const [id, weight] of weights.entries()) {
    left -= weight;
    if (left < 0) return id;
  }
  return weights.length - 1;
}
