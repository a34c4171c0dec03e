// What a trainer has to be told, whichever it is: the same numbers that `train` itself would use. Knows no trainer.
import { DEFAULTS, limitOf, type RecipeOptions } from "../recipe.ts";

/** A file of documents: one a row of a .parquet file, or a line of a .jsonl file. */
export interface JobCorpus {
  /** Absolute. */
  readonly path: string;
  /** The column or key that holds the text. */
  readonly field: string;
  /** Relative to those of the others. */
  readonly weight: number;
}

export interface Job {
  /** Absolute path of the expanded checkpoint, or its name on the Hub. */
  readonly model: string;
  readonly corpora: readonly JobCorpus[];
  /** Tokens of a sequence. */
  readonly context: number;
  /** Sequences a device and micro-batch. */
  readonly batch: number;
  /** Micro-batches a step. */
  readonly accumulate: number;
  /** Of the optimizer; or `epochs` passes over the corpora. */
  readonly length: { readonly steps: number } | { readonly epochs: number };
  /** The highest learning rate. */
  readonly rate: number;
  readonly schedule: "constant" | "linear" | "cosine";
  /** Share of all steps in which the rate rises to its highest. */
  readonly warmup: number;
  readonly decay: number;
  /** Global norm that gradients are cut to; 0: they are not. */
  readonly clip: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly dtype: "f32" | "f16" | "bf16";
  readonly seed: number;
}

export interface ExportedFile {
  readonly name: string;
  readonly text: string;
}

/** Files for a trainer, or why it cannot be told. */
export type Exported =
  | { readonly kind: "files"; readonly files: readonly ExportedFile[]; readonly command: string }
  | { readonly kind: "refused"; readonly reason: string };

/** The job that `train` would do with these words, one device standing for its one. Throws "usage" when its length is said twice. */
export function jobOf(options: RecipeOptions, model: string, corpora: readonly JobCorpus[]): Job {
  const { context, batch, accumulate, warmup, ...rest } = { ...DEFAULTS, ...options };
  const { rate, schedule, decay, clip, beta1, beta2, epsilon, seed, dtype = "bf16" } = rest;
  const limit = limitOf(options);
  const length = "tokens" in limit ? { steps: Math.ceil(limit.tokens / (batch * accumulate * context)) } : limit;
  return {
    ...{
      model,
      corpora,
      context,
      batch,
      accumulate,
      length,
      rate,
      schedule,
      decay,
      clip,
      beta1,
      beta2,
      epsilon,
      dtype,
      seed,
    },
    // Only a number of steps can be made a share of them.
    warmup: warmup < 1 || !("steps" in length) ? warmup : warmup / length.steps,
  };
}

/** transformers' names of the schedules; its "constant" has no warm-up. */
export function schedulerName({ schedule, warmup }: Job): string {
  return schedule === "constant" && warmup > 0 ? "constant_with_warmup" : schedule;
}

/** What transformers' Trainer calls these numbers; trainers that are built on it take them by the same names. */
export function trainerNumbers(job: Job): Readonly<Record<string, number>> {
  return {
    gradient_accumulation_steps: job.accumulate,
    learning_rate: job.rate,
    warmup_ratio: job.warmup,
    weight_decay: job.decay,
    max_grad_norm: job.clip,
    adam_beta1: job.beta1,
    adam_beta2: job.beta2,
    adam_epsilon: job.epsilon,
    seed: job.seed,
    // Each is as large as the model.
    save_total_limit: 1,
  };
}

/** Shares of the corpora, adding up to 1; undefined when all weigh the same. */
export function sharesOf({ corpora }: Job): readonly number[] | undefined {
  const total = corpora.reduce((sum, { weight }) => sum + weight, 0);
  if (corpora.every(({ weight }) => weight === corpora[0]?.weight)) return undefined;
  return corpora.map(({ weight }) => weight / total);
}

/** A word of a POSIX shell, whatever is in it. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** A scalar of YAML, whatever is in it: JSON's are YAML's too, except that PyYAML takes "1e-8" for a string and "1.0e-8" for a number. */
export function yamlScalar(value: string | number | boolean): string {
  return typeof value === "number" ? String(value).replace(/^(-?\d+)e/, "$1.0e") : JSON.stringify(value);
}

/** Lines "key: value" of YAML; undefined values are left out. */
export function yamlLines(entries: Readonly<Record<string, string | number | boolean | undefined>>): string[] {
  return Object.entries(entries).flatMap(([key, value]) =>
    value === undefined ? [] : [`${key}: ${yamlScalar(value)}`],
  );
}
