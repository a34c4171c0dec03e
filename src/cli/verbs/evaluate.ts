// The words of `evaluate`.
import path from "node:path";
import type { EvaluateOptions, NamedCorpus } from "../../commands/evaluate.ts";
import { ExpandError } from "../../errors.ts";
import { reportFiles, writeReport } from "../report-files.ts";
import { wholeNumber } from "../values.ts";
import { type Arguments, deviceOf, deviceOption, HUB_OPTIONS, optional, text, type Verb } from "../verb.ts";

/** How each kind of report file is written, by its ending. */
const RENDERERS = { ".html": "htmlText", ".json": "jsonText", ".md": "markdownText" } as const;
const [TEXT, RUN] = ["Text:", "Running the models:"];

export const evaluateVerb: Verb = {
  name: "evaluate",
  positionals: "<model..>",
  summary:
    "Perplexity of models on texts, with confidence intervals: what was learned, what was forgotten, how far tokens shifted.",
  options: {
    corpus: {
      group: TEXT,
      requiresArg: true,
      type: "string",
      array: true,
      describe: "NAME=FILE, again for each: .txt, .jsonl, .parquet, or a directory; files of one name are one corpus",
    },
    field: {
      group: TEXT,
      requiresArg: true,
      type: "string",
      describe: "Of .jsonl and .parquet files [default: text, else the only one]",
    },
    tokens: {
      group: TEXT,
      requiresArg: true,
      describe: "Of each corpus at most; a window is never cut [default: 65536]",
      coerce: wholeNumber("tokens", 1),
    },
    context: {
      group: TEXT,
      requiresArg: true,
      describe: "Tokens of a window [default: 512, or as many as the models take]",
      coerce: wholeNumber("context", 1),
    },
    seed: {
      group: TEXT,
      requiresArg: true,
      describe: "Take the tokens from documents in a seeded order [default: as they stand]",
      coerce: wholeNumber("seed", 0),
    },
    tokenizer: {
      group: TEXT,
      requiresArg: true,
      type: "string",
      describe: "A tokenizer.json for all models [default: each model's own]",
    },
    base: {
      group: RUN,
      requiresArg: true,
      type: "string",
      describe: "MODEL that the others are compared with, or first [default: first]",
    },
    device: deviceOption(RUN),
    threads: {
      group: RUN,
      requiresArg: true,
      describe: "Threads that models run on [default: all cores]",
      coerce: wholeNumber("threads", 1),
    },
    ...HUB_OPTIONS,
    report: {
      group: "Report:",
      requiresArg: true,
      type: "string",
      array: true,
      describe: "Also write FILE.html, FILE.json or FILE.md",
    },
  },
  examples: [
    ["evaluate ./base ./trained --corpus general=stories.txt --corpus domain=code.jsonl", "learned and forgotten"],
    ["evaluate base.gguf trained.gguf --tokenizer ./base --corpus prose.parquet --tokens 20000", "a quick look"],
    ["evaluate ./base ./trained --corpus law=law/ --report evaluation.html", "with a page to keep"],
  ],
  exits:
    "0 done, 2 usage, 3 a model or text cannot be read, or is not supported, 4 a report cannot be written, 5 Hub or network, 6 onnxruntime or CUDA is missing, 130 interrupted",
  run: async (args, context) => {
    const command = await import("../../commands/evaluate.ts");
    const files = reportFiles(args.report, RENDERERS);
    const base = text(args, "base");
    const options: EvaluateOptions = {
      models: words(args.model),
      corpora: corporaOf(args),
      signal: context.signal,
      ...(base === undefined || base === "first" ? {} : { base }),
      ...deviceOf(args),
      ...optional<EvaluateOptions>(args, {
        tokens: "tokens",
        context: "context",
        seed: "seed",
        tokenizer: "tokenizer",
        threads: "threads",
        token: "token",
      }),
    };
    const report = await context.finish(command.evaluate(options));
    // First what no disk can refuse.
    context.terminal.report(context.json ? JSON.stringify(report) : command.terminalText(report));
    for (const { file, renderer } of files) writeReport(file, command[renderer](report));
    return 0;
  },
};

function words(value: unknown): readonly string[] {
  return (Array.isArray(value) ? value : [value]).filter((word) => word !== undefined).map(String);
}

/** "general=stories.txt", or "stories.txt" alone, which is then its name. */
function corporaOf(args: Arguments): readonly NamedCorpus[] {
  const field = text(args, "field");
  const corpora = new Map<string, NamedCorpus["sources"]>();
  let heeded = field === undefined;
  for (const word of words(args.corpus)) {
    const [, name = path.parse(word).name, file = word] = /^([\w.-]+)=(.+)$/.exec(word) ?? [];
    if (file === "" || name === "") {
      throw new ExpandError("usage", `--corpus takes NAME=FILE, not ${JSON.stringify(word)}`);
    }
    // Plain text has no fields, and may stand beside files that have.
    const isPlain = /\.txt$/i.test(file);
    heeded ||= !isPlain;
    const source = { path: file, ...(field === undefined || isPlain ? {} : { field }) };
    corpora.set(name, [...(corpora.get(name) ?? []), source]);
  }
  if (!heeded && corpora.size > 0) {
    throw new ExpandError("usage", "--field is for .jsonl and .parquet files, and there is none", {
      fix: "Remove it.",
    });
  }
  return [...corpora].map(([name, sources]) => ({ name, sources }));
}
