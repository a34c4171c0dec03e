// Carries a plan out on an ONNX checkpoint, and counts what that costs. Reads no weights; writing happens elsewhere.
import type { Architecture } from "../../architecture/architecture.ts";
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { tensorOf } from "../../graph/graph.ts";
import { OnnxType } from "../../graph/onnx.ts";
import type { GraphBlocks } from "../../residual/blocks.ts";
import { mainGraph } from "../../residual/normalise.ts";
import type { FilePlan } from "../../storage/file-plan.ts";
import { elementCount, isPlainFloat } from "../../tensor/dtype.ts";
import { isZero, type TensorRef } from "../../tensor/reference.ts";
import { type Expansion, editConfig } from "../apply.ts";
import type { PlanCost } from "../cost.ts";
import type { Plan } from "../plan.ts";
import { expandGraph } from "./expand.ts";

/** Throws what `expandGraph` throws. */
export function applyGraphPlan(
  checkpoint: Checkpoint,
  blocks: GraphBlocks,
  plan: Pick<Plan, "blocks" | "config">,
): Expansion {
  const graph = expandGraph(blocks, plan);
  const tensors = new Map<string, TensorRef>();
  for (const tensor of mainGraph(graph).initializer) {
    if (tensor.dataType !== OnnxType.STRING) tensors.set(tensor.name, tensorOf(graph, tensor));
  }
  return {
    checkpoint: { ...checkpoint, graph, tensors, config: editConfig(checkpoint.config, plan.config) },
    groups: [],
  };
}

/** Copies share the bytes of their sources, so that files tell the cost and tensors do not. */
export function graphCost(
  before: Checkpoint,
  architecture: Architecture,
  expanded: Checkpoint,
  plan: Pick<Plan, "blocks">,
  files: readonly FilePlan[],
): PlanCost {
  let bytesToRead = 0;
  let bytesToWrite = 0;
  let zeroBytes = 0;
  for (const { size, segments } of files) {
    bytesToWrite += size;
    for (const segment of segments) {
      if (segment.kind === "copy") bytesToRead += segment.length;
      if (segment.kind === "fill" && isZero(segment.pattern)) zeroBytes += segment.length;
    }
  }
  const aliases = architecture.aliases ?? new Map();
  return {
    bytesToRead,
    bytesToWrite,
    zeroBytes,
    freeDisk: bytesToWrite - zeroBytes,
    parametersBefore: values([...before.tensors].filter(([name]) => !aliases.has(name)).map(([, tensor]) => tensor)),
    parametersAfter: values(expanded.tensors.values()),
    trainable: values(trainableOf(before, architecture, plan)),
  };
}

function trainableOf(before: Checkpoint, architecture: Architecture, plan: Pick<Plan, "blocks">): TensorRef[] {
  return plan.blocks.flatMap(({ kind, from }) => {
    const block = kind === "copy" ? architecture.blocks[from] : undefined;
    return [...(block?.tensors ?? [])].flatMap(([role, name]) => {
      const tensor = block?.buffers.has(role) ? undefined : before.tensors.get(name);
      return tensor !== undefined && isPlainFloat(tensor.dtype) ? [tensor] : [];
    });
  });
}

function values(tensors: Iterable<TensorRef>): number {
  let count = 0;
  for (const { shape } of tensors) count += elementCount(shape) ?? 0;
  return count;
}
