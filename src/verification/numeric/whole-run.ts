// Runs an ONNX model: as it is, for its outputs, and as its twin, for the state at every border between blocks. Weights stay mapped in
// their files; one session is open at a time.
import path from "node:path";
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { ExpandError } from "../../errors.ts";
import type { Runtime, Session } from "../../runtime/runtime.ts";
import type { Value, Values } from "../../runtime/values.ts";
import { decodeTensor } from "../../tensor/decode.ts";
import { memorySource } from "../../tensor/source.ts";
import type { Sitting } from "./inputs.ts";
import { withinMemory } from "./memory.ts";
import type { Wishes } from "./options.ts";
import { type Twin, type Twins, twinsOf } from "./twin.ts";
import type { State, Walker } from "./walker.ts";
import { type Aliases, type Feeding, feedsFor, headSizeOf } from "./whole-inputs.ts";

/** Outputs that are numbered by block: AFTER has more of them, under other numbers. */
const CACHE = /present|past|cache|conv_state|recurrent/;

/**
 * Folding would widen every 16-bit weight behind a Cast as the model is opened, and keep it: 5.3 GB for 1.3 billion of them, 14 s. Without
 * it they stay mapped, a run holds 3.4 GB beside them, and opening takes 1 s.
 */
const WIDENING: readonly string[] = ["ConstantFolding"];

export type Outputs = ReadonlyMap<string, State>;

export interface WholeRun {
  readonly runtime: Runtime;
  readonly sittings: readonly Sitting[];
  readonly wishes: Wishes;
  readonly aliases?: Aliases;
}

/** Every output that is no cache, by name. */
export async function runWhole(checkpoint: Checkpoint, run: WholeRun): Promise<Map<string, State>> {
  const file = modelFile(checkpoint);
  const session = await run.runtime.open(file, { name: checkpoint.location, without: WIDENING });
  try {
    const wanted = session.outputs.map(({ name }) => name).filter((name) => !CACHE.test(name));
    return await runAll(session, wanted.length > 0 ? wanted : undefined, run.sittings, feedingOf(checkpoint, run));
  } finally {
    await session.close();
  }
}

/** The states of a run that is over, as something that advances. */
export async function runTwin(
  name: Walker["name"],
  checkpoint: Checkpoint,
  twin: Twin,
  run: WholeRun,
): Promise<Walker> {
  const folder = path.dirname(modelFile(checkpoint));
  const session = await run.runtime.open(twin.model, { folder, name: checkpoint.location, without: WIDENING });
  try {
    const outputs = await runAll(session, twin.borders, run.sittings, feedingOf(checkpoint, run));
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

function feedingOf(checkpoint: Checkpoint, { wishes, aliases }: WholeRun): Feeding {
  const headSize = headSizeOf(checkpoint);
  return { seed: wishes.seed, ...(aliases && { aliases }), ...(headSize && { headSize }) };
}

async function runAll(
  session: Session,
  wanted: readonly string[] | undefined,
  sittings: readonly Sitting[],
  feeding: Feeding,
): Promise<Map<string, State>> {
  const outputs = new Map<string, Float32Array[]>();
  for (const sitting of sittings) {
    const feeds = feedsFor(session.inputs, sitting, feeding);
    const values: Values = await withinMemory(sitting, () => session.run(feeds, wanted));
    for (const [name, value] of Object.entries(values)) {
      outputs.set(name, [...(outputs.get(name) ?? []), await asFloats(name, value)]);
    }
  }
  return outputs;
}

/** Or why its blocks cannot be looked at. */
export function twinsFor({ graph }: Checkpoint): Twins | { readonly reason: string } {
  return graph === undefined ? { reason: "it brings no graph" } : twinsOf(graph);
}

/** The one that needs no past. */
export function twinFor(checkpoint: Checkpoint): Twin | { readonly reason: string } {
  const twins = twinsFor(checkpoint);
  return "reason" in twins ? twins : twins.plain;
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
