// Compares a checkpoint with an ONNX model: the one block by block, the other whole, on the same tokens. Equality is not to be had, since
// the operations are others: a tolerance is.
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { ExpandError } from "../../errors.ts";
import type { Run } from "../../events.ts";
import type { Runtime } from "../../runtime/runtime.ts";
import { Forward, sideOf, vocabularyRuns } from "./forward.ts";
import { type Sitting, sittingsFor } from "./inputs.ts";
import { judge } from "./judge.ts";
import type { Wishes } from "./options.ts";
import { type NumbersOutcome, outcomeOf } from "./outcome.ts";
import { checkTokens, compareLogits, compareWalkers, unlike } from "./streamed.ts";
import type { State, Walker } from "./walker.ts";
import { runTwin, runWhole, twinFor, type WholeRun } from "./whole-run.ts";
import { beyondText, pastWindows } from "./windows.ts";

/** Throws "unsupported" when either side cannot be run. */
export async function* compareMixed(
  before: Checkpoint,
  after: Checkpoint,
  runtime: Runtime,
  wishes: Wishes,
): Run<NumbersOutcome> {
  const wholeFirst = before.graph !== undefined;
  const [whole, stored] = wholeFirst ? [before, after] : [after, before];
  const side = sideOf(wholeFirst ? "AFTER" : "BEFORE", stored);
  const { vocabulary } = side.spec;
  checkTokens(wishes, vocabulary);
  const attentions = side.spec.blocks.map(({ attention }) => attention);
  const windows = [...new Set(attentions.flatMap(({ window }) => window ?? []))];
  const heads = Math.max(1, ...attentions.map((each) => each.heads));
  const { wishes: raised, beyond } = pastWindows(wishes, windows, { vocabulary, heads });
  if (beyond.length > 0) yield { kind: "note", level: "warning", text: beyondText(beyond, raised.tokens) };
  // Positions that jump are no sequence that a whole model can be given.
  const sittings = sittingsFor([{ vocabulary, context: 0, blocks: [] }], raised);
  yield { kind: "phase", name: `run ${wholeFirst ? "BEFORE" : "AFTER"}` };
  const run = { runtime, sittings, wishes: raised };
  const graph = await graphWalker(whole, wholeFirst ? "BEFORE" : "AFTER", run, vocabulary);
  const forward = new Forward(runtime, [side], sittings, wishes.signal);
  try {
    const blocks = forward.walker(side);
    const runs = [...vocabularyRuns(side)];
    if ("reason" in graph) {
      yield { kind: "note", level: "info", text: `blocks are not looked at one by one: ${graph.reason}` };
      return yield* compareEnds(blocks, graph, runs, run);
    }
    const [was, is] = wholeFirst ? [graph, blocks] : [blocks, graph];
    return yield* compareWalkers(was, is, runs, runtime, raised);
  } finally {
    await forward.close();
  }
}

/** Its logits, recorded; and its blocks as far as they can be looked at. */
async function graphWalker(checkpoint: Checkpoint, name: Walker["name"], run: WholeRun, vocabulary: number) {
  const logits = (await runWhole(checkpoint, run)).get("logits");
  if (logits === undefined) throw new ExpandError("unsupported", `${name} has no output called logits`);
  const tokens = run.sittings.reduce((sum, each) => sum + each.batch * each.length, 0);
  const width = logits.reduce((sum, each) => sum + each.length, 0) / tokens;
  if (width !== vocabulary) throw unlike("vocabulary", width, vocabulary);
  const recorded = async (_state: State, from: number, to: number): Promise<State> =>
    columns(logits, run.sittings, width, from, to);
  const twin = twinFor(checkpoint);
  if ("reason" in twin) return { reason: twin.reason, logits: recorded };
  return { ...(await runTwin(name, checkpoint, twin, run)), logits: recorded };
}

/** Where the blocks of a graph cannot be told apart, only what comes out in the end is compared. */
async function* compareEnds(
  blocks: Walker,
  graph: Pick<Walker, "logits">,
  runs: readonly (readonly [from: number, to: number])[],
  { runtime, wishes }: WholeRun,
): Run<NumbersOutcome> {
  yield { kind: "phase", name: "run blocks" };
  let state = await blocks.enter();
  for (let at = 0; at < blocks.blocks; at++) {
    yield { kind: "bytes", done: at, total: blocks.blocks };
    state = await blocks.advance(at, state);
  }
  const [before, after] = blocks.name === "BEFORE" ? [blocks, graph] : [graph, blocks];
  const logits = yield* compareLogits(before, after, { before: state, after: state }, runs);
  const findings = judge({ logits, tolerance: wishes.tolerance });
  return { findings, numeric: outcomeOf({ runtime, method: "whole", wishes, logits }) };
}

/** Columns [from, to) of logits [batch * length, width]. */
function columns(logits: State, sittings: readonly Sitting[], width: number, from: number, to: number): State {
  return logits.map((values, index) => {
    const rows = (sittings[index]?.batch ?? 0) * (sittings[index]?.length ?? 0);
    const part = new Float32Array(rows * (to - from));
    for (let row = 0; row < rows; row++) {
      part.set(values.subarray(row * width + from, row * width + to), row * (to - from));
    }
    return part;
  });
}
