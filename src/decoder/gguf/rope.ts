// Rotary embedding out of GGUF metadata: the angles that llama.cpp v0.5.0 turns by (llama-context.cpp, ggml_rope_yarn). Reads no tensor's values.
import { plainFrequencies, yarnFrequencies } from "../frequencies.ts";
import type { Rope, RopeAngles, Weight } from "../spec.ts";
import type { Weights } from "../weights.ts";
import type { RopeRule } from "./family.ts";
import type { GgufSettings } from "./settings.ts";

/** How blocks that see everything turn, and how sliding ones do. */
export interface Ropes {
  readonly full: Rope;
  readonly sliding: Rope;
}

interface Scaling {
  readonly type: string;
  /** Positions count as position / factor. */
  readonly factor: number;
  /** Tokens of the original context. */
  readonly original: number;
  readonly betaFast: number;
  readonly betaSlow: number;
  /** yarn_log_multiplier; 0: none. */
  readonly logMultiplier: number;
  /** rope.scaling.attn_factor. */
  readonly magnitude: number;
}

const TYPES: readonly string[] = ["none", "linear", "yarn", "longrope"];

export function readRopes(
  settings: GgufSettings,
  weights: Weights,
  rule: RopeRule,
  sizes: { readonly headSize: number; readonly context: number },
): Ropes {
  const dims = settings.count("rope.dimension_count", sizes.headSize);
  if (dims > sizes.headSize || dims % 2 !== 0 || (dims < sizes.headSize && rule.partial !== true)) {
    const wanted = rule.partial === true ? "an even number up to that" : "the same number";
    throw settings.refuse("rope.dimension_count", `is ${dims}, of heads of ${sizes.headSize}; ${wanted} was expected`);
  }
  const sections = settings.value("rope.dimension_sections");
  if (Array.isArray(sections) && sections.some((section) => section !== 0)) {
    throw settings.refuse("rope.dimension_sections", "turns parts of a head by different positions, for images");
  }
  const scaling = readScaling(settings, rule, sizes.context);
  const base = settings.number("rope.freq_base", 10000);
  const { short, long } = readFactors(weights, rule, scaling.type, dims);
  const build = (angles: Omit<RopeAngles, "divisors">): Rope => {
    const rope: Rope = { dims, layout: rule.layout, angles: withDivisors(angles, short) };
    if (short === long) return rope;
    return { ...rope, beyond: { length: scaling.original, angles: withDivisors(angles, long) } };
  };
  return {
    full: build(anglesOf(base, dims, scaling)),
    sliding: build(slidingAngles(settings, rule, base, dims, scaling)),
  };
}

function readScaling(settings: GgufSettings, rule: RopeRule, context: number): Scaling {
  const type = settings.text("rope.scaling.type", "linear");
  if (!TYPES.includes(type)) {
    throw settings.refuse("rope.scaling.type", `is "${type}"; known are ${TYPES.join(", ")}`);
  }
  // scale_linear is the old name. 0 counts as absent.
  const stored = settings.optionalNumber("rope.scaling.factor") ?? settings.optionalNumber("rope.scale_linear");
  settings.value("rope.scale_linear");
  if (type === "none") settings.only("rope.scaling.factor", 0, 1);
  if (rule.yarn !== true) {
    settings.only("rope.scaling.yarn_beta_fast", 32);
    settings.only("rope.scaling.yarn_beta_slow", 1);
    settings.only("rope.scaling.yarn_log_multiplier", 0);
  }
  return {
    type,
    factor: stored || 1,
    original: settings.number("rope.scaling.original_context_length", context) || context,
    betaFast: settings.number("rope.scaling.yarn_beta_fast", 32),
    betaSlow: settings.number("rope.scaling.yarn_beta_slow", 1),
    logMultiplier: settings.number("rope.scaling.yarn_log_multiplier", 0),
    magnitude: settings.number("rope.scaling.attn_factor", 1),
  };
}

/** `factor`: the positions of these blocks count as position / factor; yarn's magnitude starts from the model's own. */
function anglesOf(base: number, dims: number, scaling: Scaling, factor = scaling.factor): Omit<RopeAngles, "divisors"> {
  const { type, betaFast, betaSlow, original, magnitude } = scaling;
  if (type !== "yarn") {
    return { frequencies: plainFrequencies(base, dims).map((frequency) => frequency / factor), magnitude };
  }
  const frequencies = yarnFrequencies(base, dims, { factor, betaFast, betaSlow, original, truncate: true });
  return { frequencies, magnitude: magnitude * yarnGrowth(scaling) * (1 + 0.1 * Math.log(factor)) };
}

/** What llama.cpp multiplies by before the rotation itself multiplies by 1 + 0.1 ln(factor). */
function yarnGrowth({ factor, logMultiplier }: Scaling): number {
  const growth = (multiplier: number): number => (factor <= 1 ? 1 : 0.1 * multiplier * Math.log(factor) + 1);
  const wanted = logMultiplier === 0 ? growth(1) : growth(1) / growth(logMultiplier);
  return wanted / (1 + 0.1 * Math.log(factor));
}

function slidingAngles(
  settings: GgufSettings,
  { sliding }: RopeRule,
  base: number,
  dims: number,
  scaling: Scaling,
): Omit<RopeAngles, "divisors"> {
  if (sliding?.base === undefined) settings.only("rope.freq_base_swa", base);
  const own =
    sliding?.base === undefined
      ? base
      : settings.number("rope.freq_base_swa", sliding.base === "same" ? base : sliding.base);
  if (sliding?.scaling === "none") return { frequencies: plainFrequencies(own, dims), magnitude: 1 };
  return anglesOf(own, dims, scaling, sliding?.scaling === "frequencies" ? 1 : scaling.factor);
}

function readFactors(
  weights: Weights,
  { factors }: RopeRule,
  type: string,
  dims: number,
): { short?: Weight; long?: Weight } {
  const find = (name: string): Weight | undefined => (weights.has(name) ? weights.get(name, [dims / 2]) : undefined);
  const both = (short: Weight | undefined, long: Weight | undefined) => ({
    ...(short === undefined ? {} : { short }),
    ...(long === undefined ? {} : { long }),
  });
  if (factors === undefined) return {};
  if (factors === "freqs" || (factors === "either" && type !== "longrope")) {
    const freqs = find("rope_freqs.weight");
    return both(freqs, freqs);
  }
  return both(find("rope_factors_short.weight"), find("rope_factors_long.weight"));
}

function withDivisors(angles: Omit<RopeAngles, "divisors">, divisors: Weight | undefined): RopeAngles {
  return divisors === undefined ? angles : { ...angles, divisors };
}
