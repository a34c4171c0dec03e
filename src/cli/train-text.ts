// What `train` says in the end, and what its dry run says. Text only.
import type { TrainReport } from "../commands/train.ts";
import type { TrainForecast } from "../commands/train-forecast.ts";
import { formatBytes, formatCount, formatDuration, formatItems, formatRanges, formatTable } from "./terminal.ts";

export function forecastText({
  recipe,
  memory,
  parameters,
  tokens,
  secondsPerStep,
  seconds,
  loss,
}: TrainForecast): string {
  const { batch, accumulate, context } = recipe;
  const rows = [
    ["frozen weights", formatBytes(memory.weights)],
    ["trained weights and moments, f32", formatBytes(memory.state)],
    ["gradients", formatBytes(memory.gradients)],
    ["activations", formatBytes(memory.activations)],
    ["together", formatBytes(memory.total)],
    ...(memory.measured === undefined
      ? []
      : [["measured: growth of the process in two steps", formatBytes(memory.measured)]]),
  ];
  return [
    `trains    ${formatCount(parameters.values)} parameters in ${formatItems(parameters.tensors, "tensor")}`,
    `steps     ${recipe.steps} of ${batch} x ${accumulate} ${batch * accumulate === 1 ? "sequence" : "sequences"} of ${context} tokens, ${formatCount(tokens)} tokens in all`,
    `rate      ${recipe.schedule.peak}, ${recipe.schedule.kind}, ${formatItems(recipe.schedule.warmup, "step")} of warm-up`,
    ...typeRow(recipe),
    `time      ${formatDuration(seconds)}: ${secondsPerStep.toPrecision(3)} s a step, measured; evaluations not counted`,
    `loss      ${loss.toFixed(4)} at the first step`,
    `disk      ${formatBytes(memory.disk)} for the state while it runs`,
    "",
    formatTable(["memory (estimated)", ""], rows),
    "",
    "nothing was written",
  ].join("\n");
}

/** Where it is not what was asked for: onnxruntime has no f16 product for the CPU, and takes the casts to f16 out again. */
function typeRow({ dtype, device }: TrainReport["recipe"]): readonly string[] {
  return dtype === "f16" && device === "cpu" ? ["type      f16 as asked, but computed in f32 on the CPU"] : [];
}

export async function trainText(report: TrainReport): Promise<string> {
  const { terminalText } = await import("../commands/verify.ts");
  const { progress, parameters, loss, evaluations } = report;
  const bytes = report.files.reduce((sum, file) => sum + file.size, 0);
  const perplexity = (nats: number): string => String(Number(Math.exp(nats).toPrecision(4)));
  const rows = evaluations.map(({ name, before, after }) => {
    const change = 100 * (Math.exp(after - before) - 1);
    return [name, perplexity(before), perplexity(after), `${change > 0 ? "+" : ""}${change.toFixed(1)} %`];
  });
  return [
    `trained   ${formatCount(parameters.values)} parameters in ${formatItems(parameters.tensors, "tensor")}${report.blocks.length === 0 ? "" : `, block${report.blocks.length === 1 ? "" : "s"} ${formatRanges(report.blocks)}`}`,
    `steps     ${progress.step}, ${formatCount(progress.tokens)} tokens, ${formatDuration(progress.seconds)}${progress.skipped === 0 ? "" : `; ${progress.skipped} skipped in f16`}`,
    ...typeRow(report.recipe),
    `loss      ${loss.first.toFixed(4)} at first, ${loss.last.toFixed(4)} at last`,
    ...(rows.length === 0 ? [] : ["", formatTable(["text", "perplexity before", "after", "change"], rows)]),
    "",
    `wrote     ${formatItems(report.files.length, "file")}, ${formatBytes(bytes)}, to ${report.output}`,
    terminalText(report.verification),
  ].join("\n");
}
