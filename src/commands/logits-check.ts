// Whether a converted model computes what its source computes: the file that was written, run by onnxruntime, against the source block by
// block. Trusts nothing of the conversion but the source's own forward pass.
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import type { DecoderSpec } from "../decoder/spec.ts";
import type { Run } from "../events.ts";
import { openRuntime, type Runtime, type Session } from "../runtime/runtime.ts";
import type { Value, Values } from "../runtime/values.ts";
import { Forward, sideOf, vocabularyRuns } from "../verification/numeric/forward.ts";
import { generator, type Sitting } from "../verification/numeric/inputs.ts";
import { compare } from "../verification/numeric/lockstep.ts";
import { type Measure, relative } from "../verification/numeric/measure.ts";

export interface LogitsCheck {
  readonly runtime: string;
  readonly tokens: number;
  /** A share of the largest logit. */
  readonly tolerance: number;
  /** All tokens at once. */
  readonly prefill: { readonly maxAbs: number; readonly maxRel: number };
  /** The second half of the tokens one by one, with the cache. */
  readonly decode: { readonly maxAbs: number; readonly maxRel: number };
  readonly holds: boolean;
}

/** Order of additions, and nothing else, differs between a whole model and its blocks. */
const TOLERANCE = 1e-4;
const TOKENS = 24;

/** Throws "backend" where onnxruntime is not installed, "unsupported" when it refuses the model. */
export async function* checkLogits(
  source: Checkpoint,
  spec: DecoderSpec,
  model: string,
  signal: AbortSignal | undefined,
): Run<LogitsCheck> {
  const runtime = await openRuntime({ device: "cpu", ...(signal === undefined ? {} : { signal }) });
  try {
    yield { kind: "phase", name: "run the source" };
    const sitting = sittingFor(spec);
    const expected = yield* logitsOfSource(runtime, source, sitting, signal);
    yield { kind: "phase", name: "run the model" };
    const session = await runtime.open(model);
    const prefill = compare([await runWhole(session, spec, sitting)], [expected]);
    const decode = compare([await runStepwise(session, spec, sitting)], [expected]);
    const fine = (each: Measure): boolean => each.torn === 0 && each.nonFinite === 0 && relative(each) <= TOLERANCE;
    const shown = (each: Measure) => ({ maxAbs: each.maxAbs, maxRel: relative(each) });
    return {
      runtime: runtime.version,
      tokens: sitting.length,
      tolerance: TOLERANCE,
      prefill: shown(prefill),
      decode: shown(decode),
      holds: fine(prefill) && fine(decode),
    };
  } finally {
    await runtime.close();
  }
}

function sittingFor(spec: DecoderSpec): Sitting {
  const random = generator(0);
  const length = Math.min(TOKENS, spec.context ?? TOKENS);
  return {
    batch: 1,
    length,
    ids: Array.from({ length }, () => Math.floor(random() * spec.vocabulary)),
    positions: BigInt64Array.from({ length }, (_, at) => BigInt(at)),
  };
}

/** [length, vocabulary]. */
async function* logitsOfSource(
  runtime: Runtime,
  source: Checkpoint,
  sitting: Sitting,
  signal: AbortSignal | undefined,
): Run<Float32Array> {
  const side = sideOf("BEFORE", source);
  const forward = new Forward(runtime, [side], [sitting], signal);
  try {
    const walker = forward.walker(side);
    let state = await walker.enter();
    for (let at = 0; at < walker.blocks; at++) {
      yield { kind: "bytes", done: at, total: walker.blocks };
      state = await walker.advance(at, state);
    }
    const { vocabulary } = side.spec;
    const logits = new Float32Array(sitting.length * vocabulary);
    for (const [from, to] of vocabularyRuns(side)) {
      const [part = new Float32Array()] = await walker.logits(state, from, to);
      for (let at = 0; at < sitting.length; at++) {
        logits.set(part.subarray(at * (to - from), (at + 1) * (to - from)), at * vocabulary + from);
      }
    }
    return logits;
  } finally {
    await forward.close();
  }
}

async function runWhole(session: Session, spec: DecoderSpec, sitting: Sitting): Promise<Float32Array> {
  const results = await session.run(feedsFor(sitting, 0, sitting.length, emptyCache(spec)), ["logits"]);
  return floats(results.logits);
}

/** Half of the tokens at once, then one at a time on the cache of what came before. */
async function runStepwise(session: Session, spec: DecoderSpec, sitting: Sitting): Promise<Float32Array> {
  const logits = new Float32Array(sitting.length * spec.vocabulary);
  let cache = emptyCache(spec);
  for (let from = 0; from < sitting.length; ) {
    const to = from === 0 ? Math.ceil(sitting.length / 2) : from + 1;
    const results = await session.run(feedsFor(sitting, from, to, cache));
    logits.set(floats(results.logits), from * spec.vocabulary);
    cache = cacheOf(results);
    from = to;
  }
  return logits;
}

function feedsFor({ ids, positions }: Sitting, from: number, to: number, cache: Values): Values {
  const ints = (values: BigInt64Array): Value => ({ dtype: "int64", shape: [1, values.length], data: values });
  return {
    ...cache,
    input_ids: ints(BigInt64Array.from(ids.slice(from, to), BigInt)),
    attention_mask: ints(new BigInt64Array(to).fill(1n)),
    position_ids: ints(positions.slice(from, to)),
  };
}

function emptyCache(spec: DecoderSpec): Values {
  const entries = spec.blocks.flatMap(({ attention }, index) =>
    ["key", "value"].map((what) => {
      const shape = [1, attention.kvHeads, 0, attention.headSize];
      return [`past_key_values.${index}.${what}`, { dtype: "float32", shape, data: new Float32Array() }];
    }),
  );
  return Object.fromEntries(entries);
}

function cacheOf(results: Values): Values {
  const cache = Object.entries(results).filter(([name]) => name.startsWith("present."));
  return Object.fromEntries(cache.map(([name, value]) => [name.replace("present.", "past_key_values."), value]));
}

function floats(value: Value | undefined): Float32Array {
  return value?.data instanceof Float32Array ? value.data : new Float32Array();
}
