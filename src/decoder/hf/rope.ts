// Rotary embedding out of config.json: rope_parameters as transformers 5 saves it, rope_theta and rope_scaling as older versions did.
import {
  dividedFrequencies,
  linearFrequencies,
  llama3Frequencies,
  longropeMagnitude,
  plainFrequencies,
  yarnFrequencies,
  yarnMagnitude,
} from "../frequencies.ts";
import type { Rope } from "../spec.ts";
import { Settings } from "./settings.ts";

export interface RopeShape {
  readonly headSize: number;
  /** max_position_embeddings. */
  readonly context: number;
  /** rope_theta where none is stored; 10000 unless given. */
  readonly base?: number;
  /** partial_rotary_factor where none is stored. Absent: this family rotates whole heads, and another factor is refused. */
  readonly partial?: number;
  /** original_max_position_embeddings where none is stored beside the other settings; that of rope_parameters, else `context`, unless given. */
  readonly original?: number;
  /** "half" unless given. */
  readonly layout?: Rope["layout"];
  /** Old names of rope types in this family. */
  readonly aliases?: Readonly<Record<string, string>>;
}

/** Numbers that every rope type starts from. */
interface Basis {
  readonly parameters: Settings;
  readonly base: number;
  readonly dims: number;
  readonly context: number;
  /** original_max_position_embeddings. */
  readonly original: number;
}

type Angles = Pick<Rope, "angles" | "beyond">;

/** `kind`: the entry of layer_types whose parameters are meant, where they are stored by kind. */
export function readRope(settings: Settings, shape: RopeShape, kind?: string): Rope {
  const parameters = parametersOf(settings, kind);
  const outerBase = settings.optionalNumber("rope_theta") ?? shape.base ?? 10000;
  const outerPartial = settings.optionalNumber("partial_rotary_factor") ?? shape.partial ?? 1;
  const outerOriginal = settings.optionalNumber("original_max_position_embeddings") ?? shape.original;
  const base = parameters.number("rope_theta", outerBase);
  const partial = parameters.number("partial_rotary_factor", outerPartial);
  if (shape.partial === undefined && partial !== 1) {
    throw settings.refuse("partial_rotary_factor", `is ${partial}; this family rotates whole heads`);
  }
  const dims = Math.trunc(shape.headSize * partial);
  if (dims % 2 !== 0 || dims < 2) {
    throw settings.refuse(
      "partial_rotary_factor",
      `rotates ${dims} of ${shape.headSize} values; a multiple of 2 is needed`,
    );
  }
  const stored = parameters.text("rope_type", parameters.text("type", "default"));
  parameters.value("type");
  const type = shape.aliases?.[stored] ?? stored;
  const original = outerOriginal ?? parameters.optionalNumber("original_max_position_embeddings") ?? shape.context;
  parameters.value("original_max_position_embeddings");
  const read = Object.hasOwn(TYPES, type) ? TYPES[type] : undefined;
  if (read === undefined) {
    throw settings.refuse(
      "rope_parameters",
      `the rope type "${stored}" is unknown; known are ${Object.keys(TYPES).join(", ")}`,
    );
  }
  const angles = read({ parameters, base, dims, context: shape.context, original });
  parameters.finish("this rope type");
  return { dims, layout: shape.layout ?? "half", ...angles };
}

/** rope_scaling wins over rope_parameters, as in transformers. */
function parametersOf(settings: Settings, kind: string | undefined): Settings {
  const scaling = settings.below("rope_scaling");
  const parameters = settings.below("rope_parameters");
  const chosen = scaling ?? parameters ?? new Settings({}, "config.json: rope_parameters");
  return (kind === undefined ? undefined : chosen.below(kind)) ?? chosen;
}

const TYPES: Readonly<Record<string, (basis: Basis) => Angles>> = {
  default: ({ base, dims }) => plain(plainFrequencies(base, dims)),
  linear: ({ parameters, base, dims }) => plain(linearFrequencies(base, dims, parameters.number("factor"))),
  dynamic: ({ parameters, base, dims, context }) => ({
    ...plain(plainFrequencies(base, dims)),
    beyond: { length: context, angles: { base, factor: parameters.number("factor") } },
  }),
  llama3: ({ parameters, base, dims, original }) =>
    plain(
      llama3Frequencies(base, dims, {
        factor: parameters.number("factor"),
        lowFactor: parameters.number("low_freq_factor"),
        highFactor: parameters.number("high_freq_factor"),
        original,
      }),
    ),
  yarn: readYarn,
  longrope: readLongrope,
};

function plain(frequencies: readonly number[], magnitude = 1): Angles {
  return { angles: { frequencies, magnitude } };
}

function readYarn({ parameters, base, dims, context, original }: Basis): Angles {
  const factor = parameters.optionalNumber("factor") ?? context / original;
  const mscale = parameters.optionalNumber("mscale");
  const mscaleAll = parameters.optionalNumber("mscale_all_dim");
  const magnitude =
    mscale && mscaleAll ? yarnMagnitude(factor, mscale) / yarnMagnitude(factor, mscaleAll) : yarnMagnitude(factor);
  const frequencies = yarnFrequencies(base, dims, {
    factor,
    // 0 counts as absent in transformers.
    betaFast: parameters.optionalNumber("beta_fast") || 32,
    betaSlow: parameters.optionalNumber("beta_slow") || 1,
    original,
    truncate: parameters.flag("truncate", true),
  });
  return plain(frequencies, parameters.optionalNumber("attention_factor") ?? magnitude);
}

function readLongrope({ parameters, base, dims, context, original }: Basis): Angles {
  const factor = parameters.optionalNumber("factor") ?? context / original;
  const magnitude = parameters.optionalNumber("attention_factor") ?? longropeMagnitude(factor, original);
  const of = (key: string): readonly number[] => {
    const divisors = parameters.numbers(key);
    if (divisors.length === dims / 2) return dividedFrequencies(base, dims, divisors);
    throw parameters.refuse(key, `has ${divisors.length} numbers; ${dims / 2} were expected`);
  };
  return {
    angles: { frequencies: of("short_factor"), magnitude },
    beyond: { length: original, angles: { frequencies: of("long_factor"), magnitude } },
  };
}
