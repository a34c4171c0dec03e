// A plan as people read it. Formats only.
import type { Plan } from "../commands/plan.ts";
import { formatBytes, formatCount, formatRanges, formatTable } from "./terminal.ts";

/** Copies that are closed in the same way share a line. */
export function planText(plan: Plan): string {
  const { source, cost } = plan;
  const copies = plan.blocks.filter((block) => block.kind === "copy");
  const before = formatCount(cost.parametersBefore);
  return [
    `model     ${source.modelType} (${source.format}), ${source.blocks} blocks -> ${plan.blocks.length}, ${before} -> ${formatCount(cost.parametersAfter)} parameters`,
    `copies    at ${formatRanges(copies.map((block) => block.at))}, of blocks ${formatRanges(copies.map((block) => block.from))}`,
    ...closings(plan).map((line) => `zeroed    ${line}`),
    ...plan.config.map((edit) => `setting   ${edit.path}: ${short(edit.before)} -> ${short(edit.after)}`),
    `training  ${trainingText(plan)}`,
    `bytes     read ${formatBytes(cost.bytesToRead)}, write ${formatBytes(cost.bytesToWrite)}, of which ${formatBytes(cost.zeroBytes)} zeros; ${formatBytes(cost.freeDisk)} of free disk needed`,
    ...plan.notes.map((note) => `note      ${note}`),
  ].join("\n");
}

/** What an optimizer could update; quantized copies say so, because only their norms and biases could move. */
export function trainingText({ cost }: Plan): string {
  const added = cost.parametersAfter - cost.parametersBefore;
  const share = ((cost.trainable / Math.max(1, cost.parametersAfter)) * 100).toFixed(1);
  if (cost.trainable * 2 >= added)
    return `${formatCount(cost.trainable)} parameters (${share} %) in the copies; everything else is frozen`;
  return `the copies' weights are quantized and cannot be trained as they are; expand the unquantized checkpoint to train it`;
}

/** One row per block, for --verbose. */
export function planTable(plan: Plan): string {
  const rows = plan.blocks.map((block) => [
    block.at,
    block.kind === "copy" ? `copy of ${block.from}` : `original ${block.from}`,
    block.kind === "copy" ? block.zeroed.map((entry) => `${entry.tensor} = ${entry.value}`).join(", ") : "",
  ]);
  return formatTable(["block", "what", "fixed values"], rows);
}

function closings(plan: Plan): string[] {
  const counts = new Map<string, number>();
  for (const block of plan.blocks) {
    if (block.kind === "original") continue;
    const key = block.why.join("; ");
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return [...counts].map(([why, count]) => (counts.size === 1 ? why : `${why} (${count} copies)`));
}

function short(value: unknown): string {
  if (value === undefined) return "absent";
  const text = JSON.stringify(value);
  return text.length <= 60 ? text : Array.isArray(value) ? `list of ${value.length}` : `${text.slice(0, 57)}...`;
}
