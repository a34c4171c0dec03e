// Attention of one GGUF block. Holds no family: what differs is in the rule.
import type { Alibi, Attention, HeadNorm, Qkv } from "../spec.ts";
import type { Weights } from "../weights.ts";
import type { AttentionRule, GgufFamily } from "./family.ts";
import type { GgufModel } from "./model.ts";
import { linear, takes } from "./parts.ts";
import type { Ropes } from "./rope.ts";
import type { GgufSettings } from "./settings.ts";

export function readAttention(
  settings: GgufSettings,
  weights: Weights,
  model: GgufModel,
  family: GgufFamily,
  ropes: Ropes | undefined,
  index: number,
): Attention {
  const rule = family.attention;
  const { hidden, headSize, windows } = model;
  const heads = model.heads[index] ?? 0;
  const kvHeads = model.kvHeads[index] ?? 0;
  if (heads % kvHeads !== 0) {
    throw settings.refuse(
      "attention.head_count_kv",
      `is ${kvHeads}, which does not divide the ${heads} attention heads`,
    );
  }
  const slides = windows.slides[index] === true;
  const alibi = readAlibi(settings, rule, heads);
  const clip = rule.clip === true ? settings.number("attention.clamp_kqv", 0) : 0;
  const qNorm = readHeadNorm(weights, "attn_q_norm", heads, model, rule);
  const kNorm = readHeadNorm(weights, "attn_k_norm", kvHeads, model, rule);
  return {
    heads,
    kvHeads,
    headSize,
    qkv: readQkv(weights, hidden, heads * headSize, kvHeads * headSize, rule),
    output: linear(weights, "attn_output", heads * headSize, hidden, rule.outputBias),
    scale: readScale(settings, model, family, heads),
    ...(clip > 0 ? { clip } : {}),
    ...(qNorm === undefined ? {} : { qNorm }),
    ...(kNorm === undefined ? {} : { kNorm }),
    ...(ropes === undefined || !rotates(settings, model, rule, index)
      ? {}
      : { rope: slides ? ropes.sliding : ropes.full }),
    ...(rule.softcap === undefined ? {} : { softcap: settings.number("attn_logit_softcapping", rule.softcap) }),
    ...(slides && windows.size !== undefined ? { window: windows.size } : {}),
    ...(alibi === undefined ? {} : { alibi }),
    ...(rule.sinks === true ? { sinks: weights.get("attn_sinks.weight", [heads]) } : {}),
  };
}

/** attn_qkv where the file has it, as llama.cpp does for every architecture; else attn_q, attn_k, attn_v. */
function readQkv(
  weights: Weights,
  hidden: number,
  q: number,
  kv: number,
  { qkvBias = "optional" }: AttentionRule,
): Qkv {
  if (weights.has("attn_qkv.weight")) {
    return { form: "fused", linear: linear(weights, "attn_qkv", hidden, q + 2 * kv, qkvBias), order: "concatenated" };
  }
  return {
    form: "separate",
    q: linear(weights, "attn_q", hidden, q, qkvBias),
    k: linear(weights, "attn_k", hidden, kv, qkvBias),
    v: linear(weights, "attn_v", hidden, kv, qkvBias),
  };
}

function readHeadNorm(
  weights: Weights,
  name: string,
  heads: number,
  { headSize, epsilon }: GgufModel,
  { headNorm }: AttentionRule,
): HeadNorm | undefined {
  if (headNorm === undefined || !takes(weights, `${name}.weight`, headNorm.presence)) return undefined;
  const shape = { head: [headSize], "each head": [heads, headSize], all: [heads * headSize] }[headNorm.over];
  const gain = weights.get(`${name}.weight`, shape);
  return { kind: headNorm.kind, epsilon, gain, gainOffset: 0, over: headNorm.over === "all" ? "all" : "head" };
}

function readScale(settings: GgufSettings, model: GgufModel, family: GgufFamily, heads: number): number {
  const wide = family.attention.wideScaleAt === model.blocks;
  const usual = 1 / Math.sqrt(wide ? Math.floor(model.hidden / heads) : model.headSize);
  return (family.multipliers === true && settings.number("attention.scale", 0)) || usual;
}

function rotates(settings: GgufSettings, { windows }: GgufModel, { rope }: AttentionRule, index: number): boolean {
  if (rope?.blocks === "sliding") return windows.size === undefined || windows.slides[index] === true;
  if (rope?.blocks === "three of four") return (index + 1) % 4 !== 0;
  return rope?.blocks !== "key" || settings.flag("rope.scaling.finetuned", true);
}

/** Slopes as ggml_soft_max computes them: powers of two sequences, the second for heads beyond the largest power of two. */
function readAlibi(settings: GgufSettings, { alibi }: AttentionRule, heads: number): Alibi | undefined {
  if (alibi === undefined) return undefined;
  const most = alibi === "key" ? settings.number("attention.max_alibi_bias", 0) : alibi;
  if (most === 0) return undefined;
  const power = 2 ** Math.floor(Math.log2(heads));
  const slopes = Array.from({ length: heads }, (_, head) =>
    head < power ? 2 ** ((-most / power) * (head + 1)) : 2 ** ((-most / 2 / power) * (2 * (head - power) + 1)),
  );
  return { slopes, scale: 1, bfloat16: false };
}
