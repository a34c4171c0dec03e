// What every rendering of an evaluation says in the same words. Pure functions from numbers to text; no markup.
import type { CorpusResult, Estimate, EvaluatedModel, EvaluationReport, TokenShift } from "../report.ts";

/** Four significant digits: "3.512", "5.620", "50380000" as "5.038e+7". */
export function number(value: number): string {
  if (!Number.isFinite(value)) return "not finite";
  const size = Math.abs(value);
  if (size === 0) return "0";
  return size >= 999_950 || size < 1e-4 ? value.toExponential(3) : plainDigits(value.toPrecision(4));
}

/** Of five digits and more, where the language would write an exponent. */
function plainDigits(text: string): string {
  return text.includes("e") ? String(Number(text)) : text;
}

/** "3.512 [3.402, 3.625]". */
export function estimate({ value, interval }: Estimate): string {
  return interval === undefined || !Number.isFinite(value)
    ? number(value)
    : `${number(value)} [${number(interval[0])}, ${number(interval[1])}]`;
}

/** A share as a percentage with its sign: "+0.61 %", and with its interval "+0.61 % [+0.42, +0.80]". */
export function change({ value, interval }: Estimate): string {
  if (!Number.isFinite(value)) return "not finite";
  return interval === undefined
    ? `${signed(value)} %`
    : `${signed(value)} % [${signed(interval[0])}, ${signed(interval[1])}]`;
}

function signed(share: number): string {
  const percent = 100 * share;
  const digits = Math.abs(percent) < 10 ? 2 : 1;
  const text = percent.toFixed(digits);
  return Number(text) === 0 ? (0).toFixed(digits) : `${percent > 0 ? "+" : ""}${text}`;
}

/** "92.6 / 6.8 / 0.7 %". */
export function shiftText({ unshifted, marginal, shifted }: TokenShift): string {
  return `${[unshifted, marginal, shifted].map((share) => (100 * share).toFixed(1)).join(" / ")} %`;
}

/** How a result stands to the base's. */
export function changeText(model: EvaluatedModel, { change: found, bitsChange }: CorpusResult): string {
  if (model.base) return "base";
  if (found !== undefined) return change(found);
  return bitsChange === undefined ? "" : `${signed(bitsChange)} % bits/byte`;
}

export const COLUMNS = ["tokens", "perplexity [95 %]", "change [95 %]", "bits/byte", "rank 1 / 2-3 / >3"] as const;

/** Under COLUMNS. */
export function cellsOf(model: EvaluatedModel, result: CorpusResult): readonly string[] {
  return [
    String(result.tokens),
    estimate(result.perplexity),
    changeText(model, result),
    number(result.bitsPerByte),
    result.shift === undefined ? "" : shiftText(result.shift),
  ];
}

/** What was run, in a sentence. */
export function runText({ device, context, tokens, seed }: EvaluationReport): string {
  const order = seed === undefined ? "in the order of the files" : `in an order by seed ${seed}`;
  return `windows of ${context} tokens that do not overlap, up to ${tokens} tokens of each corpus, ${order}, on ${device}`;
}

/** How to read the numbers. */
export const NOTES = {
  interval:
    "95 % intervals: Student's t times the standard error over windows, sqrt(W/(W-1) * sum (l_w - L n_w)^2) / sum n_w, with W windows of n_w tokens and loss l_w and L the mean over tokens. A change is that of the differences of the same windows.",
  shift:
    "Rank 1 / 2-3 / >3: share of positions at which the model's most likely token is the base's most likely one, its second or third, or none of these.",
} as const;

/** Things that a reader must not overlook. */
export function warningsOf(report: EvaluationReport): readonly string[] {
  const base = report.models.find((model) => model.base);
  const foreign = report.models.filter((model) => model.tokenizer !== base?.tokenizer).map(({ location }) => location);
  const lost = report.models.flatMap((model) =>
    model.results
      .filter(({ notFinite }) => notFinite > 0)
      .map(({ corpus, notFinite, tokens }) => {
        return `${model.location} gives losses that are NaN or infinite at ${notFinite} of ${tokens} tokens of ${corpus}`;
      }),
  );
  const different = `${foreign.join(", ")}: another tokenizer than the base's, so perplexities per token do not compare; bits per byte do`;
  return [...(foreign.length > 0 ? [different] : []), ...lost];
}

/** The largest that a copy adds, by corpus: "block 3 adds 0.012 to 1.43 (general), 0.31 to 1.5 (domain)". */
export function copyLines(model: EvaluatedModel): readonly string[] {
  return model.copies.flatMap((at) => {
    const parts = model.results.flatMap(({ corpus, norms }) => {
      const block = norms?.blocks[at];
      return block === undefined ? [] : [`${number(block.added)} to ${number(block.state)} (${corpus})`];
    });
    return parts.length === 0 ? [] : [`block ${at} adds ${parts.join(", ")}`];
  });
}
