// The words of `convert`.
import type { Options } from "yargs";
import type { ConvertOptions, ConvertReport } from "../../commands/convert.ts";
import { ExpandError } from "../../errors.ts";
import { WRITE_OPTIONS } from "../output-options.ts";
import { formatBytes, formatItems } from "../terminal.ts";
import { byteSize } from "../values.ts";
import { type Arguments, HUB_OPTIONS, optional, text, type Verb, type VerbContext } from "../verb.ts";

const OPTIONS: Readonly<Record<string, Options>> = {
  format: {
    group: "Model:",
    requiresArg: true,
    type: "string",
    default: "onnx",
    describe: "What to write: onnx",
    coerce: formatName,
  },
  dtype: {
    group: "Model:",
    requiresArg: true,
    choices: ["keep", "f32"],
    default: "keep",
    describe: "Weights as stored (quantized ones as f32), or all as f32; computed in f32 either way",
  },
  "shard-size": {
    group: "Output:",
    requiresArg: true,
    describe: "Largest data file, in bytes: 2GB, 500MB [default: 2GB]",
    coerce: byteSize("shard-size"),
  },
  ...WRITE_OPTIONS,
  "dry-run": {
    group: "Output:",
    type: "boolean",
    default: false,
    describe: "Print what would be written, write nothing",
  },
  link: {
    group: "Output:",
    type: "boolean",
    default: false,
    describe: "Hard-link the source's files as data files instead of copying weights",
  },
  ...HUB_OPTIONS,
  verify: {
    group: "Proof:",
    requiresArg: true,
    choices: ["numbers", "none"],
    default: "numbers",
    describe: "Run the model against its source, where onnxruntime is installed",
  },
};

export const convertVerb: Verb = {
  name: "convert",
  positionals: "<source> <output>",
  summary: "Writes a checkpoint as an ONNX model with a KV cache, without Python, and runs it against its source.",
  options: OPTIONS,
  examples: [
    ["convert ./Llama-3.2-1B ./llama-onnx --format onnx", "for onnxruntime, transformers.js and onnxruntime-genai"],
    ["convert ./Llama-3.2-1B ./llama-onnx --link", "data files are hard links to the safetensors files"],
    ["convert model-Q4_K_M.gguf ./model-onnx --dry-run", "a GGUF file; its weights become f32"],
  ],
  exits:
    "0 done, 1 the model's logits differ from its source's, 2 usage, 3 source refused, 4 output refused or disk full, 130 interrupted",
  run: async (args, context) => {
    const { convert } = await import("../../commands/convert.ts");
    const report = await context.finish(convert(convertOptions(args, context)));
    context.terminal.report(context.json ? JSON.stringify(report) : convertText(report));
    return report.check?.holds === false ? 1 : 0;
  },
};

function convertOptions(args: Arguments, context: VerbContext): ConvertOptions {
  return {
    source: text(args, "source") ?? "",
    output: text(args, "output") ?? "",
    format: "onnx",
    signal: context.signal,
    ...optional<ConvertOptions>(args, {
      dtype: "dtype",
      shardSize: "shard-size",
      force: "force",
      dryRun: "dry-run",
      link: "link",
      direct: "direct",
      sparse: "sparse",
      hash: "hash",
      resume: "resume",
      verify: "verify",
      token: "token",
    }),
  };
}

function formatName(word: unknown): "onnx" {
  if (word === "onnx") return word;
  throw new ExpandError(
    "usage",
    `--format takes onnx, not ${JSON.stringify(String(word))}; safetensors and gguf are not supported yet`,
  );
}

function convertText(report: ConvertReport): string {
  const bytes = report.files.reduce((sum, file) => sum + file.size, 0);
  const lines = [
    `model     ${report.family} (${report.source.format}), ${report.blocks} blocks, as ${report.nodes} ONNX nodes`,
    ...report.notes.map((note) => `note      ${note}`),
    `${report.written ? "wrote" : "would write"}     ${formatItems(report.files.length, "file")}, ${formatBytes(bytes)}, to ${report.output}`,
  ];
  if (!report.written) {
    return [...lines, ...report.files.map(({ name, size }) => `  ${name}  ${formatBytes(size)}`)].join("\n");
  }
  return [...lines, proofText(report)].join("\n");
}

function proofText({ check, unverified }: ConvertReport): string {
  if (check === undefined) return `NOT VERIFIED: ${unverified ?? "nothing was run"}`;
  const { prefill, decode, tolerance } = check;
  const share = (value: number): string => (value === 0 ? "0" : value.toExponential(1));
  const numbers = `${share(prefill.maxRel)} of the largest logit at once, ${share(decode.maxRel)} token by token with the cache`;
  return check.holds
    ? `same logits as the source: off by ${numbers} (onnxruntime ${check.runtime}, ${check.tokens} tokens)`
    : `OTHER LOGITS than the source: off by ${numbers}; ${share(tolerance)} is allowed`;
}
