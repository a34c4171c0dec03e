// What every rendering of an evaluation says in the same words. Pure functions from numbers to text; no markup.
import { counted } from "../../verification/report/summary.ts";
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

/** "32 blocks, 8 of them copies, 8,357,482,496 parameters". */
export function sizeText({ blocks, copies, parameters }: EvaluatedModel): string {
  const own = copies.length === 0 ? "" : `, ${copies.length} of them ${copies.length === 1 ? "a copy" : "copies"}`;
  const known = blocks === 0 ? "" : `${counted(blocks, "block")}${own}, `;
  return `${known}${parameters.toLocaleString("en-US")} parameters`;
}

/** What was run, in a sentence. */
export function runText(report: EvaluationReport): string {
  const { device, context, tokens, seed } = report;
  const order = seed === undefined ? "in the order of the files" : `in an order by seed ${seed}`;
  return `windows of ${context} tokens that do not overlap, up to ${tokens} tokens of each corpus, ${order}, on ${device}; intervals over ${unitsText(report)}`;
}

/** "documents", or "documents (general), windows (domain)". */
function unitsText({ models }: EvaluationReport): string {
  const results = models.find(({ base }) => base)?.results ?? [];
  const [first, ...others] = new Set(results.map(({ unit }) => unit));
  return others.length === 0 ? `${first}` : results.map(({ unit, corpus }) => `${unit} (${corpus})`).join(", ");
}

/** How to read the numbers. */
export const NOTES = {
  interval:
    "95 % intervals: Student's t times the standard error over units, sqrt(U/(U-1) * sum (l_u - L n_u)^2) / sum n_u, with U units of n_u tokens and loss l_u, and L the mean over tokens. Units are documents; windows where a corpus has fewer than 8, which resemble each other within a document, so that such intervals are rather narrow. A change is that of the differences at the same units.",
  window:
    "A token is predicted from those before it in its window, so the first ones from few; a window that begins within a document has no begin-of-text token in front.",
  shift:
    "Rank 1 / 2-3 / >3: share of positions at which the model's most likely token is the base's most likely one, its second or third, or none of these, both having read the same text.",
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
  const different = `${foreign.join(", ")}: another tokenizer than the base's, so perplexities per token do not compare; bits per byte do, of the same text`;
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
