// The verb `evaluate`: models on corpora, and how each stands to the first. Writes nothing.
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import type { Tokenizer } from "../corpus/tokenizer.ts";
import { ExpandError } from "../errors.ts";
import { checkContext, measure, type Subject } from "../evaluation/measure.ts";
import { EVALUATION_SCHEMA, type EvaluatedModel, type EvaluationReport } from "../evaluation/report.ts";
import { type NamedCorpus, readText, type Text, type TextOptions } from "../evaluation/text.ts";
import type { Run, RunOptions } from "../events.ts";
import { parseMask } from "../expansion/mask.ts";
import { openCheckpoint } from "../formats/open.ts";
import type { Device } from "../runtime/protocol.ts";
import { openRuntime } from "../runtime/runtime.ts";
import { maskBeside } from "./mask.ts";
import { modelLimits } from "./model-limits.ts";
import { tokenizerOf } from "./tokenizer.ts";

export { htmlText } from "../evaluation/report/html.ts";
export { markdownText } from "../evaluation/report/markdown.ts";
export { terminalText } from "../evaluation/report/terminal.ts";
export { warningsOf } from "../evaluation/report/words.ts";
export type { EvaluatedModel, EvaluationReport, NamedCorpus };

const DEFAULT_TOKENS = 65_536;
/** Where the models allow it. */
const DEFAULT_CONTEXT = 512;

export interface EvaluateOptions extends RunOptions {
  /** Paths of checkpoints, or repositories of the Hub. */
  readonly models: readonly string[];
  readonly corpora: readonly NamedCorpus[];
  /** What the others are compared with; added in front where it is not among the models. Default: the first. */
  readonly base?: string;
  /** Of each corpus at most; a window is never cut. Default 65536. */
  readonly tokens?: number;
  /** Tokens of a window. Default 512, or as many as every model was made for. */
  readonly context?: number;
  /** Documents in a seeded order; absent: as they stand. */
  readonly seed?: number;
  /** A tokenizer.json for all models, or a directory that holds one. Default: each model's own. */
  readonly tokenizer?: string;
  /** Default "cpu". */
  readonly device?: Device;
  /** Which of several CUDA devices. Default: the first. */
  readonly deviceId?: number;
  /** Threads inside an operator. Default: the number of cores. */
  readonly threads?: number;
  /** For repositories of the Hub; otherwise the environment's. */
  readonly token?: string;
}

/** The report itself, for a file. */
export function jsonText(report: EvaluationReport): string {
  return `${JSON.stringify(report, null, 2)}\n`;
}

/** Throws "usage", "input" for what cannot be read, "unsupported" for what cannot be run, and "backend". */
export async function* evaluate(options: EvaluateOptions): Run<EvaluationReport> {
  const started = performance.now();
  const { device = "cpu", deviceId, tokens = DEFAULT_TOKENS, seed, threads, signal } = options;
  const { locations, base } = chosen(options);
  const runtime = await openRuntime({
    device,
    // As the proofs run models: an expansion that has not been trained then changes nothing at all.
    optimization: "basic",
    ...(deviceId === undefined ? {} : { deviceId }),
    ...(threads === undefined ? {} : { threads }),
    ...(signal === undefined ? {} : { signal }),
  });
  try {
    yield { kind: "phase", name: "read headers" };
    const checkpoints: Checkpoint[] = [];
    for (const location of locations) checkpoints.push(await openCheckpoint(location, options));
    const context = contextFor(checkpoints, options.context);
    yield { kind: "phase", name: "read corpora" };
    const subjects = await subjectsOf(checkpoints, base, options, { context, tokens });
    const corpora = options.corpora.map(({ name }) => name);
    const models = yield* measure(subjects, runtime, { corpora, base, ...(signal && { signal }) });
    return {
      schema: EVALUATION_SCHEMA,
      device,
      context,
      tokens,
      ...(seed === undefined ? {} : { seed }),
      corpora: options.corpora.map(({ name, sources }) => ({ name, files: sources.map((source) => source.path) })),
      models,
      seconds: (performance.now() - started) / 1000,
    };
  } finally {
    await runtime.close();
  }
}

function chosen({ models, corpora, base, tokens, context }: EvaluateOptions) {
  if (models.length === 0)
    throw new ExpandError("usage", "there is no model to evaluate", { fix: "Name one or more." });
  if (corpora.length === 0) {
    const fix = "Name one: --corpus general=FILE, a .txt, .jsonl or .parquet file or a directory of them.";
    throw new ExpandError("usage", "there is no corpus to evaluate on", { fix });
  }
  for (const [name, value] of Object.entries({ tokens, context })) {
    if (value === undefined || (Number.isSafeInteger(value) && value > 0)) continue;
    throw new ExpandError("usage", `${name} must be a whole number from 1 up, not ${value}`);
  }
  const locations = base === undefined || models.includes(base) ? models : [base, ...models];
  return { locations, base: base === undefined ? 0 : locations.indexOf(base) };
}

/** No more than every model was made for. Throws "usage" where more is asked for, before any model runs. */
function contextFor(checkpoints: readonly Checkpoint[], wished: number | undefined): number {
  const limits = checkpoints.map((each) => modelLimits(each).context);
  if (wished === undefined) return Math.min(DEFAULT_CONTEXT, ...limits.map((each) => each ?? DEFAULT_CONTEXT));
  for (const [at, limit] of limits.entries()) checkContext(limit, wished, checkpoints[at]?.location ?? "");
  return wished;
}

/** Models with the same tokenizer share one text, and only they are compared token by token; others read as far as the base does. */
async function subjectsOf(
  checkpoints: readonly Checkpoint[],
  base: number,
  { corpora, tokenizer: given, seed, signal }: EvaluateOptions,
  { context, tokens }: { readonly context: number; readonly tokens: number },
): Promise<readonly Subject[]> {
  const order = { context, ...(seed === undefined ? {} : { seed }), ...(signal && { signal }) };
  const tokenizers: Tokenizer[] = [];
  for (const checkpoint of checkpoints) tokenizers.push(await tokenizerOf(checkpoint, given));
  const texts = new Map<string, Text>();
  const textFor = async (own: Tokenizer | undefined, until: TextOptions["until"]): Promise<Text> => {
    if (own === undefined) throw new ExpandError("bug", "a model has no tokenizer");
    // What one of the models does not know is refused before any of them reads it.
    const shared = tokenizers.filter(({ digest }) => digest === own.digest);
    const narrowest = shared.reduce((least, each) => (each.vocabulary < least.vocabulary ? each : least));
    const text = texts.get(own.digest) ?? (await readText(narrowest, corpora, { ...order, until }));
    texts.set(own.digest, text);
    return text;
  };
  const { bytes } = await textFor(tokenizers[base], { tokens });
  const subjects: Subject[] = [];
  for (const [at, checkpoint] of checkpoints.entries()) {
    const text = await textFor(tokenizers[at], { bytes });
    subjects.push({ checkpoint, text, copies: await copiesOf(checkpoint) });
  }
  return subjects;
}

/** As the mask beside the checkpoint says. */
async function copiesOf(checkpoint: Checkpoint): Promise<readonly number[]> {
  const mask = maskBeside(checkpoint);
  return mask === undefined ? [] : parseMask(mask.name, await mask.read(0, mask.size)).blocks;
}
