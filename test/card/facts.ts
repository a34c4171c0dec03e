// A small plan and a report that fit each other, for tests of model cards.
import type { Plan } from "../../src/expansion/plan.ts";
import type { VerificationReport } from "../../src/verification/report.ts";

export function layoutOf(): Plan {
  const zero = (tensor: string) => ({ tensor, factor: "projection" as const, value: 0 });
  const copy = (at: number, from: number, more: readonly { tensor: string; value: number }[] = []) => ({
    kind: "copy" as const,
    at,
    from,
    zeroed: [
      zero(`layers.${at}.o_proj.weight`),
      zero(`layers.${at}.down_proj.weight`),
      ...more.map((each) => ({ ...each, factor: "stream-scale" as const })),
    ],
    why: ["attention and mlp: projection"],
  });
  return {
    schema: "expand-checkpoint/plan/1",
    source: { format: "safetensors", family: "llama", modelType: "llama", stack: "decoder", blocks: 2, headers: "b" },
    zero: "auto",
    blocks: [
      { kind: "original", at: 0, from: 0 },
      copy(1, 0, [{ tensor: "layers.1.layer_scalar", value: 1 }]),
      { kind: "original", at: 2, from: 1 },
      copy(3, 1),
    ],
    config: [
      { path: "num_hidden_layers", before: 2, after: 4 },
      { path: "layer_types", before: undefined, after: ["full", "full"] },
    ] as unknown as Plan["config"],
    warnings: [],
    notes: [],
    cost: { parametersBefore: 8848, parametersAfter: 12_752, trainable: 3904 } as Plan["cost"],
  };
}

export function reportOf(): VerificationReport {
  const closed = ["attention", "mlp"].map((branch) => ({ branch, factor: "projection", tensors: [] }));
  const side = { location: "x", format: "safetensors" };
  return {
    schema: "expand-checkpoint/verification/1",
    mode: "structure",
    verdict: "identity",
    before: { ...side, tensors: 21, bytes: 17_696, headers: "b".repeat(64) },
    after: { ...side, tensors: 39, bytes: 25_504, headers: "a".repeat(64) },
    blocks: [
      { kind: "original", from: 0 },
      { kind: "copy", from: 0, closed },
      { kind: "original", from: 1 },
      { kind: "copy", from: 1, closed },
    ],
    findings: [],
    skipped: [],
    bytesCompared: 25_600,
    seconds: 0,
  };
}
