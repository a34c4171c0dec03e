// Models on corpora: every model reads the same windows in the same order, one model after the other. Prints and writes nothing.
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { fingerprint } from "../checkpoint/fingerprint.ts";
import { ExpandError } from "../errors.ts";
import type { Run, RunEvent } from "../events.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { elementCount } from "../tensor/dtype.ts";
import { Norms } from "./norms.ts";
import { BEST, type Reading } from "./reading.ts";
import type { CorpusResult, EvaluatedModel } from "./report.ts";
import type { Runner } from "./runner.ts";
import { shiftOf } from "./shift.ts";
import { StagedRunner } from "./staged.ts";
import { differenceOf, exponential, Losses, meanOf } from "./statistics.ts";
import type { Text } from "./text.ts";
import type { Window } from "./window.ts";

/** A model to be evaluated. */
export interface Subject {
  readonly checkpoint: Checkpoint;
  /** By its own tokenizer. */
  readonly text: Text;
  /** Blocks that are copies, where that is known. */
  readonly copies?: readonly number[];
}

export interface MeasureOptions {
  /** Names of the corpora, by number. */
  readonly corpora: readonly string[];
  /** Number of the model that the others are compared with. */
  readonly base: number;
  readonly signal?: AbortSignal;
}

/** In the order of `subjects`. Throws "unsupported" for a model that cannot be run, "usage" for windows that it cannot read. */
export async function* measure(
  subjects: readonly Subject[],
  runtime: Runtime,
  options: MeasureOptions,
): Run<readonly EvaluatedModel[]> {
  const models: EvaluatedModel[] = [];
  const base = subjects[options.base];
  if (base === undefined) throw new ExpandError("usage", "there is no model to compare with");
  const known = yield* measured(base, runtime, options);
  for (const [at, subject] of subjects.entries()) {
    const own = at === options.base ? known : yield* measured(subject, runtime, options);
    models.push(described(subject, own, options, at === options.base ? undefined : { subject: base, measured: known }));
  }
  return models;
}

/** What one model said, over all windows of its text. */
interface Measured {
  readonly blocks: number;
  /** By corpus. */
  readonly losses: readonly Losses[];
  /** [positions, BEST]. */
  readonly best: Int32Array;
  readonly norms: Norms;
}

async function* measured(
  { checkpoint, text: { windows } }: Subject,
  runtime: Runtime,
  { corpora, signal }: MeasureOptions,
): AsyncGenerator<RunEvent, Measured, void> {
  yield { kind: "phase", name: `read with ${checkpoint.location}` };
  const runner = await openRunner(checkpoint, runtime, signal);
  try {
    checkWindows(runner, windows, checkpoint.location);
    const length = windows[0]?.ids.length ?? 0;
    const total = windows.length * length;
    const losses = corpora.map((_, corpus) => new Losses(windows.filter((window) => window.corpus === corpus)));
    const best = new Int32Array(total * BEST);
    const norms = new Norms(corpora.length, runner.blocks);
    const step = runner.together(length);
    for (let from = 0; from < windows.length; from += step) {
      const some = windows.slice(from, from + step);
      const reading = yield* withProgress(runner.read(some, norms), from * length, some.length * length, total);
      best.set(reading.best, from * length * BEST);
      for (const [at, window] of some.entries()) {
        losses[window.corpus]?.add(window, (position) => reading.loss(at * length + position));
      }
    }
    return { blocks: runner.blocks, losses, best, norms };
  } finally {
    await runner.close();
  }
}

async function openRunner(checkpoint: Checkpoint, runtime: Runtime, signal: AbortSignal | undefined): Promise<Runner> {
  if (checkpoint.graph === undefined) return new StagedRunner(checkpoint, runtime, signal);
  const { WholeRunner } = await import("./whole.ts");
  return WholeRunner.open(checkpoint, runtime, signal);
}

/** Throws "usage" for windows of more tokens than a model was made for; undefined where nothing says it. */
export function checkContext(context: number | undefined, length: number, at: string): void {
  if (context === undefined || length <= context) return;
  const fix = `Use --context ${context} or less.`;
  throw new ExpandError("usage", `was made for ${context} tokens, and windows have ${length}`, { at, fix });
}

function checkWindows({ vocabulary, context }: Runner, windows: readonly Window[], at: string): void {
  checkContext(context, windows[0]?.ids.length ?? 0, at);
  for (const { ids, labels } of windows) {
    const wrong = ids.find((id) => id >= vocabulary) ?? labels.find((id) => id >= vocabulary);
    if (wrong === undefined) continue;
    const fix = "Give the model's own tokenizer with --tokenizer.";
    throw new ExpandError("usage", `has token ids 0 to ${vocabulary - 1}, and its tokenizer gives ${wrong}`, {
      at,
      fix,
    });
  }
}

async function* withProgress(
  reading: ReturnType<Runner["read"]>,
  before: number,
  tokens: number,
  total: number,
): AsyncGenerator<RunEvent, Reading, void> {
  for (;;) {
    const next = await reading.next();
    if (next.done) return next.value;
    yield { kind: "tokens", done: Math.round(before + next.value * tokens), total };
  }
}

interface Base {
  readonly subject: Subject;
  readonly measured: Measured;
}

function described(
  subject: Subject,
  own: Measured,
  { corpora }: MeasureOptions,
  base: Base | undefined,
): EvaluatedModel {
  const { checkpoint, text, copies = [] } = subject;
  const { format, headers } = fingerprint(checkpoint);
  let parameters = 0;
  for (const { shape } of checkpoint.tensors.values()) parameters += elementCount(shape) ?? 0;
  return {
    location: checkpoint.location,
    format,
    headers,
    parameters,
    blocks: own.blocks,
    copies,
    base: base === undefined,
    tokenizer: text.tokenizer,
    results: corpora.map((name, corpus) => resultOf(name, corpus, text, own, base)),
  };
}

function resultOf(name: string, corpus: number, text: Text, own: Measured, base: Base | undefined): CorpusResult {
  const losses = lossesOf(own, corpus);
  const mean = meanOf(losses);
  const tokens = losses.counts.reduce((sum, each) => sum + each, 0);
  const bytes = text.bytes[corpus] ?? 0;
  const bitsPerByte = bitsOf(losses) / bytes;
  const norms = own.norms.of(corpus);
  return {
    corpus: name,
    tokens,
    bytes,
    documents: losses.documents,
    windows: losses.windows,
    unit: losses.unit,
    loss: mean.mean,
    ...(mean.error === undefined ? {} : { error: mean.error }),
    perplexity: exponential(mean),
    bitsPerByte,
    notFinite: losses.notFinite,
    ...(base === undefined ? {} : comparedWith(base, corpus, text, own, bitsPerByte)),
    ...(norms === undefined ? {} : { norms }),
  };
}

function comparedWith(
  { subject, measured: theirs }: Base,
  corpus: number,
  text: Text,
  own: Measured,
  bitsPerByte: number,
): Pick<CorpusResult, "change" | "bitsChange" | "shift"> {
  const other = lossesOf(theirs, corpus);
  if (subject.text !== text) {
    return { bitsChange: bitsPerByte / (bitsOf(other) / (subject.text.bytes[corpus] ?? 0)) - 1 };
  }
  const shift = shiftOf(text.windows, corpus, own.best, theirs.best);
  const change = exponential(differenceOf(lossesOf(own, corpus), other), 1);
  return { change, ...(shift === undefined ? {} : { shift }) };
}

function lossesOf({ losses }: Measured, corpus: number): Losses {
  return losses[corpus] ?? new Losses([]);
}

/** Of all tokens. */
function bitsOf({ sums }: Losses): number {
  return sums.reduce((sum, each) => sum + each, 0) / Math.LN2;
}
