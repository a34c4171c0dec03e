// From a decided plan to the expanded checkpoint as references, and to what it costs. No weight is read; writing happens elsewhere.
import { applyPlan, type Expansion } from "../expansion/apply.ts";
import type { Plan } from "../expansion/plan.ts";
import type { GraphBlocks } from "../residual/blocks.ts";
import type { Understood } from "./understanding.ts";

/** Borders that a plan names before it says how many more there are. */
const SHOWN_BORDERS = 8;

/** The plan comes back with what only its result tells: of a graph, the cost and the borders. */
export async function carryOut(
  { checkpoint, architecture, graphBlocks }: Understood,
  plan: Plan,
): Promise<{ readonly plan: Plan; readonly expansion: Expansion }> {
  if (graphBlocks === undefined) return { plan, expansion: applyPlan(checkpoint, architecture, plan) };
  const { applyGraphPlan, graphCost } = await import("../expansion/graph/apply.ts");
  const { planOnnx } = await import("../formats/onnx/write.ts");
  const expansion = applyGraphPlan(checkpoint, graphBlocks, plan);
  const { graph } = expansion.checkpoint;
  const files = graph === undefined ? [] : planOnnx(graph, { name: "model.onnx" });
  const cost = graphCost(checkpoint, architecture, expansion.checkpoint, plan, files);
  return { plan: { ...plan, cost, notes: [...plan.notes, borders(graphBlocks)] }, expansion };
}

function borders({ blocks }: GraphBlocks): string {
  const names = blocks.map(({ passages }) => passages[0]?.output ?? "");
  const rest = names.length - SHOWN_BORDERS;
  return `the blocks end at ${names.slice(0, SHOWN_BORDERS).join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
}
