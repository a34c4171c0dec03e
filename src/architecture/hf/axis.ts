// How the kind of a block follows from settings or from its index, as records say it. Pure data types.
import type { JsonValue } from "../../json.ts";

/** A test on a setting. `is` absent: the setting is present and neither null, false nor 0. */
export interface Condition {
  readonly field: string;
  readonly is?: JsonValue;
  /** What an absent setting counts as. */
  readonly default?: JsonValue;
}

/** How one field gives every block a kind. */
export type KindSource = { readonly when?: Condition } & (
  | {
      readonly from: "list";
      readonly field: string;
      readonly values?: Readonly<Record<string, string>>;
      /** What the last block is taken for, whatever the list says of it. */
      readonly last?: string;
    }
  | {
      /** `hit` where i mod period = phase; a phase of -1 is the last of the period. */
      readonly from: "every";
      readonly field?: string;
      readonly period: number;
      readonly phase: number;
      /** Setting that holds the phase. */
      readonly phaseField?: string;
      readonly hit: string;
      readonly miss: string;
    }
  /** plamo2: `hit` in the middle of each period; in a stack no longer than that, in the last block only. */
  | {
      readonly from: "middle";
      readonly field: string;
      readonly period: number;
      readonly hit: string;
      readonly miss: string;
    }
  | {
      readonly from: "indices";
      readonly field: string;
      readonly base?: number;
      readonly csv?: boolean;
      readonly hit: string;
      readonly miss: string;
    }
  | {
      /** `hit` for blocks below a threshold. */
      readonly from: "below";
      readonly field: string;
      readonly default?: number;
      readonly hit: string;
      readonly miss: string;
    }
  | {
      /** `hit` for blocks up to and including a last index; -1 or absent is the last block. */
      readonly from: "upTo";
      readonly field: string;
      readonly hit: string;
      readonly miss: string;
    }
  | { readonly from: "chars"; readonly field: string; readonly values: Readonly<Record<string, string>> }
  /** A list, or a text with one character per block, that repeats. */
  | { readonly from: "cycle"; readonly field: string; readonly values?: Readonly<Record<string, string>> }
  | { readonly from: "runs"; readonly field: string }
  | {
      /** Every n-th block is `hit`, where n = blocks // (number of hits), as switch_transformers counts. */
      readonly from: "share";
      readonly field: string;
      readonly hit: string;
      readonly miss: string;
    }
  /** `hit` for one block: 0 is the first, -1 the last. */
  | { readonly from: "block"; readonly at: number; readonly hit: string; readonly miss: string }
  /** Each of the first blocks is a kind of its own; their number is a setting's value or its list's length. */
  | { readonly from: "leading"; readonly field: string; readonly default: number; readonly hit: string }
  | { readonly from: "always"; readonly kind: string }
  /** One rule below a threshold; behind it another, which counts from there. */
  | {
      readonly from: "split";
      readonly field: string;
      readonly default: number;
      readonly below: KindSource;
      readonly above: KindSource;
    }
  /** `hit` where every inner choice says `hit`. */
  | {
      readonly from: "all";
      readonly of: readonly (readonly KindSource[])[];
      readonly hit: string;
      readonly miss: string;
    }
);

/** One way in which blocks differ by index. */
export interface Axis {
  /** For messages: "attention", "rope", "mlp". */
  readonly name: string;
  /** The first whose field is on disk decides. Formulas that have a default come last. Every field on disk is rewritten. */
  readonly sources: readonly KindSource[];
  /** Field of a "list" or "indices" source that may be added when a layout breaks the formula: transformers reads it here. */
  readonly explicit?: string;
  /** Settings to write along with `explicit`. */
  readonly set?: Readonly<Record<string, JsonValue>>;
  /** Readers that derive the kind by formula and ignore `explicit`. */
  readonly ignoredBy?: string;
  /**
   * Kind to module name: here the kind decides which tensors a block has, so that copies must keep it too. Empty where it decides their
   * shapes only.
   */
  readonly modules?: Readonly<Record<string, string>>;
}
