// What a training run does, as plain data with every default applied. Decides numbers only; reads no files.
import { ExpandError } from "../errors.ts";
import type { Schedule } from "./optimizer/schedule.ts";
import type { TrainerOptions } from "./step/trainer.ts";

export const RECIPE_SCHEMA = "expand-checkpoint/training/1";

/** What a user may say of a run; the rest is decided here. */
export interface RecipeOptions {
  /** How long: at most one of the three. Default: one epoch. */
  readonly steps?: number;
  readonly epochs?: number;
  readonly tokens?: number;
  /** Sequences of one forward pass. Default 8. */
  readonly batch?: number;
  /** Forward passes of one step. Default 1. */
  readonly accumulate?: number;
  /** Tokens of a sequence. Default: the model's own length, at most 512. */
  readonly context?: number;
  /** Highest learning rate. Default 2e-4. */
  readonly rate?: number;
  /** Below 1 a share of the steps, from 1 on a number of steps. Default 0.06. */
  readonly warmup?: number;
  /** Default "cosine", down to 0. */
  readonly schedule?: Schedule["kind"];
  /** Weight decay. Default 0.1. */
  readonly decay?: number;
  /** Largest global norm of a step's gradients; 0: not clipped. Default 1. */
  readonly clip?: number;
  /** Default 0.9 and 0.95. */
  readonly beta1?: number;
  readonly beta2?: number;
  /** Default 1e-8. */
  readonly epsilon?: number;
  /** Default f32. */
  readonly dtype?: TrainerOptions["dtype"];
  /** Default "host" on the CPU, "loop" on CUDA. */
  readonly layout?: TrainerOptions["layout"];
  /** Activations are computed again in the backward pass instead of kept. Default true. */
  readonly checkpointing?: boolean;
  readonly device?: TrainerOptions["device"];
  /** Of the order of documents. Default 0. */
  readonly seed?: number;
  /** Steps between two evaluations. Default: a tenth of the run. */
  readonly every?: number;
  /** Tokens of an evaluation, for each text. Default: a 25th of the run's, between 4096 and 32768. */
  readonly evaluationTokens?: number;
  /** Steps between two saves. Default: a tenth of the run; one is made after ten minutes in any case. */
  readonly saveEvery?: number;
}

export type Limit = { readonly steps: number } | { readonly epochs: number } | { readonly tokens: number };

/** What the corpus must be cut into, before it can say how long an epoch is. */
export interface Cut {
  readonly batch: number;
  readonly accumulate: number;
  readonly context: number;
  readonly seed: number;
}

export interface Recipe extends Cut {
  readonly schema: typeof RECIPE_SCHEMA;
  readonly steps: number;
  readonly schedule: Schedule;
  readonly adam: TrainerOptions["adam"];
  /** Absent: gradients are not clipped. */
  readonly clip?: number;
  readonly dtype: TrainerOptions["dtype"];
  readonly device: TrainerOptions["device"];
  readonly layout: TrainerOptions["layout"];
  /** Steps that one call of the trainer takes. */
  readonly loopSteps: number;
  readonly checkpointing: boolean;
  readonly every: number;
  readonly evaluationTokens: number;
  readonly saveEvery: number;
}

/** The paper's, where it says one; what nobody asked for otherwise. */
export const DEFAULTS = {
  /** Tokens of a sequence: activations grow with it, and most documents are shorter. */
  context: 512,
  batch: 8,
  accumulate: 1,
  rate: 2e-4,
  schedule: "cosine",
  warmup: 0.06,
  decay: 0.1,
  clip: 1,
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-8,
  seed: 0,
} as const;
/** Steps inside one run of a Loop: bounds how long Ctrl-C waits, and how often state crosses to the device. */
const LOOP_STEPS = 8;

/** Throws "usage" for a context beyond the model's `longest`. */
export function cutOf(options: RecipeOptions, longest: number | undefined): Cut {
  const { batch, accumulate, seed } = { ...DEFAULTS, ...options };
  const context = options.context ?? Math.min(longest ?? DEFAULTS.context, DEFAULTS.context);
  if (longest !== undefined && context > longest) {
    throw new ExpandError("usage", `--context ${context} is more than the ${longest} positions that the model has`, {
      fix: `Use --context ${longest} or less.`,
    });
  }
  return { batch, accumulate, context, seed };
}

const isShare = (value: number): boolean => value >= 0 && value < 1;
const isCount = (value: number): boolean => Number.isSafeInteger(value) && value > 0;

type Bound = readonly [option: keyof RecipeOptions, flag: string, bound: string, holds: (value: number) => boolean];

const BOUNDS: readonly Bound[] = [
  ["epochs", "--epochs", "above 0", (value) => value > 0],
  ["rate", "--lr", "above 0", (value) => value > 0 && value < Number.POSITIVE_INFINITY],
  ["decay", "--decay", "from 0 up", (value) => value >= 0 && value < Number.POSITIVE_INFINITY],
  ["clip", "--clip", "from 0 up", (value) => value >= 0],
  ["warmup", "--warmup", "a share below 1 or a whole number", (value) => isShare(value) || isCount(value)],
  // 0 would make no number of a weight that has never had a gradient: 0 / (0 + 0).
  ["epsilon", "--epsilon", "above 0", (value) => value > 0],
  ["beta1", "--beta1", "from 0 up and below 1", (value) => value >= 0 && value < 1],
  ["beta2", "--beta2", "from 0 up and below 1", (value) => value >= 0 && value < 1],
];

/** What can be said before any file is read. Throws "usage" for numbers that nothing can be trained with, and for bf16 on the CPU. */
export function checkRecipe(options: RecipeOptions): void {
  limitOf(options);
  for (const [option, flag, bound, holds] of BOUNDS) {
    const value = options[option];
    if (typeof value !== "number" || holds(value)) continue;
    throw new ExpandError("usage", `${flag} must be ${bound}, not ${value}`, {
      fix: `Use another ${flag}, or leave it out.`,
    });
  }
  if (options.dtype === "bf16" && options.device !== "cuda") {
    throw new ExpandError("usage", "--dtype bf16 is for CUDA: onnxruntime multiplies no bf16 matrices on the CPU", {
      fix: "Use --dtype f32, or --device cuda.",
    });
  }
}

/** How long the run is to be. Throws "usage" when more than one of the three is said. */
export function limitOf({ steps, epochs, tokens }: RecipeOptions): Limit {
  const said = Object.entries({ steps, epochs, tokens }).filter(([, value]) => value !== undefined);
  const [first, second] = said.map(([name]) => name);
  if (second !== undefined) {
    throw new ExpandError("usage", `--${first} and --${second} both say how long to train`, {
      fix: "Give one of them.",
    });
  }
  if (steps !== undefined) return { steps };
  return tokens === undefined ? { epochs: epochs ?? 1 } : { tokens };
}

/** `epochTokens`: positions of one epoch, for a run that is counted in epochs. Throws "usage" for a warm-up longer than the run. */
export function recipeOf(options: RecipeOptions, cut: Cut, epochTokens: number | undefined): Recipe {
  const limit = limitOf(options);
  const perStep = cut.batch * cut.accumulate * cut.context;
  const wanted = "tokens" in limit ? limit.tokens : "epochs" in limit ? limit.epochs * (epochTokens ?? 0) : 0;
  const steps = "steps" in limit ? limit.steps : Math.max(1, Math.ceil(wanted / perStep));
  const { device = "cpu", dtype = "f32", checkpointing = true } = options;
  const { clip, warmup, schedule, rate, beta1, beta2, epsilon, decay } = { ...DEFAULTS, ...options };
  const layout = options.layout ?? (device === "cuda" ? "loop" : "host");
  if (warmup > steps && warmup >= 1) {
    throw new ExpandError("usage", `--warmup ${warmup} is more than the ${steps} steps of the run`, {
      fix: "Give a share of the steps, such as --warmup 0.06, or fewer of them.",
    });
  }
  const part = (share: number): number => Math.max(1, Math.ceil(steps / share));
  return {
    schema: RECIPE_SCHEMA,
    ...cut,
    steps,
    schedule: {
      kind: schedule,
      peak: rate,
      warmup: warmup < 1 ? Math.ceil(warmup * steps) : warmup,
      total: steps,
    },
    adam: { beta1, beta2, epsilon, decay },
    ...(clip === 0 ? {} : { clip }),
    dtype,
    device,
    layout,
    loopSteps: layout === "loop" ? Math.min(LOOP_STEPS, steps) : 1,
    checkpointing,
    every: options.every ?? part(10),
    // Ten evaluations of a text then take some 15 % of the time of training: a forward pass costs a third of a step.
    evaluationTokens: options.evaluationTokens ?? Math.min(32_768, Math.max(4096, Math.round((steps * perStep) / 25))),
    saveEvery: options.saveEvery ?? part(10),
  };
}

/** What products are computed in: onnxruntime has none of f16 for the CPU, and takes the casts to it out again. */
export function computedIn({ dtype, device }: Pick<Recipe, "dtype" | "device">): Recipe["dtype"] {
  return device === "cpu" ? "f32" : dtype;
}

export function tokensPerStep({ batch, accumulate, context }: Cut): number {
  return batch * accumulate * context;
}
