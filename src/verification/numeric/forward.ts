// The forward pass of one checkpoint, a stage at a time. Holds the weights of the stage that runs and nothing of the others.
import { createHash } from "node:crypto";
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { readSpec } from "../../decoder/read.ts";
import type { DecoderSpec } from "../../decoder/spec.ts";
import { type Stage, stagesOf } from "../../decoder/stage.ts";
import { ExpandError } from "../../errors.ts";
import type { Runtime, Session } from "../../runtime/runtime.ts";
import type { Value } from "../../runtime/values.ts";
import { decodeRows } from "../../tensor/decode.ts";
import { Arena, type Part, sizeOf } from "./arena.ts";
import type { Sitting } from "./inputs.ts";
import { withinMemory } from "./memory.ts";
import type { State, Walker } from "./walker.ts";

/** f32 values of the head matrix that are decoded at a time: 64 MB. */
const HEAD_VALUES = 1 << 24;

/** One side of a comparison: what it computes, as stages. */
export interface Side {
  readonly name: Walker["name"];
  readonly spec: Pick<DecoderSpec, "vocabulary" | "hidden" | "context" | "blocks">;
  readonly stages: readonly Stage[];
}

/** Throws "unsupported" when the model's computation is not known. */
export function sideOf(name: Side["name"], checkpoint: Checkpoint): Side {
  const spec = readSpec(checkpoint);
  return { name, spec, stages: stagesOf(spec) };
}

/** Runs stages of both sides: stages with equal models share a session, all of them one buffer. */
export class Forward {
  readonly #runtime: Runtime;
  readonly #arena: Arena;
  readonly #sessions = new Map<string, Session>();
  readonly #sittings: readonly Sitting[];

  constructor(runtime: Runtime, sides: readonly Side[], sittings: readonly Sitting[], signal: AbortSignal | undefined) {
    this.#runtime = runtime;
    this.#sittings = sittings;
    const rooms = sides.flatMap((side) => side.stages.map((stage) => roomOf(stage)));
    this.#arena = new Arena(runtime, Math.max(...rooms), signal);
  }

  walker(side: Side): Walker {
    return {
      name: side.name,
      blocks: side.spec.blocks.length,
      enter: () => this.embed(side),
      advance: (at, state) => this.block(side, at, state),
      cost: (at) => bytesOf(stageOf(side, "block", at)),
      logits: (state, from, to) => this.logits(side, state, from, to),
    };
  }

  async embed(side: Side): Promise<State> {
    const stage = stageOf(side, "embedding");
    return this.#run(side, stage, partsOf(stage), "hidden", async (sitting) => ({
      token_rows: await gather(stage, sitting),
      position_ids: positionsOf(sitting),
    }));
  }

  /** Runs the block whose index is `at`. */
  async block(side: Side, at: number, state: State): Promise<State> {
    const stage = stageOf(side, "block", at);
    return this.#run(side, stage, partsOf(stage), "hidden_out", async (sitting, index) => ({
      hidden: hiddenOf(sitting, state[index] ?? new Float32Array()),
      position_ids: positionsOf(sitting),
    }));
  }

  /** The logits [batch, length, to - from] of some rows of the vocabulary. */
  async logits(side: Side, state: State, from: number, to: number): Promise<State> {
    const stage = stageOf(side, "head");
    return this.#run(side, stage, headParts(stage, from, to), "logits", async (sitting, index) => ({
      hidden: hiddenOf(sitting, state[index] ?? new Float32Array()),
    }));
  }

  async close(): Promise<void> {
    for (const session of this.#sessions.values()) await session.close();
  }

  async #run(
    side: Side,
    stage: Stage,
    parts: ReadonlyMap<string, Part>,
    output: string,
    feedsOf: (sitting: Sitting, index: number) => Promise<Readonly<Record<string, Value>>>,
  ): Promise<State> {
    const session = await this.#session(side, stage);
    const inputs = new Set(session.inputs.map((each) => each.name));
    return this.#arena.lend(parts, async (held) => {
      const states: Float32Array[] = [];
      for (const [index, sitting] of this.#sittings.entries()) {
        const feeds = Object.entries(await feedsOf(sitting, index)).filter(([name]) => inputs.has(name));
        const run = () => session.run(Object.fromEntries(feeds), [output], [held]);
        const results = await withinMemory(sitting, run);
        states.push(floatsOf(results[output], `${side.name}, ${nameOf(stage)}`));
      }
      return states;
    });
  }

  async #session(side: Side, stage: Stage): Promise<Session> {
    const { model } = stage;
    const key = createHash("sha1").update(model).digest("base64");
    const known =
      this.#sessions.get(key) ?? (await this.#runtime.open(model, { name: `${side.name}, ${nameOf(stage)}` }));
    this.#sessions.set(key, known);
    return known;
  }
}

/** Runs of rows of the vocabulary that are compared at a time. */
export function* vocabularyRuns(side: Side): Generator<readonly [from: number, to: number]> {
  const rows = tableOf(stageOf(side, "head"));
  const [count = 0, width = 1] = rows.shape;
  const step = Math.max(1, Math.floor(HEAD_VALUES / width));
  for (let from = 0; from < count; from += step) yield [from, Math.min(count, from + step)];
}

function bytesOf(stage: Stage): number {
  let bytes = 0;
  for (const tensor of stage.weights.values()) bytes += tensor.bytes;
  return bytes;
}

function stageOf(side: Side, kind: Stage["kind"], index?: number): Stage {
  const found = side.stages.find((each) => each.kind === kind && each.index === index);
  if (found !== undefined) return found;
  throw new ExpandError("bug", `has no ${kind} stage${index === undefined ? "" : ` ${index}`}`, { at: side.name });
}

function nameOf({ kind, index }: Stage): string {
  return index === undefined ? kind : `${kind} ${index}`;
}

function partsOf(stage: Stage): ReadonlyMap<string, Part> {
  return new Map([...stage.weights].map(([name, tensor]) => [name, { tensor }]));
}

function headParts(stage: Stage, from: number, to: number): ReadonlyMap<string, Part> {
  const parts = new Map(partsOf(stage)).set("rows", { tensor: tableOf(stage), rows: [from, to] });
  return stage.rowBias === undefined ? parts : parts.set("row_bias", { tensor: stage.rowBias, rows: [from, to] });
}

function tableOf(stage: Stage): Part["tensor"] {
  if (stage.rows !== undefined) return stage.rows;
  throw new ExpandError("bug", "a stage was asked for its table, and has none", { at: nameOf(stage) });
}

function roomOf(stage: Stage): number {
  const fixed = Arena.room(partsOf(stage).values());
  if (stage.kind !== "head") return fixed;
  return fixed + Math.min(HEAD_VALUES, sizeOf({ tensor: tableOf(stage) })) + tableOf(stage).shape.length * 1024;
}

/** token_rows [batch, length, width]: only the rows that are asked for are read. */
async function gather(stage: Stage, { batch, length, ids }: Sitting): Promise<Value> {
  const table = tableOf(stage);
  const [, width = 0] = table.shape;
  const data = new Float32Array(ids.length * width);
  const known = new Map<number, Float32Array>();
  for (const [at, id] of ids.entries()) {
    const row = known.get(id) ?? (await decodeRows(table, id, id + 1));
    known.set(id, row);
    data.set(row, at * width);
  }
  return { dtype: "float32", shape: [batch, length, width], data };
}

function positionsOf({ batch, length, positions }: Sitting): Value {
  return { dtype: "int64", shape: [batch, length], data: positions };
}

function hiddenOf({ batch, length }: Sitting, data: Float32Array): Value {
  return { dtype: "float32", shape: [batch, length, data.length / (batch * length)], data };
}

function floatsOf(value: Value | undefined, at: string): Float32Array {
  if (value?.data instanceof Float32Array) return value.data;
  throw new ExpandError("bug", `gives ${value?.dtype ?? "nothing"}; float32 was expected`, { at });
}
