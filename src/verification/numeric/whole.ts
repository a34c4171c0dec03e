// Compares two ONNX models by running them: as they are, and once more as their twins, block by block. Weights stay mapped in their files;
// one session is open at a time.
import path from "node:path";
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { ExpandError } from "../../errors.ts";
import type { Run, RunEvent } from "../../events.ts";
import type { Runtime, Session } from "../../runtime/runtime.ts";
import type { Value, Values } from "../../runtime/values.ts";
import { decodeTensor } from "../../tensor/decode.ts";
import { memorySource } from "../../tensor/source.ts";
import { type Sitting, sittingsFor } from "./inputs.ts";
import { judge } from "./judge.ts";
import { compare, Lockstep, type Walk } from "./lockstep.ts";
import { type Measure, NOTHING, together } from "./measure.ts";
import type { Wishes } from "./options.ts";
import { type NumbersOutcome, outcomeOf } from "./outcome.ts";
import { checkTokens, unlike } from "./streamed.ts";
import { type Twin, twinOf } from "./twin.ts";
import type { State, Walker } from "./walker.ts";
import { feedsFor, vocabularyOf } from "./whole-inputs.ts";

/** Outputs that are numbered by block: AFTER has more of them, under other numbers. */
const CACHE = /present|past|cache|conv_state|recurrent/;

type Outputs = ReadonlyMap<string, State>;

/** Throws "unsupported" when onnxruntime refuses a model or nothing says how to feed it. */
export async function* compareWhole(
  before: Checkpoint,
  after: Checkpoint,
  runtime: Runtime,
  wishes: Wishes,
): Run<NumbersOutcome> {
  const vocabulary = vocabularyOf(before);
  if (vocabulary !== vocabularyOf(after)) throw unlike("vocabulary", vocabulary, vocabularyOf(after));
  checkTokens(wishes, vocabulary);
  const sittings = sittingsFor([{ vocabulary, context: 0, blocks: [] }], wishes);
  const run = { runtime, sittings, wishes };
  yield { kind: "phase", name: "run BEFORE" };
  const expected = await runWhole(before, run);
  yield { kind: "phase", name: "run AFTER" };
  const logits = compareOutputs(await runWhole(after, run), expected);
  expected.clear();
  const looked = yield* compareTwins(before, after, run);
  const findings = judge({ ...looked, logits, tolerance: wishes.tolerance, stateTolerance: 0 });
  const walk = looked.walk === undefined ? {} : { walk: looked.walk };
  return { findings, numeric: outcomeOf({ runtime, method: "whole", wishes, logits, ...walk }) };
}

interface WholeRun {
  readonly runtime: Runtime;
  readonly sittings: readonly Sitting[];
  readonly wishes: Wishes;
}

interface Looked {
  readonly embedding?: Measure;
  readonly walk?: Walk;
}

/** Every block's state, from models in which no rounding is fused away: equality is asked for. */
async function* compareTwins(
  before: Checkpoint,
  after: Checkpoint,
  run: WholeRun,
): AsyncGenerator<RunEvent, Looked, void> {
  const twins = [twinFor(before), twinFor(after)] as const;
  for (const [at, twin] of twins.entries()) {
    if (!("reason" in twin)) continue;
    const name = at === 0 ? "BEFORE" : "AFTER";
    yield { kind: "note", level: "info", text: `blocks of ${name} are not looked at one by one: ${twin.reason}` };
    return {};
  }
  const [was, is] = twins;
  if ("reason" in was || "reason" in is) return {};
  yield { kind: "phase", name: "run blocks of BEFORE" };
  const start = await runTwin("BEFORE", before, was, run);
  yield { kind: "phase", name: "run blocks of AFTER" };
  const entered = await runTwin("AFTER", after, is, run);
  const [enteredState, startState] = [await entered.enter(), await start.enter()];
  const walk = yield* new Lockstep(start, entered, 0, startState).run(enteredState);
  return { embedding: compare(enteredState, startState), walk };
}

/** Every output that is no cache, by name. */
async function runWhole(checkpoint: Checkpoint, { runtime, sittings, wishes }: WholeRun): Promise<Map<string, State>> {
  const file = modelFile(checkpoint);
  const session = await runtime.open(file, { name: checkpoint.location });
  try {
    const wanted = session.outputs.map(({ name }) => name).filter((name) => !CACHE.test(name));
    return await runAll(session, wanted.length > 0 ? wanted : undefined, sittings, wishes.seed);
  } finally {
    await session.close();
  }
}

async function runTwin(name: Walker["name"], checkpoint: Checkpoint, twin: Twin, run: WholeRun): Promise<Walker> {
  const folder = path.dirname(modelFile(checkpoint));
  const session = await run.runtime.open(twin.model, { folder, name: checkpoint.location });
  try {
    const outputs = await runAll(session, twin.borders, run.sittings, run.wishes.seed);
    const stateAt = async (at: number): Promise<State> => outputs.get(twin.borders[at] ?? "") ?? [];
    return {
      name,
      blocks: twin.borders.length - 1,
      enter: () => stateAt(0),
      advance: (at) => stateAt(at + 1),
      cost: () => 1,
      logits: async () => [],
    };
  } finally {
    await session.close();
  }
}

async function runAll(
  session: Session,
  wanted: readonly string[] | undefined,
  sittings: readonly Sitting[],
  seed: number,
): Promise<Map<string, State>> {
  const outputs = new Map<string, Float32Array[]>();
  for (const sitting of sittings) {
    const values: Values = await session.run(feedsFor(session.inputs, sitting, seed), wanted);
    for (const [name, value] of Object.entries(values)) {
      outputs.set(name, [...(outputs.get(name) ?? []), await asFloats(name, value)]);
    }
  }
  return outputs;
}

function compareOutputs(found: Outputs, expected: Outputs): Measure {
  let sum = NOTHING;
  for (const [name, state] of expected) {
    const other = found.get(name);
    if (other === undefined) {
      throw new ExpandError("unsupported", `BEFORE has the output ${name}, AFTER has not`, {
        fix: "Export AFTER anew.",
      });
    }
    for (const [at, values] of state.entries()) {
      if (values.length !== other[at]?.length) throw unlike(`values in ${name}`, values.length, other[at]?.length ?? 0);
    }
    sum = together(sum, compare(other, state));
  }
  return sum;
}

function twinFor({ graph }: Checkpoint): ReturnType<typeof twinOf> {
  return graph === undefined ? { reason: "it brings no graph" } : twinOf(graph);
}

function modelFile({ shards, location }: Checkpoint): string {
  const file = shards[0]?.source.path;
  if (file !== undefined) return file;
  throw new ExpandError("unsupported", "is not a local file; onnxruntime opens no other", {
    at: location,
    fix: "Download the model first.",
  });
}

async function asFloats(name: string, { dtype, shape, data }: Value): Promise<Float32Array> {
  if (data instanceof Float32Array) return data;
  if (dtype !== "float16") return Float32Array.from(data as ArrayLike<number | bigint>, Number);
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const source = memorySource(name, bytes);
  return decodeTensor({ kind: "stored", dtype: "F16", shape, bytes: bytes.length, source, offset: 0 });
}
