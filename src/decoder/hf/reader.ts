// What a family's reader is: settings and tensors in, the spec out. Holds no family.
import type { DecoderSpec } from "../spec.ts";
import type { Weights } from "../weights.ts";
import type { Settings } from "./settings.ts";

/**
 * Reads every setting that changes the computation and claims every tensor; the caller refuses what is left over. Defaults are those of
 * transformers 5.23. Throws "unsupported" for values that it does not know, "damaged" for missing or misshapen ones.
 */
export type HfReader = (settings: Settings, weights: Weights) => DecoderSpec;

/** Reader by model_type. */
export type HfReaders = Readonly<Record<string, HfReader>>;
