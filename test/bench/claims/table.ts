// What the runs say: a row for each arm, means and standard deviations over seeds, and each claim with whether it holds here. Runs nothing.
import type { CorpusResult } from "../../../src/evaluation/report.ts";
import type { Outcome } from "./run.ts";

export interface Evaluated extends Outcome {
  /** Against the source: stories, prose, code. */
  readonly results: readonly CorpusResult[];
}

export interface Outcomes {
  /** Of the source itself. */
  readonly source: readonly CorpusResult[];
  readonly arms: ReadonlyMap<string, readonly Evaluated[]>;
}

interface Spread {
  readonly mean: number;
  /** Standard deviation over seeds. */
  readonly deviation: number;
}

function spreadOf(values: readonly number[]): Spread {
  const mean = values.reduce((sum, each) => sum + each, 0) / values.length;
  const squares = values.reduce((sum, each) => sum + (each - mean) ** 2, 0);
  return { mean, deviation: values.length < 2 ? 0 : Math.sqrt(squares / (values.length - 1)) };
}

function perplexityOf(results: readonly CorpusResult[], corpus: string): number {
  return results.find((each) => each.corpus === corpus)?.perplexity.value ?? Number.NaN;
}

/** Share of positions at which the most likely token is the source's, in percent. */
function keptOf(results: readonly CorpusResult[], corpus: string): number {
  return 100 * (results.find((each) => each.corpus === corpus)?.shift?.unshifted ?? Number.NaN);
}

/** By how many percent the stories' perplexity stood above its start when the code's loss first was as low as `code`; NaN where it never was. */
function forgottenAt({ curve }: Outcome, code: number): number {
  const start = curve[0]?.stories ?? 0;
  for (const [at, point] of curve.entries()) {
    const before = curve[at - 1];
    if (point.code > code || before === undefined) continue;
    const share = (before.code - code) / (before.code - point.code);
    return 100 * (Math.exp(before.stories + share * (point.stories - before.stories) - start) - 1);
  }
  return Number.NaN;
}

/** Seed by seed, at the loss on code that two copies end with. */
function forgottenEqually({ arms }: Outcomes, name: string): Spread {
  const reference = arms.get(TWO) ?? [];
  const found = (arms.get(name) ?? []).map((each, seed) =>
    forgottenAt(each, reference[seed]?.curve.at(-1)?.code ?? Number.NaN),
  );
  return spreadOf(found);
}

/** When the code's perplexity had fallen by `share`. */
function forgottenAfter({ arms }: Outcomes, name: string, share: number): Spread {
  return spreadOf(
    (arms.get(name) ?? []).map((each) => forgottenAt(each, (each.curve[0]?.code ?? 0) + Math.log(1 - share))),
  );
}

function ofArm({ arms }: Outcomes, name: string, corpus: string): Spread {
  return spreadOf((arms.get(name) ?? []).map(({ results }) => perplexityOf(results, corpus)));
}

function shown({ mean, deviation }: Spread): string {
  if (!Number.isFinite(mean)) return "not reached";
  return deviation === 0 ? digits(mean) : `${digits(mean)} ± ${digits(deviation)}`;
}

function digits(value: number): string {
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(Math.abs(value) < 10 ? 2 : 1);
}

const CORPORA = ["code", "stories", "prose"] as const;
const HEAD = ["arm", "trained", ...CORPORA, "stories at equal code", "same token", "first norm"];

export function table(all: Outcomes): string {
  const source = CORPORA.map((corpus) => digits(perplexityOf(all.source, corpus)));
  const rows = [...all.arms].map(([name, outcomes]) => [
    name,
    String(outcomes[0]?.trained ?? ""),
    ...CORPORA.map((corpus) => shown(ofArm(all, name, corpus))),
    `+${shown(forgottenEqually(all, name))} %`.replace(/^\+not reached %$/, "not reached"),
    `${shown(spreadOf(outcomes.map(({ results }) => keptOf(results, "stories"))))} %`,
    spreadOf(outcomes.map(({ norm }) => norm)).mean.toPrecision(3),
  ]);
  const cells = [HEAD, ["source", "", ...source, "", "", ""], ...rows];
  const widths = HEAD.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    row.map((cell, at) => (at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0))).join("  ");
  return cells.map(line).join("\n");
}

interface Claim {
  readonly text: string;
  /** Arms that it needs. */
  readonly arms: readonly string[];
  /** It holds where each number is below the next, by more than their spreads. */
  readonly order: (all: Outcomes) => readonly Spread[];
}

const [TWO, FULL, LORA, NORMS, ORIGINAL] = [
  "2 copies",
  "all blocks and ends",
  "LoRA, rank 16",
  "2 copies, norms zeroed",
  "2 original blocks",
];
const exactly = (mean: number): Spread => ({ mean, deviation: 0 });
/** As the paper's Table 11: code fell by 44.5 %, LAMBADA rose by 2.1 and 4.1 %. */
const [FALLEN, RISEN] = [0.445, 5];

const CLAIMS: readonly Claim[] = [
  {
    text: "C2 two copies take 40 % or more off the domain's perplexity",
    arms: [TWO],
    order: (all) => [ofArm(all, TWO, "code"), exactly(0.6 * perplexityOf(all.source, "code"))],
  },
  {
    text: "C2 when they have taken off 44.5 %, the stories' has risen by less than 5 %",
    arms: [TWO],
    order: (all) => [forgottenAfter(all, TWO, FALLEN), exactly(RISEN)],
  },
  {
    text: "C3 training everything forgets more than two copies, at the same loss on the domain (stories, %)",
    arms: [TWO, FULL],
    order: (all) => [forgottenEqually(all, TWO), forgottenEqually(all, FULL)],
  },
  {
    text: "C3 training everything forgets more, after the same steps (stories)",
    arms: [TWO, FULL],
    order: (all) => [ofArm(all, TWO, "stories"), ofArm(all, FULL, "stories")],
  },
  {
    text: "C4 LoRA of equal size learns the domain less (code)",
    arms: [TWO, LORA],
    order: (all) => [ofArm(all, TWO, "code"), ofArm(all, LORA, "code")],
  },
  {
    text: "C4 LoRA forgets less, after the same steps (stories)",
    arms: [TWO, LORA],
    order: (all) => [ofArm(all, LORA, "stories"), ofArm(all, TWO, "stories")],
  },
  {
    text: "C4 LoRA forgets less, at the same loss on the domain (stories, %)",
    arms: [TWO, LORA],
    order: (all) => [forgottenEqually(all, LORA), forgottenEqually(all, TWO)],
  },
  {
    text: "C5 the domain falls with the number of copies: 5, 2, 1 (code)",
    arms: ["1 copy", TWO, "5 copies"],
    order: (all) => ["5 copies", TWO, "1 copy"].map((arm) => ofArm(all, arm, "code")),
  },
  {
    text: "C6 interleaved copies learn the domain better than a suffix (code)",
    arms: [TWO, "2 copies, suffix"],
    order: (all) => [ofArm(all, TWO, "code"), ofArm(all, "2 copies, suffix", "code")],
  },
  {
    text: "C6 a prefix forgets more than interleaved copies (stories)",
    arms: [TWO, "2 copies, prefix"],
    order: (all) => [ofArm(all, TWO, "stories"), ofArm(all, "2 copies, prefix", "stories")],
  },
  {
    text: "C7 copies with zeroed norms learn nothing: code stays within 1 % of the source",
    arms: [NORMS],
    order: (all) => [exactly(0.99 * perplexityOf(all.source, "code")), ofArm(all, NORMS, "code")],
  },
  {
    text: "C7 copies with zeroed norms learn less than with zeroed projections (code)",
    arms: [TWO, NORMS],
    order: (all) => [ofArm(all, TWO, "code"), ofArm(all, NORMS, "code")],
  },
  {
    text: "control: as many original blocks forget more, at the same loss on the domain (stories, %)",
    arms: [TWO, ORIGINAL],
    order: (all) => [forgottenEqually(all, TWO), forgottenEqually(all, ORIGINAL)],
  },
];

/** Each claim: holds, does not hold, or is within the spread of the seeds. */
export function claimLines(all: Outcomes): readonly string[] {
  const lines = CLAIMS.filter(({ arms }) => arms.every((arm) => all.arms.has(arm))).map(({ text, order }) => {
    const spreads = order(all);
    return `${verdict(spreads).padEnd(17)}  ${text}: ${spreads.map(shown).join(" < ")}`;
  });
  const [zeroed] = all.arms.get(NORMS) ?? [];
  return zeroed === undefined
    ? lines
    : [...lines, `still zero where norms were zeroed, seed 0: ${zeroed.zeros.join(", ") || "nothing"}`];
}

function verdict(spreads: readonly Spread[]): string {
  const pairs = spreads.slice(1).map((high, at) => ({ low: spreads[at] ?? high, high }));
  if (pairs.some(({ low, high }) => Number.isNaN(high.mean - low.mean))) return "not comparable";
  if (pairs.every(({ low, high }) => high.mean - low.mean > low.deviation + high.deviation)) return "holds";
  const against = pairs.some(({ low, high }) => low.mean - high.mean > low.deviation + high.deviation);
  return against ? "does not hold" : "within the spread";
}
