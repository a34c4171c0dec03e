// training.json: what a run did, in a page of numbers, for model cards and for who looks back. Holds no path of this machine.
import { ExpandError } from "../errors.ts";
import { JsonDocument, type JsonObject, type JsonValue } from "../json.ts";

export const SUMMARY_SCHEMA = "expand-checkpoint/training-summary/1";

export interface TrainingSummary {
  readonly schema: typeof SUMMARY_SCHEMA;
  readonly steps: number;
  /** Tokens whose prediction counted. */
  readonly tokens: number;
  /** Of work. */
  readonly seconds: number;
  /** File names, and their shares where a mixture was asked for. */
  readonly corpora: readonly { readonly name: string; readonly weight?: number }[];
  readonly batch: number;
  readonly accumulate: number;
  readonly context: number;
  readonly schedule: { readonly kind: string; readonly peak: number; readonly warmup: number };
  readonly decay: number;
  /** Absent where gradients were not clipped. */
  readonly clip?: number;
  /** Of products of matrices, as asked. */
  readonly dtype: string;
  /** What they were computed in, where that is not what was asked. */
  readonly computed?: string;
  /** Mean losses over the first and the last twentieth of the steps, in nats. */
  readonly loss: { readonly first: number; readonly last: number };
  /** Mean losses on texts, in nats, before and after. */
  readonly evaluations: readonly { readonly name: string; readonly before: number; readonly after: number }[];
  /** Expanded indices of the blocks that hold a trained tensor. */
  readonly blocks: readonly number[];
  /** Of the proof that followed. */
  readonly verdict: string;
}

/** Throws "damaged" for a file that is no summary of this version. */
export function parseSummary(at: string, data: Uint8Array | string): TrainingSummary {
  const value = JsonDocument.parse(at, data).value;
  const summary: JsonObject = isObject(value) ? value : {};
  const { steps, tokens, seconds, batch, accumulate, context, decay, schedule, loss, corpora, evaluations, blocks } =
    summary;
  const numbers = [steps, tokens, seconds, batch, accumulate, context, decay];
  const lists = [corpora, evaluations, blocks];
  const whole =
    summary.schema === SUMMARY_SCHEMA &&
    numbers.every((each) => typeof each === "number") &&
    lists.every((each) => Array.isArray(each)) &&
    isObject(schedule) &&
    isObject(loss);
  if (whole) return value as unknown as TrainingSummary;
  throw new ExpandError(
    "damaged",
    `expected "schema": "${SUMMARY_SCHEMA}" and the numbers of a run, found ${JSON.stringify(summary.schema ?? null)}`,
    { at, fix: "Remove the file, or take it from the output of train." },
  );
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
