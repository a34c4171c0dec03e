// Patterns that the reader derives from a block's index when the file has no list. Arithmetic of llama.cpp v0.5.0 (llama-hparams.cpp).
import { ExpandError } from "../../errors.ts";
import type { GgufFamily } from "./family.ts";
import type { Settings } from "./settings.ts";

export const WINDOW_KEY = "attention.sliding_window_pattern";
export const RECURRENT_KEY = "attention.recurrent_layers";
const INTERVAL_KEY = "full_attention_interval";

/** One boolean per block by index alone. Blocks of the tail are never sliding and never recurrent. */
export interface IndexPattern {
  readonly period: number;
  readonly at: (index: number) => boolean;
}

/** What the reader assumes about sliding windows; undefined when it reads a list or has no windows. */
export function windowPattern(family: GgufFamily, settings: Settings): IndexPattern | undefined {
  const { window } = family;
  if (window === undefined || !windowsActive(family, settings)) return undefined;
  const period = settings.array(WINDOW_KEY) === undefined ? (settings.number(WINDOW_KEY) ?? window.period) : undefined;
  if (period === undefined) return undefined;
  return { period, at: (index) => period === 0 || slides(index % period, period, window.denseFirst === true) };
}

function slides(position: number, period: number, denseFirst: boolean): boolean {
  return denseFirst ? position !== 0 : position < period - 1;
}

function windowsActive({ window }: GgufFamily, settings: Settings): boolean {
  const size = settings.number("attention.sliding_window");
  if (window?.active === "when-set") return size !== undefined && size > 0;
  return window?.active !== "unless-zero" || size !== 0;
}

/** What the reader assumes about recurrent blocks; undefined when it reads a list or has none. */
export function recurrentPattern(family: GgufFamily, settings: Settings): IndexPattern | undefined {
  if (family.recurrent === undefined || settings.entry(RECURRENT_KEY) !== undefined) return undefined;
  const period = settings.number(INTERVAL_KEY) ?? family.recurrent;
  if (period < 1) {
    throw new ExpandError("damaged", `is ${period}; 1 or more was expected`, {
      at: settings.key(INTERVAL_KEY),
      fix: "Convert the model again with a current llama.cpp.",
    });
  }
  return { period, at: (index) => (index + 1) % period !== 0 };
}

/** A pattern written out for `blocks` blocks and the tail behind them. */
export function written({ at }: IndexPattern, blocks: number, tail: number): readonly boolean[] {
  return Array.from({ length: blocks + tail }, (_, index) => index < blocks && at(index));
}

/** Smallest number of blocks after which everything decided by index repeats; 1 when nothing is. */
export function periodOf(family: GgufFamily, settings: Settings): number {
  const patterns = [windowPattern(family, settings), recurrentPattern(family, settings)];
  const periods = patterns.map((pattern) => Math.max(1, pattern?.period ?? 1));
  return [...periods, family.group?.size(settings) ?? 1].reduce(leastCommonMultiple, 1);
}

export function leastCommonMultiple(a: number, b: number): number {
  let [greater, smaller] = [a, b];
  while (smaller > 0) [greater, smaller] = [smaller, greater % smaller];
  return (a / greater) * b;
}
