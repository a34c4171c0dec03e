// What the runs say: a row for each arm, means and spreads over seeds, and each claim with whether it holds here. Runs nothing.
import type { CorpusResult } from "../../../src/evaluation/report.ts";
import type { Outcome } from "./run.ts";

export interface Evaluated extends Outcome {
  /** Against the source: stories, prose, code. */
  readonly results: readonly CorpusResult[];
}

type Outcomes = ReadonlyMap<string, readonly Evaluated[]>;

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

/** Relative change of the perplexity of one text, in percent. */
function changes(outcomes: readonly Evaluated[], corpus: string): readonly number[] {
  return outcomes.map(
    ({ results }) => 100 * (results.find((each) => each.corpus === corpus)?.change?.value ?? Number.NaN),
  );
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

/** For each seed, at the loss on code that two copies end with. */
function forgottenEqually(outcomes: readonly Evaluated[], reference: readonly Evaluated[]): readonly number[] {
  return outcomes.map((each, seed) => forgottenAt(each, reference[seed]?.curve.at(-1)?.code ?? Number.NaN));
}

function shown({ mean, deviation }: Spread, sign = true): string {
  if (!Number.isFinite(mean)) return "not reached";
  return `${sign && mean > 0 ? "+" : ""}${mean.toFixed(1)} ± ${deviation.toFixed(1)}`;
}

const HEAD = [
  "arm",
  "trained",
  "code %",
  "stories %",
  "prose %",
  "stories % at equal code",
  "rank 1 stories",
  "first norm",
];

export function table(all: Outcomes): string {
  const reference = all.get("2 copies") ?? [];
  const rows = [...all].map(([name, outcomes]) => {
    const kept = outcomes.map(
      ({ results }) => 100 * (results.find(({ corpus }) => corpus === "stories")?.shift?.unshifted ?? 0),
    );
    return [
      name,
      String(outcomes[0]?.trained ?? ""),
      ...["code", "stories", "prose"].map((corpus) => shown(spreadOf(changes(outcomes, corpus)))),
      shown(spreadOf(forgottenEqually(outcomes, reference))),
      shown(spreadOf(kept), false),
      spreadOf(outcomes.map(({ norm }) => norm)).mean.toPrecision(3),
    ];
  });
  const widths = HEAD.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    cells.map((cell, at) => (at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0))).join("  ");
  return [line(HEAD), ...rows.map(line)].join("\n");
}

interface Claim {
  readonly text: string;
  /** Arms that it needs. */
  readonly arms: readonly string[];
  /** The numbers that are compared; it holds where each is below the next, by more than their spreads. */
  readonly order: (all: Outcomes) => readonly Spread[];
}

const code = (all: Outcomes, arm: string): Spread => spreadOf(changes(all.get(arm) ?? [], "code"));
const stories = (all: Outcomes, arm: string): Spread => spreadOf(changes(all.get(arm) ?? [], "stories"));
const equally = (all: Outcomes, arm: string): Spread =>
  spreadOf(forgottenEqually(all.get(arm) ?? [], all.get("2 copies") ?? []));
const FULL = "all blocks and ends";
const LORA = "LoRA, rank 16";
const exactly = (mean: number): Spread => ({ mean, deviation: 0 });

const CLAIMS: readonly Claim[] = [
  {
    text: "C2 the domain's perplexity falls by 40 % or more",
    arms: ["2 copies"],
    order: (all) => [code(all, "2 copies"), exactly(-40)],
  },
  {
    text: "C3 training everything forgets more than two copies do, at the same loss on the domain",
    arms: ["2 copies", FULL],
    order: (all) => [equally(all, "2 copies"), equally(all, FULL)],
  },
  {
    text: "C3 and after the same steps",
    arms: ["2 copies", FULL],
    order: (all) => [stories(all, "2 copies"), stories(all, FULL)],
  },
  {
    text: "C4 LoRA of equal size learns the domain less than two copies",
    arms: ["2 copies", LORA],
    order: (all) => [code(all, "2 copies"), code(all, LORA)],
  },
  {
    text: "C4 and forgets less",
    arms: ["2 copies", LORA],
    order: (all) => [stories(all, LORA), stories(all, "2 copies")],
  },
  {
    text: "C5 the domain falls with the number of copies: 5 below 2 below 1",
    arms: ["1 copy", "2 copies", "5 copies"],
    order: (all) => ["5 copies", "2 copies", "1 copy"].map((arm) => code(all, arm)),
  },
  {
    text: "C6 interleaved copies learn the domain better than a suffix",
    arms: ["2 copies", "2 copies, suffix"],
    order: (all) => [code(all, "2 copies"), code(all, "2 copies, suffix")],
  },
  {
    text: "C6 a prefix forgets more than interleaved copies",
    arms: ["2 copies", "2 copies, prefix"],
    order: (all) => [stories(all, "2 copies"), stories(all, "2 copies, prefix")],
  },
  {
    text: "C7 copies with zeroed norms learn less than those with zeroed projections",
    arms: ["2 copies", "2 copies, norms zeroed"],
    order: (all) => [code(all, "2 copies"), code(all, "2 copies, norms zeroed")],
  },
  {
    text: "control: two original blocks forget more than two copies, at the same loss on the domain",
    arms: ["2 copies", "2 original blocks"],
    order: (all) => [equally(all, "2 copies"), equally(all, "2 original blocks")],
  },
];

/** Each claim: holds, within the spread, or does not hold. */
export function claimLines(all: Outcomes): readonly string[] {
  return CLAIMS.filter(({ arms }) => arms.every((arm) => all.has(arm))).map(({ text, order }) => {
    const spreads = order(all);
    const numbers = spreads.map((each) => shown(each)).join(" < ");
    return `${verdict(spreads)}: ${text} (${numbers} %)`;
  });
}

function verdict(spreads: readonly Spread[]): string {
  const pairs = spreads.slice(1).map((high, at) => ({ low: spreads[at] ?? high, high }));
  if (pairs.some(({ low, high }) => Number.isNaN(high.mean - low.mean))) return "not comparable";
  if (pairs.every(({ low, high }) => high.mean - low.mean > low.deviation + high.deviation)) return "holds";
  return pairs.some(({ low, high }) => low.mean - high.mean > low.deviation + high.deviation)
    ? "does not hold"
    : "within the spread";
}
