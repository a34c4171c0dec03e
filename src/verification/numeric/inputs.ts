// The token ids and positions that both sides are run on: seeded, and placed so that every sliding window cuts something off.
import type { DecoderSpec } from "../../decoder/spec.ts";

/** Samples that are run together: ids and positions [batch, length], row-major. */
export interface Sitting {
  readonly batch: number;
  readonly length: number;
  readonly ids: readonly number[];
  readonly positions: BigInt64Array<ArrayBuffer>;
  /** Tokens that caches hold before the first of these; absent: none. */
  readonly past?: number;
}

export interface InputOptions {
  readonly samples: number;
  /** Per sample. */
  readonly tokens: number;
  readonly seed: number;
  /** One sample, instead of seeded ones. */
  readonly tokenIds?: readonly number[];
}

/** Limits of the model that positions alone can pass: windows, and the length beyond which rotary angles change. */
export type Limits = Pick<DecoderSpec, "vocabulary" | "context" | "blocks">;

/**
 * One sitting with positions 0, 1, 2, ...; where the model has limits that so few tokens do not reach, a second one whose positions jump
 * to each of them. A mask compares positions, so that a jump past a window of 4096 tokens shows what 4096 tokens would.
 */
export function sittingsFor(limits: readonly Limits[], options: InputOptions): readonly Sitting[] {
  const random = generator(options.seed);
  const vocabulary = Math.min(...limits.map((each) => each.vocabulary));
  const { tokenIds } = options;
  const length = tokenIds?.length ?? options.tokens;
  const sitting = (batch: number, positions: readonly number[]): Sitting => ({
    batch,
    length,
    ids: Array.from(
      { length: batch * length },
      (_, at) => tokenIds?.[at % length] ?? Math.floor(random() * vocabulary),
    ),
    positions: BigInt64Array.from({ length: batch * length }, (_, at) => BigInt(positions[at % length] ?? 0)),
  });
  const plain = Array.from({ length }, (_, at) => at);
  const jumping = jumps(plain, limits);
  if (jumping === undefined) return [sitting(tokenIds === undefined ? options.samples : 1, plain)];
  const half = tokenIds === undefined ? Math.ceil(options.samples / 2) : 1;
  return [sitting(half, plain), sitting(half, jumping)];
}

/** Undefined when every limit is within `length` tokens, or beyond what the model was made for. */
function jumps(plain: readonly number[], limits: readonly Limits[]): readonly number[] | undefined {
  const { length } = plain;
  const context = Math.min(...limits.map((each) => each.context ?? Number.POSITIVE_INFINITY));
  const found = new Set(limits.flatMap((each) => each.blocks.flatMap(limitsOf)));
  const ahead = [...found].filter((each) => each >= length && each + 1 < context).sort((a, b) => a - b);
  // Each run of tokens needs a few of them on both sides of its limit.
  const shown = ahead.slice(0, Math.max(0, Math.floor(length / 4) - 1));
  if (shown.length === 0) return undefined;
  const run = Math.floor(length / (shown.length + 1));
  let last = -1;
  return plain.map((at) => {
    const limit = shown[Math.floor(at / run) - 1];
    // The limit falls into the middle of the run, so that it cuts off part of the first run and not all of it.
    const start = limit === undefined ? 0 : Math.min(limit - Math.floor(run / 2), context - run);
    last = at < run ? at : Math.max(last + 1, start + (at % run));
    return last;
  });
}

function limitsOf({ attention: { window, rope } }: DecoderSpec["blocks"][number]): readonly number[] {
  return [window, rope?.beyond?.length].flatMap((each) => each ?? []);
}

/** mulberry32: uniform in [0, 1), the same on every machine. */
export function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
