// Inverse frequencies of rotary embeddings, by every scaling in use, as plain numbers. Formulas follow transformers' modeling_rope_utils.

/** base ^ (-2i / dims), [dims/2]. */
export function plainFrequencies(base: number, dims: number): number[] {
  return Array.from({ length: dims / 2 }, (_, i) => base ** ((-2 * i) / dims));
}

/** Every position counts as position / factor. */
export function linearFrequencies(base: number, dims: number, factor: number): number[] {
  return plainFrequencies(base, dims).map((frequency) => frequency / factor);
}

/** Each pair is slowed down by a factor of its own. */
export function dividedFrequencies(base: number, dims: number, divisors: readonly number[]): number[] {
  return plainFrequencies(base, dims).map((frequency, i) => frequency / (divisors[i] ?? 1));
}

export interface Llama3Scaling {
  readonly factor: number;
  readonly lowFactor: number;
  readonly highFactor: number;
  /** Tokens of the original context. */
  readonly original: number;
}

/** Slow pairs are slowed down by `factor`, fast ones kept, those between blended. */
export function llama3Frequencies(base: number, dims: number, scaling: Llama3Scaling): number[] {
  const { factor, lowFactor, highFactor, original } = scaling;
  return plainFrequencies(base, dims).map((frequency) => {
    const wavelength = (2 * Math.PI) / frequency;
    if (wavelength < original / highFactor) return frequency;
    if (wavelength > original / lowFactor) return frequency / factor;
    const smooth = (original / wavelength - lowFactor) / (highFactor - lowFactor);
    return ((1 - smooth) * frequency) / factor + smooth * frequency;
  });
}

export interface YarnScaling {
  readonly factor: number;
  readonly betaFast: number;
  readonly betaSlow: number;
  /** Tokens of the original context. */
  readonly original: number;
  /** The borders of the ramp are rounded outwards to whole pairs. */
  readonly truncate: boolean;
}

/** Pairs that turn often in the original context are kept, those that turn seldom interpolated, with a linear ramp between. */
export function yarnFrequencies(base: number, dims: number, scaling: YarnScaling): number[] {
  const { factor, betaFast, betaSlow, original, truncate } = scaling;
  const pairOf = (turns: number): number => (dims * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(base));
  const fast = truncate ? Math.floor(pairOf(betaFast)) : pairOf(betaFast);
  const slow = truncate ? Math.ceil(pairOf(betaSlow)) : pairOf(betaSlow);
  const low = Math.max(fast, 0);
  const border = Math.min(slow, dims - 1);
  const high = low === border ? border + 0.001 : border;
  return plainFrequencies(base, dims).map((frequency, i) => {
    const interpolated = Math.min(Math.max((i - low) / (high - low), 0), 1);
    return (frequency / factor) * interpolated + frequency * (1 - interpolated);
  });
}

/** Sine and cosine are multiplied by this under yarn, unless the settings say otherwise. */
export function yarnMagnitude(factor: number, mscale = 1): number {
  return factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1;
}

/** The same under longrope. */
export function longropeMagnitude(factor: number, original: number): number {
  return factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original));
}
