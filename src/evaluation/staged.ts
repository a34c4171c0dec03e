// Reads windows with a checkpoint, stage by stage: the weights of one block are in memory, and logits only for some rows of the head at a time.
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import type { Stage } from "../decoder/stage.ts";
import { ExpandError } from "../errors.ts";
import { decodeModel } from "../graph/onnx.ts";
import type { Runtime, Session } from "../runtime/runtime.ts";
import type { TensorRef } from "../tensor/reference.ts";
import { Arena, type Part } from "../verification/numeric/arena.ts";
import { Forward, type Side, sideOf } from "../verification/numeric/forward.ts";
import type { Sitting } from "../verification/numeric/inputs.ts";
import type { State, Walker } from "../verification/numeric/walker.ts";
import type { Norms } from "./norms.ts";
import { Reading } from "./reading.ts";
import { readWith, withReading } from "./reading-graph.ts";
import type { Runner } from "./runner.ts";
import type { Window } from "./window.ts";

/** Tokens that one run of a stage takes: enough to fill the matrix products, few enough for their intermediate values. */
const SITTING_TOKENS = 1024;
/** f32 values of the residual stream that are kept at a time: 64 MB, twice while a block runs. */
const STATE_VALUES = 1 << 24;
/** f32 values of the head's matrix that are decoded at a time: 64 MB. */
const HEAD_VALUES = 1 << 24;
/** Logits of one run: 32 MB, and a few times that while they are taken down. */
const LOGIT_VALUES = 1 << 23;

/** Windows of one corpus that run together. */
interface Sat {
  readonly sitting: Sitting;
  readonly corpus: number;
  readonly labels: Int32Array;
}

export class StagedRunner implements Runner {
  readonly #runtime: Runtime;
  readonly #side: Side;
  readonly #head: Stage;
  readonly #headArena: Arena;
  readonly #forward: Forward;
  readonly #walker: Walker;
  /** What `#forward` runs on: it looks into this list at every stage. */
  readonly #sittings: Sitting[] = [];
  #session: Session | undefined;

  /** Throws "unsupported" when the model's computation is not known. */
  constructor(checkpoint: Checkpoint, runtime: Runtime, signal: AbortSignal | undefined) {
    this.#runtime = runtime;
    this.#side = sideOf(checkpoint.location, checkpoint);
    const head = this.#side.stages.find(({ kind }) => kind === "head");
    if (head?.rows === undefined) throw new ExpandError("bug", "has no head", { at: checkpoint.location });
    this.#head = head;
    // The head is read here, with logits taken down where they arise.
    const body = { ...this.#side, stages: this.#side.stages.filter(({ kind }) => kind !== "head") };
    this.#forward = new Forward(runtime, [body], this.#sittings, signal);
    this.#walker = this.#forward.walker(body);
    this.#headArena = new Arena(runtime, 0, signal);
  }

  get blocks(): number {
    return this.#side.spec.blocks.length;
  }

  get vocabulary(): number {
    return this.#side.spec.vocabulary;
  }

  get context(): number | undefined {
    return this.#side.spec.context;
  }

  together(length: number): number {
    const batch = Math.max(1, Math.floor(SITTING_TOKENS / length));
    return batch * Math.max(1, Math.floor(STATE_VALUES / (this.#side.spec.hidden * length * batch)));
  }

  async *read(windows: readonly Window[], norms: Norms): AsyncGenerator<number, Reading, void> {
    const sat = [...seated(windows)];
    this.#sittings.splice(0, this.#sittings.length, ...sat.map(({ sitting }) => sitting));
    const work = new Work(this.#walker, this.#head);
    let state = await this.#walker.enter();
    for (const [index, { corpus, labels }] of sat.entries()) {
      norms.enter(corpus, state[index] ?? new Float32Array(), labels.length);
    }
    for (let at = 0; at < this.blocks; at++) {
      const next = await this.#walker.advance(at, state);
      for (const [index, { corpus }] of sat.entries()) {
        norms.block(corpus, at, state[index] ?? new Float32Array(), next[index] ?? new Float32Array());
      }
      state = next;
      yield work.after(this.#walker.cost(at));
    }
    const reading = new Reading(windows);
    for (const [from, to] of rowRuns(tableOf(this.#head), sat[0])) {
      await this.#readRows(sat, state, [from, to], reading);
      yield work.after((to - from) * work.row);
    }
    return reading;
  }

  async close(): Promise<void> {
    await this.#session?.close();
    await this.#forward.close();
  }

  async #readRows(
    sat: readonly Sat[],
    state: State,
    [from, to]: readonly [from: number, to: number],
    reading: Reading,
  ): Promise<void> {
    const session = await this.#opened();
    await this.#headArena.lend(partsOf(this.#head, [from, to]), async (held) => {
      let at = 0;
      for (const [index, { sitting, labels }] of sat.entries()) {
        const { batch, length } = sitting;
        const data = state[index] ?? new Float32Array();
        const shape = [batch, length, data.length / (batch * length)];
        const spot = { batch, length, at, from, to, labels };
        reading.add(await readWith(session, { hidden: { dtype: "float32", shape, data } }, spot, [held]));
        at += labels.length;
      }
    });
  }

  async #opened(): Promise<Session> {
    const at = `${this.#side.name}, head`;
    const graph = { model: decodeModel(this.#head.model), files: new Map() };
    this.#session ??= await this.#runtime.open(withReading(graph, "logits", at), { name: at });
    return this.#session;
  }
}

/** How much of a pass is done, by the stored bytes of what has run. */
class Work {
  /** Of one row of the head. */
  readonly row: number;
  readonly #total: number;
  #done = 0;

  constructor({ blocks, cost }: Walker, head: Stage) {
    const table = tableOf(head);
    this.row = table.bytes / (table.shape[0] ?? 1);
    this.#total =
      table.bytes + Array.from({ length: blocks }, (_, at) => cost(at)).reduce((sum, each) => sum + each, 0);
  }

  after(bytes: number): number {
    this.#done += bytes;
    return Math.min(1, this.#done / this.#total);
  }
}

function* seated(windows: readonly Window[]): Generator<Sat> {
  for (let start = 0; start < windows.length; ) {
    const { corpus = 0, ids: first } = windows[start] ?? {};
    const length = first?.length ?? 0;
    const most = Math.max(1, Math.floor(SITTING_TOKENS / length));
    let end = start + 1;
    while (end < windows.length && end - start < most && windows[end]?.corpus === corpus) end++;
    const group = windows.slice(start, end);
    const ids = group.flatMap((each) => [...each.ids]);
    const labels = Int32Array.from(group.flatMap((each) => [...each.labels]));
    const positions = BigInt64Array.from(ids, (_, at) => BigInt(at % length));
    yield { sitting: { batch: group.length, length, ids, positions }, corpus, labels };
    start = end;
  }
}

/** Rows [from, to) that are read at a time. */
function* rowRuns({ shape }: TensorRef, largest: Sat | undefined): Generator<readonly [from: number, to: number]> {
  const [count = 0, width = 1] = shape;
  const positions = largest?.labels.length ?? 1;
  const step = Math.max(1, Math.floor(Math.min(HEAD_VALUES / width, LOGIT_VALUES / positions)));
  for (let from = 0; from < count; from += step) yield [from, Math.min(count, from + step)];
}

function partsOf(head: Stage, rows: readonly [from: number, to: number]): ReadonlyMap<string, Part> {
  const parts = new Map<string, Part>([...head.weights].map(([name, tensor]) => [name, { tensor }]));
  parts.set("rows", { tensor: tableOf(head), rows });
  if (head.rowBias !== undefined) parts.set("row_bias", { tensor: head.rowBias, rows });
  return parts;
}

function tableOf({ rows }: Stage): TensorRef {
  if (rows !== undefined) return rows;
  throw new ExpandError("bug", "a head without a matrix was asked for its rows");
}
