// What an evaluation found, as data. Losses are in nats; whatever is not finite is NaN here and null in JSON.
import type { Device } from "../runtime/protocol.ts";
import type { CorpusNorms } from "./norms.ts";
import type { Unit } from "./statistics.ts";

export const EVALUATION_SCHEMA = "expand-checkpoint/evaluation/1";

export type Interval = readonly [from: number, to: number];

/** A value with its 95 % interval, which is absent for fewer than two units. */
export interface Estimate {
  readonly value: number;
  readonly interval?: Interval;
}

/**
 * Shares of positions by the rank of a model's most likely token under the base (LLaMA Pro, figure 6): 1, 2 to 3, beyond 3. Both read the same
 * text up to there; the figure's text is what the model itself wrote.
 */
export interface TokenShift {
  /** Where both say finite numbers. */
  readonly positions: number;
  readonly unshifted: number;
  readonly marginal: number;
  readonly shifted: number;
}

/** One model on one corpus. */
export interface CorpusResult {
  readonly corpus: string;
  /** Predicted. */
  readonly tokens: number;
  /** Of the text that they stand for, UTF-8. */
  readonly bytes: number;
  /** With a token that is predicted; of plain text, stretches of 32 kB. */
  readonly documents: number;
  readonly windows: number;
  /** What the intervals take as drawn: documents, or windows where those are few. */
  readonly unit: Unit;
  /** Mean over the tokens, in nats. */
  readonly loss: number;
  /** Standard error of `loss`. */
  readonly error?: number;
  readonly perplexity: Estimate;
  readonly bitsPerByte: number;
  /** Tokens whose loss is NaN or infinite; the means above then are, too. */
  readonly notFinite: number;
  /** Change of the perplexity as a share of the base's, from the differences at the same units. Absent for the base and for other tokenizers. */
  readonly change?: Estimate;
  /** Change of the bits per byte as a share of the base's, where tokenizers differ. */
  readonly bitsChange?: number;
  readonly shift?: TokenShift;
  /** Absent where blocks cannot be looked at. */
  readonly norms?: CorpusNorms;
}

export interface EvaluatedModel {
  readonly location: string;
  readonly format: string;
  /** SHA-256 of the headers. */
  readonly headers: string;
  readonly parameters: number;
  readonly blocks: number;
  /** Blocks that are copies, where a plan beside the model says so. */
  readonly copies: readonly number[];
  /** Whether it is what the others are compared with. */
  readonly base: boolean;
  /** SHA-256 of the tokenizer. */
  readonly tokenizer: string;
  readonly results: readonly CorpusResult[];
}

export interface EvaluationReport {
  readonly schema: typeof EVALUATION_SCHEMA;
  readonly device: Device;
  /** Tokens of a window. */
  readonly context: number;
  /** Of each corpus at most. */
  readonly tokens: number;
  /** Of the order of the documents; absent: as they stand. */
  readonly seed?: number;
  readonly corpora: readonly { readonly name: string; readonly files: readonly string[] }[];
  readonly models: readonly EvaluatedModel[];
  readonly seconds: number;
}
