// What can be chosen about a comparison in numbers, and what is chosen when nobody says.
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { ExpandError } from "../../errors.ts";
import type { Device } from "../../runtime/protocol.ts";
import { defaultTolerance } from "./tolerance.ts";

export interface NumbersOptions {
  /** Sequences that are run together. Default 4. */
  readonly samples?: number;
  /** Tokens of each. Default 64. Sliding windows are passed whatever it is: positions jump past them. */
  readonly tokens?: number;
  /** Of the token ids. Default 0. */
  readonly seed?: number;
  /** Allowed difference, as a share of the largest magnitude. Default: 0 for the same arithmetic, else by the coarser weights. */
  readonly tolerance?: number;
  /** One sequence, instead of seeded ones. */
  readonly tokenIds?: readonly number[];
}

export interface Wishes {
  readonly samples: number;
  readonly tokens: number;
  readonly seed: number;
  readonly tolerance: number;
  readonly tokenIds?: readonly number[];
  readonly signal?: AbortSignal;
}

/** Throws "usage", and "unsupported" where only the user can say how far logits may be apart. */
export function withDefaults(
  options: NumbersOptions & { readonly signal?: AbortSignal },
  before: Checkpoint,
  after: Checkpoint,
  device: Device,
): Wishes {
  const { samples = 4, tokens = 64, seed = 0, tokenIds, signal } = options;
  const { tolerance = defaultTolerance(before, after, device) } = options;
  if (tolerance === undefined) {
    throw new ExpandError(
      "unsupported",
      "AFTER's weights have fewer than 8 bits and BEFORE's have more, so rounding cannot be told from a fault; say how far logits may be apart with --tolerance",
    );
  }
  for (const [name, value] of Object.entries({ samples, tokens })) {
    if (!Number.isSafeInteger(value) || value < 1) {
      throw new ExpandError("usage", `${name} must be a whole number from 1 up, not ${value}`);
    }
  }
  if (!(tolerance >= 0)) throw new ExpandError("usage", `tolerance must be 0 or more, not ${tolerance}`);
  if (tokenIds?.length === 0) throw new ExpandError("usage", "no token ids are given; at least one is needed");
  return {
    samples: tokenIds === undefined ? samples : 1,
    tokens: tokenIds?.length ?? tokens,
    seed,
    tolerance,
    ...(tokenIds === undefined ? {} : { tokenIds }),
    ...(signal === undefined ? {} : { signal }),
  };
}
