// Which blocks of a GGUF model see only a window, and how wide it is. Follows llama.cpp v0.5.0's load_swa_pattern.
import type { WindowRule } from "./family.ts";
import type { GgufSettings } from "./settings.ts";

export interface Windows {
  /** Tokens a sliding block sees, itself included. Absent: nothing slides. */
  readonly size?: number;
  /** Block by block. */
  readonly slides: readonly boolean[];
}

/** `blocks`: those that run; `stored`: the length of lists by block, which counts prediction blocks too. */
export function readWindows(
  settings: GgufSettings,
  rule: WindowRule | "ignored" | undefined,
  blocks: number,
  stored: number,
): Windows {
  const none = { slides: Array.from({ length: blocks }, () => false) };
  if (rule === undefined) {
    settings.only("attention.sliding_window", 0);
    return none;
  }
  if (rule === "ignored" || (rule.onlyAt !== undefined && rule.onlyAt !== blocks)) {
    settings.value("attention.sliding_window");
    settings.value("attention.sliding_window_pattern");
    return none;
  }
  const size = settings.number("attention.sliding_window", rule.size);
  const slides = readPattern(settings, rule.period, stored).slice(0, blocks);
  if (size === 0 && rule.size === 0) return none;
  return { size: settings.count("attention.sliding_window", rule.size), slides };
}

/** The stored pattern, a list or a period, else the architecture's period. A period of 0: everything slides. */
function readPattern(settings: GgufSettings, usual: number, stored: number): readonly boolean[] {
  const name = "attention.sliding_window_pattern";
  if (Array.isArray(settings.value(name))) return settings.list(name, stored).map((value) => Boolean(value));
  const period = settings.number(name, usual);
  return Array.from({ length: stored }, (_, i) => period === 0 || i % period < period - 1);
}
