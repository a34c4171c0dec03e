// The words of `inspect`.
import type { InspectOptions, InspectReport } from "../../commands/inspect.ts";
import { formatBytes, formatCount, formatItems, formatTable } from "../terminal.ts";
import { HUB_OPTIONS, optional, text, type Verb } from "../verb.ts";

export const inspectVerb: Verb = {
  name: "inspect",
  positionals: "<source>",
  summary: "Shows what a checkpoint is made of, and which of its blocks add exactly nothing. Reads headers only.",
  options: {
    stack: { group: "Inspect:", requiresArg: true, type: "string", describe: "Which stack, where a model has several" },
    ...HUB_OPTIONS,
    tensors: { group: "Inspect:", type: "boolean", default: false, describe: "List every tensor" },
  },
  examples: [
    ["inspect ./Llama-3.2-1B", "architecture, blocks, sizes"],
    ["inspect model-Q4_K_M.gguf --tensors", "with every tensor"],
    ["inspect Qwen/Qwen3-0.6B", "a repository of the Hub: only headers are transferred"],
  ],
  exits: "0 understood, 2 usage, 3 cannot be read, or would be refused by expand",
  run: async (args, context) => {
    const { inspect } = await import("../../commands/inspect.ts");
    const options: InspectOptions = {
      source: text(args, "source") ?? "",
      signal: context.signal,
      ...optional<InspectOptions>(args, { stack: "stack", tensors: "tensors", token: "token" }),
    };
    const report = await context.finish(inspect(options));
    context.terminal.report(context.json ? JSON.stringify(report) : inspectText(report));
    return report.architecture === undefined ? 3 : 0;
  },
};

function inspectText(report: InspectReport): string {
  const { checkpoint, architecture, refusal } = report;
  const dtypes = Object.entries(report.dtypes).map(
    ([dtype, row]) => `${dtype} ${formatBytes(row.bytes)} in ${row.tensors}`,
  );
  const lines = [
    `checkpoint  ${checkpoint.format}, ${formatItems(report.shards.length, "file")}, ${formatItems(checkpoint.tensors, "tensor")}, ${formatBytes(checkpoint.bytes)}, ${formatCount(report.parameters)} parameters`,
    `types       ${dtypes.join(", ")}`,
  ];
  if (report.hub !== undefined) {
    lines.push(`hub         commit ${report.hub.commit}, ${formatBytes(report.hub.received)} transferred`);
  }
  if (architecture !== undefined) lines.push(...architectureLines(architecture));
  if (refusal !== undefined) {
    lines.push(`refused     ${refusal.message}`);
    if (refusal.fix !== undefined) lines.push(`fix         ${refusal.fix}`);
  }
  if (report.tensors !== undefined) {
    lines.push(
      "",
      formatTable(
        ["tensor", "type", "shape"],
        report.tensors.map(({ name, dtype, shape }) => [name, dtype, shape.join(" x ")]),
      ),
    );
  }
  return lines.join("\n");
}

function architectureLines(architecture: NonNullable<InspectReport["architecture"]>): string[] {
  const { modelType, family, stack, stacks, blocks, tail, outside, period, notes } = architecture;
  const others = stacks.filter((name) => name !== stack);
  const identity = blocks.filter((block) => block.identity).length;
  const rows = blocks.map((block) => [
    block.index,
    block.kind,
    block.tensors,
    formatCount(block.parameters),
    formatBytes(block.bytes),
    block.dtypes.join(" "),
    block.identity ? "adds nothing" : "",
  ]);
  return [
    `model       ${modelType}${family === modelType ? "" : ` (read as ${family})`}, stack "${stack}"${others.length > 0 ? ` (also: ${others.join(", ")})` : ""}`,
    `blocks      ${blocks.length}${tail > 0 ? ` and ${tail} behind the stack` : ""}${identity > 0 ? `, ${identity} of them add nothing` : ""}; ${outside} tensors outside; ${period > 1 ? `kinds repeat every ${period} blocks` : "any block can be copied alone"}`,
    ...notes.map((note) => `note        ${note}`),
    "",
    formatTable(["block", "kind", "tensors", "parameters", "bytes", "types", ""], rows),
  ];
}
