// What the record of a GGUF architecture says. Types only: the records are in families/, what they cause is in rules/.
import type { ConfigEdit } from "../architecture.ts";
import type { Layout } from "../layout.ts";
import type { Settings } from "./settings.ts";

/** Which blocks slide when `attention.sliding_window_pattern` is absent or holds one number, the period. */
export interface WindowRule {
  /** The period that the reader assumes without the key. */
  readonly period: number;
  /** false: block i slides when i % p < p - 1. true: when i % p != 0. */
  readonly denseFirst?: boolean;
  /** When windows are on: "always" (default), when `attention.sliding_window` is above 0, or unless it is 0. */
  readonly active?: "when-set" | "unless-zero";
}

/** Something that the reader decides by index % size and that no setting can say. */
export interface GroupRule {
  readonly why: string;
  /** 1 when the settings switch it off. */
  readonly size: (settings: Settings) => number;
  /** A copy, too, must stand where its source stood modulo this number, or its tensors have the wrong names. */
  readonly copySize?: (settings: Settings) => number;
  /** Blocks without position encoding. */
  readonly noRope: (index: number, settings: Settings) => boolean;
}

/** What every rule sees: the source's settings and blocks, and the layout that was asked for. */
export interface Expanding {
  readonly settings: Settings;
  readonly family: GgufFamily;
  readonly layout: Layout;
  /** Blocks of the source's residual stack: multi-token-prediction blocks are not counted. */
  readonly blocks: number;
  /** Multi-token-prediction blocks that the settings count after them. */
  readonly tail: number;
}

/** Settings that a layout needs. Throws "plan" when the layout would change an original. */
export type Rule = (expanding: Expanding) => RuleResult;
export interface RuleResult {
  readonly edits?: readonly ConfigEdit[];
  readonly warnings?: readonly string[];
}

export interface GgufFamily {
  /** Stems that a block's tensors may have, several to a string. */
  readonly stems: readonly string[];
  /** Stems of tensors outside of blocks, besides those that any architecture may have. */
  readonly globals?: string;
  /** True when a block may be a mixer or a feed-forward network alone. */
  readonly singleBranch?: boolean;
  /** Norms on a branch's output, several to a string: their gain is the better factor to close. */
  readonly outputNorms?: { readonly attention: string; readonly mlp: string };
  /** A tensor and another that must stand beside it: without it the reader adds the output of a norm to the stream. */
  readonly together?: readonly [stem: string, needs: string];
  readonly window?: WindowRule;
  /** Period of the full-attention blocks when neither `attention.recurrent_layers` nor `full_attention_interval` is there. */
  readonly recurrent?: number;
  readonly group?: GroupRule;
  /** Block counts (without multi-token prediction) for which the reader computes something else. */
  readonly counts?: { readonly of: readonly number[]; readonly why: string };
  /** Scalar keys about block indices that the record takes care of; any other one stops the run. */
  readonly handles?: readonly string[];
  readonly rules?: readonly Rule[];
}

/** A known architecture: one that can be expanded, or the reason why it is not. */
export type GgufRecord = GgufFamily | { readonly refuse: string };

export type GgufRecords = Readonly<Record<string, GgufRecord>>;
