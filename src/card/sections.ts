// The words of our part of a model card. Says only what plan, mask and proof say; never lets a name become markup.
import type { Plan, PlannedBlock } from "../expansion/plan.ts";
import { shellWord } from "../training/export/job.ts";
import { blockCounts, bytesText, headline, logitsText, runText } from "../verification/report/summary.ts";
import { listed } from "../verification/report.ts";
import type { CardFacts, CardRecipe } from "./facts.ts";
import { code, count, fenced, link, plain, table } from "./markdown.ts";
import { trainedAgain, trainedProof, trainingDone } from "./trained.ts";

const TRAINERS: Readonly<Record<CardRecipe["name"], string>> = {
  axolotl: "axolotl",
  "llama-factory": "LLaMA-Factory",
  "ms-swift": "ms-swift",
  peft: "PEFT",
  torch: "plain PyTorch",
};

const LANGUAGES: Readonly<Record<string, string>> = { yaml: "yaml", py: "python", txt: "text", json: "json" };

/** Ends with a line break. `extends`: other text follows, which is about the source. */
export function cardText(facts: CardFacts, extendsAnother: boolean): string {
  const parts = isTrained(facts)
    ? [...trainingDone(facts), ...trainedProof(facts), ...trainedAgain(facts)]
    : [...training(facts), ...proof(facts), ...again(facts)];
  return [...opening(facts, extendsAnother), ...blocks(facts), ...zeroed(facts), ...parts, ""].join("\n");
}

function isTrained({ report }: CardFacts): boolean {
  return report.verdict === "trained";
}

const UNTRAINED =
  "Each new block is a copy whose output projections are closed, so that it adds exactly zero: **as published, this model computes exactly what its source computes**, no better and no worse. It is made to be trained (LLaMA Pro block expansion, [arXiv 2401.02415](https://arxiv.org/abs/2401.02415)).";
const TRAINED =
  "Each new block started as a copy whose output projections were closed, so that it added exactly zero, and was trained then, **with every other tensor frozen** (LLaMA Pro block expansion, [arXiv 2401.02415](https://arxiv.org/abs/2401.02415)).";
const TRAINED_MORE =
  "Each new block started as a copy whose output projections were closed, so that it added exactly zero, and was trained then, with some of the other tensors (LLaMA Pro block expansion, [arXiv 2401.02415](https://arxiv.org/abs/2401.02415)).";

function opening(facts: CardFacts, extendsAnother: boolean): string[] {
  const { repo, plan, source, version } = facts;
  const copies = copiesOf(plan).length;
  const of = source === undefined ? `a ${code(plan.source.modelType)} model` : link(source.repo);
  const { parametersBefore, parametersAfter } = plan.cost;
  return [
    `# ${plain(repo.split("/").at(-1) ?? repo)}`,
    "",
    `This is ${of} with ${copies === 1 ? "one more block" : `${copies} more blocks`}: ${plan.source.blocks} became ${plan.blocks.length}, and ${count(parametersBefore)} parameters became ${count(parametersAfter)}.`,
    isTrained(facts) ? ((facts.alsoTrained ?? []).length > 0 ? TRAINED_MORE : TRAINED) : UNTRAINED,
    `Made with expand-checkpoint ${version}.${extendsAnother ? " The text below this part is the source's." : ""}`,
    "",
  ];
}

function blocks(facts: CardFacts): string[] {
  const { plan, report } = facts;
  const rows = copiesOf(plan).map((block) => {
    const closed = (report.blocks[block.at]?.closed ?? []).map((each) => `${each.branch}: ${each.factor}`);
    // A proof of training looks at no branches; the plan says what was closed before it.
    return [`${block.at}`, `${block.from}`, plain((isTrained(facts) ? block.why : closed).join(", "))];
  });
  return [
    "## Inserted blocks",
    "",
    ...table(
      [
        "block (from 0)",
        `copy of block (of ${plan.source.blocks})`,
        isTrained(facts) ? "closed at the start" : "closed",
      ],
      rows,
    ),
    "",
  ];
}

function zeroed(facts: CardFacts): string[] {
  const { plan, files } = facts;
  const fixed = copiesOf(plan).flatMap((block) => block.zeroed);
  const byValue = new Map<number, string[]>();
  for (const { tensor, value } of fixed) byValue.set(value, [...(byValue.get(value) ?? []), tensor]);
  const lines = [...byValue].map(
    ([value, tensors]) =>
      `- ${value === 0 ? "Zero" : `${value} throughout`}: ${listed(tensors.map(code), 8)}${value === 0 ? "" : " (held, not trained)"}`,
  );
  const settings = plan.config.map(
    ({ path, before, after }) => `- ${code(path)}: ${value(before)} became ${value(after)}`,
  );
  return [
    isTrained(facts) ? "## What was zeroed before training" : "## What is zeroed",
    "",
    ...lines,
    "",
    isTrained(facts)
      ? `Every other tensor of a copy started with the bytes of its source block. ${code(files.plan)} has the whole list.`
      : `Every other tensor of a copy holds the bytes of its source block, and every tensor of the source is here byte for byte. ${code(files.plan)} has the whole list.`,
    ...(settings.length === 0 ? [] : ["", "Settings that changed with the number of blocks:", "", ...settings]),
    "",
  ];
}

function training({ mask, recipes, files, plan }: CardFacts): string[] {
  const { trainable, frozen } = mask.counts;
  const share = ((trainable.parameters / Math.max(1, trainable.parameters + frozen.parameters)) * 100).toFixed(1);
  const lines = [
    "## Training",
    "",
    `Train the new blocks (${mask.blocks.join(", ")}) and freeze everything else: ${count(trainable.parameters)} parameters in ${trainable.tensors} tensors, ${share} % of the model. ${code(files.mask)} says it for every tensor.`,
    "",
  ];
  if (plan.cost.trainable * 2 < plan.cost.parametersAfter - plan.cost.parametersBefore) {
    lines.push(
      "The copies are quantized and cannot be trained as they are; expand the unquantized checkpoint to train it.",
      "",
    );
  }
  for (const { name, result } of recipes) {
    if (result.kind === "refused") continue;
    const language = LANGUAGES[result.file.split(".").at(-1) ?? ""] ?? "";
    lines.push(
      "<details>",
      `<summary>${TRAINERS[name]}</summary>`,
      "",
      ...fenced(language, result.text),
      "",
      "</details>",
      "",
    );
  }
  const refused = recipes.flatMap(({ name, result }) =>
    result.kind === "refused" ? [`${TRAINERS[name]} (${plain(result.reason)})`] : [],
  );
  if (refused.length > 0) lines.push(`No recipe for: ${refused.join("; ")}.`, "");
  return lines;
}

/** How a file that is gone is known to be the one that was proved. */
const STREAMED =
  "The files were published one at a time as they were written. The proof was made on the files as planned; each one was then compared with its plan byte for byte on the disk, and had the same SHA-256 when it was written and when it was sent. The command below proves it again on what is here.";

function proof({ report, files, streamed }: CardFacts): string[] {
  const { before, after, numeric } = report;
  return [
    "## Proof",
    "",
    `**${plain(headline(report))}** (${blockCounts(report.blocks)}; ${bytesText(report.bytesCompared)} compared).`,
    ...(numeric === undefined
      ? []
      : [`Both models were run: ${plain(runText(numeric))}; logits: ${logitsText(numeric)}.`]),
    "",
    ...table(
      ["", "tensors", "bytes", "fingerprint of the headers (SHA-256)"],
      [
        ["BEFORE, the source", `${before.tensors}`, `${before.bytes}`, code(before.headers)],
        ["AFTER, this model", `${after.tensors}`, `${after.bytes}`, code(after.headers)],
      ],
    ),
    "",
    ...(streamed === true ? [STREAMED, ""] : []),
    `${code(files.verification)} is the report, and ${code(files.manifest)} has the SHA-256 of every file.`,
    "",
  ];
}

function again({ version, source, repo, files, model }: CardFacts): string[] {
  const from =
    source === undefined ? "SOURCE" : `${source.repo}${source.commit === undefined ? "" : `@${source.commit}`}`;
  const tool = `npx expand-checkpoint@${version}`;
  const here = shellWord(`${repo}${model === undefined ? "" : `:${model}`}`);
  return [
    "## Make it again, or check it",
    "",
    ...(source === undefined ? ["SOURCE is the checkpoint whose fingerprint stands above.", ""] : []),
    ...fenced(
      "sh",
      [`${tool} expand ${from} OUT --plan ${shellWord(files.plan)}`, `${tool} verify ${from} ${here}`, ""].join("\n"),
    ),
  ];
}

type Copy = Extract<PlannedBlock, { kind: "copy" }>;

function copiesOf(plan: Plan): readonly Copy[] {
  return plan.blocks.flatMap((block) => (block.kind === "copy" ? [block] : []));
}

function value(of: unknown): string {
  if (of === undefined || of === null) return "nothing";
  const text = JSON.stringify(of);
  return text.length <= 60
    ? code(text)
    : Array.isArray(of)
      ? `a list of ${of.length}`
      : code(`${text.slice(0, 57)}...`);
}
