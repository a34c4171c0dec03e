// Numbers of a GGUF model that its blocks share or differ in, with llama.cpp v0.5.0's defaults. Reads metadata only.
import type { GgufFamily } from "./family.ts";
import type { GgufSettings } from "./settings.ts";
import { readWindows, type Windows } from "./window.ts";

export interface GgufModel {
  readonly hidden: number;
  readonly context: number;
  /** Blocks that run. */
  readonly blocks: number;
  /** Blocks that the file holds: those that predict further tokens come last and do not run. */
  readonly stored: number;
  readonly headSize: number;
  /** By block. */
  readonly heads: readonly number[];
  readonly kvHeads: readonly number[];
  readonly inner: readonly number[];
  readonly epsilon: number;
  readonly windows: Windows;
  /** 0: dense. */
  readonly experts: number;
  /** By block. */
  readonly perToken: readonly number[];
  readonly residualMultiplier: number;
}

export function readModel(settings: GgufSettings, family: GgufFamily): GgufModel {
  const stored = settings.count("block_count");
  const blocks = stored - settings.number("nextn_predict_layers", 0);
  const hidden = settings.count("embedding_length");
  const heads = settings.counts("attention.head_count", stored);
  const headSize = settings.count("attention.key_length", Math.floor(hidden / (heads[0] ?? 1)));
  settings.only("attention.value_length", headSize);
  settings.only("attention.causal", true);
  const experts = settings.number("expert_count", 0);
  settings.only("expert_group_count", 0, 1);
  settings.only("expert_group_used_count", 0, 1);
  if (experts === 0) settings.only("expert_used_count", 0);
  const residual = family.multipliers === true ? settings.number("residual_scale", 0) : 0;
  return {
    hidden,
    context: settings.count("context_length"),
    blocks,
    stored,
    headSize,
    heads,
    kvHeads: settings.counts("attention.head_count_kv", stored, heads),
    inner: settings.counts("feed_forward_length", stored, []),
    epsilon: settings.number(`attention.layer_norm_${family.norm.kind === "rms" ? "rms_" : ""}epsilon`),
    windows: readWindows(settings, family.attention.window, blocks, stored),
    experts,
    perToken: experts === 0 ? [] : settings.counts("expert_used_count", stored),
    residualMultiplier: residual || 1,
  };
}
