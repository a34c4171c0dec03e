// Models on corpora: every model reads the same windows in the same order, one model after the other. Prints and writes nothing.
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { fingerprint } from "../checkpoint/fingerprint.ts";
import { IGNORED } from "../corpus/batch.ts";
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
import { differenceOf, exponential, meanOf, type Tally } from "./statistics.ts";
import type { Text } from "./text.ts";
import { countedIn, type Window } from "./window.ts";

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
  /** By window. */
  readonly tally: Tally;
  /** [positions, BEST]. */
  readonly best: Int32Array;
  readonly notFinite: readonly number[];
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
    const tally = { sums: new Float64Array(windows.length), counts: Int32Array.from(windows, countedIn) };
    const best = new Int32Array(total * BEST);
    const notFinite = corpora.map(() => 0);
    const norms = new Norms(corpora.length, runner.blocks);
    const step = runner.together(length);
    for (let from = 0; from < windows.length; from += step) {
      const some = windows.slice(from, from + step);
      const reading = yield* withProgress(runner.read(some, norms), from * length, some.length * length, total);
      best.set(reading.best, from * length * BEST);
      add(reading, some, tally.sums.subarray(from), notFinite);
    }
    return { blocks: runner.blocks, tally, best, notFinite, norms };
  } finally {
    await runner.close();
  }
}

async function openRunner(checkpoint: Checkpoint, runtime: Runtime, signal: AbortSignal | undefined): Promise<Runner> {
  if (checkpoint.graph === undefined) return new StagedRunner(checkpoint, runtime, signal);
  const { WholeRunner } = await import("./whole.ts");
  return WholeRunner.open(checkpoint, runtime, signal);
}

function checkWindows({ vocabulary, context }: Runner, windows: readonly Window[], at: string): void {
  const length = windows[0]?.ids.length ?? 0;
  if (context !== undefined && length > context) {
    const fix = `Use --context ${context} or less.`;
    throw new ExpandError("usage", `was made for ${context} tokens, and windows have ${length}`, { at, fix });
  }
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

/** Sums of losses by window, and what is not finite by corpus. */
function add(reading: Reading, windows: readonly Window[], sums: Float64Array, notFinite: number[]): void {
  let position = 0;
  for (const [at, { corpus, labels }] of windows.entries()) {
    for (const label of labels) {
      const loss = label === IGNORED ? 0 : reading.loss(position);
      if (!Number.isFinite(loss)) notFinite[corpus] = (notFinite[corpus] ?? 0) + 1;
      sums[at] = (sums[at] ?? 0) + loss;
      position++;
    }
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
  const mine = tallyOf(own.tally, text, corpus);
  const mean = meanOf(mine);
  const tokens = mine.counts.reduce((sum, each) => sum + each, 0);
  const bitsOf = (loss: number, count: number, bytes: number): number => (loss * count) / Math.LN2 / bytes;
  const bytes = text.bytes[corpus] ?? 0;
  const bitsPerByte = bitsOf(mean.mean, tokens, bytes);
  const norms = own.norms.of(corpus);
  return {
    corpus: name,
    tokens,
    bytes,
    windows: mine.counts.length,
    loss: mean.mean,
    ...(mean.error === undefined ? {} : { error: mean.error }),
    perplexity: exponential(mean),
    bitsPerByte,
    notFinite: own.notFinite[corpus] ?? 0,
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
  const other = tallyOf(theirs.tally, subject.text, corpus);
  if (subject.text !== text) {
    const nats = other.sums.reduce((sum, each) => sum + each, 0);
    return { bitsChange: bitsPerByte / (nats / Math.LN2 / (subject.text.bytes[corpus] ?? 0)) - 1 };
  }
  const shift = shiftOf(text.windows, corpus, own.best, theirs.best);
  const change = exponential(differenceOf(tallyOf(own.tally, text, corpus), other), 1);
  return { change, ...(shift === undefined ? {} : { shift }) };
}

/** The windows of one corpus. */
function tallyOf({ sums, counts }: Tally, { windows }: Text, corpus: number): Tally {
  const isMine = (_: number, at: number): boolean => windows[at]?.corpus === corpus;
  return { sums: sums.filter(isMine), counts: counts.filter(isMine) };
}
