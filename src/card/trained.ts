// The part of a model card that is of a trained model: what was trained, on what, and how it is known that nothing else changed. Says only what
// the summary of the run and the proof say.
import { shellWord } from "../training/export/job.ts";
import { bytesText, headline, trainedTexts } from "../verification/report/summary.ts";
import { listed } from "../verification/report.ts";
import type { CardFacts } from "./facts.ts";
import { code, count, fenced, plain, table } from "./markdown.ts";

export function trainingDone({ training, report, mask, files, alsoTrained = [] }: CardFacts): string[] {
  const trainable = report.trained?.trainable;
  const blocks = training?.blocks ?? mask.blocks;
  const lines = [
    "## Training",
    "",
    `Trained were the new blocks (${blocks.join(", ")}): ${trainable?.changed ?? 0} of ${trainable?.tensors ?? 0} trainable tensors changed, and every other tensor is frozen. ${code(files.mask)} says it for every tensor.`,
    "",
  ];
  if (alsoTrained.length > 0) {
    lines.push(`Trained as well, outside of the new blocks: ${listed(alsoTrained.map(code), 8)}.`, "");
  }
  if (training === undefined) return [...lines, "On what and how is not written down here.", ""];
  const { steps, tokens, batch, accumulate, context, schedule, decay, clip, dtype, computed = dtype, loss } = training;
  const corpora = training.corpora.map(
    ({ name, weight }) => `${code(name)}${weight === undefined ? "" : ` (weight ${weight})`}`,
  );
  const rows = [
    ["corpus", corpora.join(", ")],
    ["steps", `${count(steps)} of ${batch * accumulate} x ${context} tokens; ${count(tokens)} tokens counted`],
    ["learning rate", `${schedule.peak}, ${plain(schedule.kind)}, ${count(schedule.warmup)} steps of warm-up`],
    [
      "AdamW",
      `weight decay ${decay}; gradients ${clip === undefined ? "not clipped" : `clipped to norm ${clip}`}; ${plain(computed)}`,
    ],
    ["loss of training", `${nats(loss.first)} in the first twentieth of the steps, ${nats(loss.last)} in the last`],
  ];
  lines.push(...table(["", ""], rows), "");
  if (training.evaluations.length > 0) lines.push(...evaluations(training.evaluations));
  return lines;
}

function evaluations(measured: NonNullable<CardFacts["training"]>["evaluations"]): string[] {
  const rows = measured.map(({ name, before, after }) => [
    code(name),
    nats(before),
    nats(after),
    `${perplexity(before)} to ${perplexity(after)}`,
  ]);
  return [
    "Measured on texts before and after:",
    "",
    ...table(["text", "loss before", "loss after", "perplexity"], rows),
    "",
  ];
}

function perplexity(loss: number | null): string {
  return nats(loss === null ? null : Math.exp(loss));
}

/** What is not finite is null in JSON. */
function nats(value: number | null): string {
  return Number.isFinite(value) && value !== null ? value.toPrecision(4) : "not finite";
}

export function trainedProof({ report, files }: CardFacts): string[] {
  const { before, after, trained } = report;
  const texts = trained && trainedTexts(trained);
  return [
    "## Proof",
    "",
    `**${plain(headline(report))}** (${bytesText(report.bytesCompared)} compared).`,
    ...(texts === undefined ? [] : ["", `- frozen: ${texts.frozen}`, `- trainable: ${texts.trainable}`]),
    "",
    ...table(
      ["", "tensors", "bytes", "fingerprint of the headers (SHA-256)"],
      [
        ["BEFORE, the expanded model before training", `${before.tensors}`, `${before.bytes}`, code(before.headers)],
        ["AFTER, this model", `${after.tensors}`, `${after.bytes}`, code(after.headers)],
      ],
    ),
    "",
    `${code(files.verification)} is the report, and ${code(files.manifest)} has the SHA-256 of every file.`,
    "",
  ];
}

export function trainedAgain({ version, source, repo, files, model }: CardFacts): string[] {
  const from =
    source === undefined ? "SOURCE" : `${source.repo}${source.commit === undefined ? "" : `@${source.commit}`}`;
  const tool = `npx expand-checkpoint@${version}`;
  const here = shellWord(`${repo}${model === undefined ? "" : `:${model}`}`);
  const expanded = shellWord(model === undefined ? "EXPANDED" : `EXPANDED/${model}`);
  return [
    "## Check it, or take the training off",
    "",
    ...fenced(
      "sh",
      [
        `${tool} expand ${from} ${expanded} --plan ${shellWord(files.plan)}`,
        `${tool} verify ${expanded} ${here} --mode trained`,
        `${tool} delta strip DOWNLOADED SOURCE-AGAIN`,
        "",
      ].join("\n"),
    ),
  ];
}
