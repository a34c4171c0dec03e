// The verb `train`, with its two other answers: a forecast, and a directory for another trainer.
import type { ExportOptions } from "../../commands/export.ts";
import type { TrainOptions } from "../../commands/train.ts";
import { ExpandError } from "../../errors.ts";
import { TRAIN_OPTIONS, trainOptions } from "../train-options.ts";
import { forecastText, trainText } from "../train-text.ts";
import { type Arguments, optional, text, type Verb, type VerbContext } from "../verb.ts";

const EXITS = { trained: 0, "not-trained": 1 } as const;

export const trainVerb: Verb = {
  name: "train",
  positionals: "<expanded> <output>",
  summary: "Trains the copies of an expanded checkpoint on a corpus, and proves that nothing else changed.",
  options: TRAIN_OPTIONS,
  examples: [
    ["train ./expanded ./trained --corpus code.jsonl --eval code=held-out.txt", "one epoch, measured on the way"],
    ["train ./expanded ./trained --corpus code.jsonl=0.8 --corpus prose.txt=0.2 --tokens 50000000", "a mixture"],
    ["train ./expanded ./trained --corpus code.jsonl --dry-run", "what it would take"],
  ],
  exits:
    "0 trained and proved, 1 something else changed, 2 usage, 3 a source is refused or a loss is not finite, 4 output refused or disk full, 6 onnxruntime or CUDA is missing, 7 the proof is inconclusive, 130 interrupted with the state saved",
  run: async (args, context) => {
    refuseIdle(args);
    const options = trainOptions(args, context);
    if (args.export !== undefined) return exportFor(args, options, context);
    if (args["dry-run"] === true) return dryRun(options, context);
    const { train } = await import("../../commands/train.ts");
    const report = await context.finish(train(options));
    context.terminal.report(context.json ? JSON.stringify(report) : await trainText(report));
    const { verdict } = report.verification;
    return verdict === "trained" || verdict === "not-trained" ? EXITS[verdict] : 7;
  },
};

async function dryRun(options: TrainOptions, context: VerbContext): Promise<number> {
  const { forecast } = await import("../../commands/train-forecast.ts");
  const report = await context.finish(forecast(options));
  context.terminal.report(context.json ? JSON.stringify(report) : forecastText(report));
  return 0;
}

/** What only a run of our own can heed. */
const OWN_WORDS = ["eval", "tokenizer", "mask", "device", "layout", "checkpointing", "threads", "every"].concat([
  "eval-tokens",
  "save-every",
  "resume",
  "hash",
  "dry-run",
]);

/** Throws "usage" for a word that would do nothing beside the others. */
function refuseIdle(args: Arguments): void {
  const find = (words: readonly string[]): string | undefined =>
    words.find((word) => args[word] !== undefined && (word !== "dry-run" || args[word] === true));
  const own = args.export === undefined ? undefined : find(OWN_WORDS);
  if (own !== undefined) {
    const word = args[own] === false ? `--no-${own}` : `--${own}`;
    throw new ExpandError("usage", `${word} is about training here, and --export trains nothing`, {
      fix: `Remove ${word}, or --export.`,
    });
  }
  const measuring = args.eval === undefined ? find(["every", "eval-tokens"]) : undefined;
  if (measuring !== undefined) {
    throw new ExpandError("usage", `--${measuring} is about measuring a text, and there is no --eval`, {
      fix: "Add --eval FILE.",
    });
  }
  if (args.token !== undefined && args.export === undefined) {
    throw new ExpandError("usage", "--token is for the Hub, and weights must be on this disk to be trained", {
      fix: "Remove --token.",
    });
  }
}

async function exportFor(args: Arguments, options: TrainOptions, context: VerbContext): Promise<number> {
  const { exportTraining, shellWord } = await import("../../commands/export.ts");
  const { field } = options;
  const corpora = options.corpora.map((corpus) => ({ ...corpus, ...(field === undefined ? {} : { field }) }));
  const trainer = text(args, "export") as ExportOptions["trainer"];
  const token = optional<ExportOptions>(args, { token: "token" });
  const report = await context.finish(exportTraining({ ...options, ...token, corpora, trainer }));
  const lines = [
    `wrote     ${report.files.map(({ name }) => name).join(", ")} to ${report.output}`,
    `run       cd ${shellWord(report.output)} && ${report.command}`,
  ];
  context.terminal.report(context.json ? JSON.stringify(report) : lines.join("\n"));
  return 0;
}
