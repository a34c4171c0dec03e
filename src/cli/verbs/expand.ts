// The words of `expand`.
import type { Options } from "yargs";
import type { ExpandOptions, ExpandReport, VerificationReport } from "../../commands/expand.ts";
import { RECIPE_NAMES } from "../../commands/recipe-names.ts";
import { ExpandError } from "../../errors.ts";
import { BLOCK_OPTIONS, prepareOptions } from "../block-options.ts";
import { numberOptions, numbersOf, refuseIdle } from "../number-options.ts";
import { WRITE_OPTIONS } from "../output-options.ts";
import { planText } from "../plan-text.ts";
import { formatBytes, formatItems } from "../terminal.ts";
import { byteSize, nameList } from "../values.ts";
import { type Arguments, optional, text, type Verb, type VerbContext } from "../verb.ts";
import { planVerb } from "./plan.ts";
import { pushText, TARGET_OPTIONS, targetOptions } from "./push.ts";

const OUTPUT_OPTIONS: Readonly<Record<string, Options>> = {
  "shard-size": {
    group: "Output:",
    requiresArg: true,
    describe: "Largest file of weights, in bytes: 5GB, 500MB, 2GiB",
    coerce: byteSize("shard-size"),
  },
  ...WRITE_OPTIONS,
  "dry-run": { group: "Output:", type: "boolean", default: false, describe: "Print the plan, write nothing" },
  link: { group: "Output:", type: "boolean", default: false, describe: "Hard-link files that stay the same" },
  mask: {
    group: "Mask and proof:",
    requiresArg: true,
    describe: `Also write the mask for: ${RECIPE_NAMES.join(", ")}`,
    coerce: nameList("mask", RECIPE_NAMES),
  },
  verify: {
    group: "Mask and proof:",
    requiresArg: true,
    choices: ["structure", "full", "none"],
    default: "structure",
    describe: "Prove identity by reading everything back; full: by running both models as well",
  },
  ...numberOptions("Running the models (--verify full):"),
  push: {
    group: "Hub:",
    requiresArg: true,
    type: "string",
    describe: "Publish the proved result as owner/name, with a model card",
  },
  stream: {
    group: "Hub:",
    type: "boolean",
    default: false,
    describe: "With --push: write, send and remove one file of weights at a time, for small disks",
  },
  ...TARGET_OPTIONS,
};

export const expandVerb: Verb = {
  name: "expand",
  positionals: "<source> <output>",
  summary: "Adds identity blocks to a checkpoint and proves that nothing changed.",
  options: { ...BLOCK_OPTIONS, ...OUTPUT_OPTIONS },
  examples: [
    ["expand ./Llama-3.2-1B ./expanded --add 4", "four copies, spread evenly"],
    ["expand model-Q4_K_M.gguf expanded.gguf --every 4", "quantized GGUF, a copy after every 4th block"],
    ["expand Qwen/Qwen3-0.6B ./expanded --mask axolotl --push alice/Qwen3-0.6B-expanded", "from the Hub to the Hub"],
  ],
  exits:
    "0 done and proved, 1 not identity, 2 usage or plan, 3 source refused, 4 output refused or disk full, 5 Hub or network, 130 interrupted",
  run: async (args, context) => {
    if (args["dry-run"] === true) return planVerb.run({ ...args, save: undefined }, context);
    if (args.verify !== "full") refuseIdle(args, "--verify full");
    const { expand } = await import("../../commands/expand.ts");
    const report = await context.finish(expand(expandOptions(args, context)));
    context.terminal.report(context.json ? JSON.stringify(report) : await expandText(report));
    const verdict = report.verification?.verdict ?? "identity";
    if (args.push !== undefined && report.published === undefined) {
      context.terminal.warn(`nothing was published: the proof says ${verdict}`);
    }
    return verdict === "identity" ? 0 : verdict === "not-identity" ? 1 : 7;
  },
};

function expandOptions(args: Arguments, context: VerbContext): ExpandOptions {
  return {
    ...prepareOptions(args, context.signal),
    numbers: numbersOf(args),
    output: text(args, "output") ?? "",
    ...pushOptions(args),
    ...optional<ExpandOptions>(args, {
      force: "force",
      shardSize: "shard-size",
      link: "link",
      direct: "direct",
      sparse: "sparse",
      hash: "hash",
      resume: "resume",
      masks: "mask",
      verify: "verify",
      stream: "stream",
    }),
  };
}

/** Words that say how to publish mean nothing without --push; --revision could be taken for the source's. */
function pushOptions(args: Arguments): Pick<ExpandOptions, "push"> {
  const repository = text(args, "push");
  if (repository !== undefined) return { push: targetOptions(args, repository) };
  const alone = Object.keys(TARGET_OPTIONS).find((name) => args[name] !== undefined && args[name] !== false);
  if (alone === undefined) return {};
  throw new ExpandError("usage", `--${alone} says how to publish, and there is no --push`, {
    fix: alone === "revision" ? "A revision of the source is written owner/name@revision." : "Add --push owner/name.",
  });
}

async function verdictText(report: VerificationReport): Promise<string> {
  const { terminalText } = await import("../../commands/verify.ts");
  return terminalText(report);
}

async function expandText(report: ExpandReport): Promise<string> {
  const bytes = report.files.reduce((sum, file) => sum + file.size, 0);
  const lines = [
    planText(report.plan),
    "",
    `wrote     ${formatItems(report.files.length, "file")}, ${formatBytes(bytes)}, to ${report.output}${report.streamed === true ? "; the weights were removed once they were sent" : ""}`,
    ...report.refused.map(({ recipe, reason }) => `no mask for ${recipe}: ${reason}`),
    report.verification === undefined
      ? "NOT VERIFIED: --verify none was given; run expand-checkpoint verify SOURCE OUT"
      : await verdictText(report.verification),
    ...(report.published === undefined ? [] : ["", pushText(report.published)]),
  ];
  return lines.join("\n");
}
