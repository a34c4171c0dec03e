// Rules of single architectures, each with its place in llama.cpp v0.5.0.
import { edit, refuseLayout } from "../expanding.ts";
import type { Expanding, Rule, RuleResult } from "../family.ts";

/** minicpm.cpp: without the key every branch is scaled by 1.4 / sqrt(block count). */
export function writeResidualScale({ settings, blocks }: Expanding): RuleResult {
  if (settings.entry("residual_scale") !== undefined) return {};
  // 1.4f / sqrtf(float(n)): two roundings to f32; the quotient of two f32 rounds the same through f64.
  const scale = Math.fround(Math.fround(1.4) / Math.fround(Math.sqrt(blocks)));
  return { edits: [edit(settings, "residual_scale", scale, "f32")] };
}

const Q_LORA_KEY = "attention.q_lora_rank";
const GATING_KEY = "expert_gating_func";
const SOFTMAX = 1;
const SIGMOID = 2;

/** deepseek2.cpp: the block count says whether the query is compressed and how experts are gated, where keys could. */
export function deepseekCounts({ settings, blocks, layout }: Expanding): RuleResult {
  const vocabulary = settings.vocabulary();
  const isLite = (count: number): boolean => count === 26 || count === 27 || (count === 48 && vocabulary === 128256);
  const gating = (count: number): number =>
    (count === 47 || count === 48) && vocabulary === 154880 ? SIGMOID : SOFTMAX;
  const compressed = !isLite(blocks) && (settings.number(Q_LORA_KEY) ?? 0) > 0;
  if (compressed && isLite(layout.length)) {
    refuseLayout(
      settings,
      `with ${layout.length} blocks readers take the model for a lite one without compressed queries`,
      "Choose another number of copies.",
    );
  }
  const edits = [];
  // "Lite" readers ignore the key, so it may hold anything; the others need it, and 0 means not compressed.
  if (isLite(blocks) && !isLite(layout.length)) edits.push(edit(settings, Q_LORA_KEY, 0, "u32"));
  const stored = settings.number(GATING_KEY) ?? 0;
  if (stored === 0 && gating(blocks) !== gating(layout.length)) {
    edits.push(edit(settings, GATING_KEY, gating(blocks), "u32"));
  }
  return { edits };
}

/** qwen3vl.cpp: features of layer k of the vision tower are added after block k, for the first n_deepstack_layers blocks. */
export function deepstackFirst({ settings, layout }: Expanding): RuleResult {
  const count = settings.number("n_deepstack_layers") ?? 0;
  if (layout.slice(0, count).some(({ kind }) => kind === "copy")) {
    refuseLayout(
      settings,
      `image features are added after each of the first ${count} blocks, by number`,
      `Place copies after block ${count - 1} only: --after ${count - 1} or higher.`,
    );
  }
  return {};
}

/** hy-v4.cpp: a block whose indexer is shared (0) uses the selection of the last block before it that has its own (1). */
export function sharedIndexers({ settings, layout }: Expanding): RuleResult {
  const types = settings.array("attention.indexer.types");
  if (types === undefined) return {};
  const owns = (index: number): boolean => types[index] !== 0;
  for (const [at, { kind, from }] of layout.entries()) {
    if (kind === "copy" || owns(from)) continue;
    const provider = layout.slice(0, at).findLast((block) => owns(block.from));
    if (provider?.kind !== "copy") continue;
    refuseLayout(
      settings,
      `block ${from} uses the token selection of block ${provider.from} and would use that of its copy`,
      `Place copies of block ${provider.from} where the next block has an indexer of its own.`,
    );
  }
  return {};
}

/** Block 0 has other tensors than the rest, so no other place can take a copy of it. `why` says what differs. */
export function neverCopyBlockZero(why: string): Rule {
  return ({ settings, layout }) => {
    if (layout.some(({ kind, from }) => kind === "copy" && from === 0)) {
      refuseLayout(settings, `block 0 cannot be copied: ${why}`, "Copy other blocks: --after 1 or higher.");
    }
    return {};
  };
}

/** llama4.cpp: with sliding_window = 0 the last block, whatever its number, has no position encoding. */
export function lastStaysLast({ settings, layout }: Expanding): RuleResult {
  if (settings.number("attention.sliding_window") === 0 && layout.at(-1)?.kind === "copy") {
    refuseLayout(settings, "the last block has no position encoding", "Place no copy after the last block.");
  }
  return {};
}
