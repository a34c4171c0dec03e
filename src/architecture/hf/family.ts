// What a family record may say: which tensors a block has, which write the residual stream, which settings depend on the block's
// index. Pure data types; the engine next door reads them. Names and forward order after transformers 5.16 (decba1d2).
import type { JsonValue } from "../../json.ts";
import type { FactorKind } from "../architecture.ts";

/**
 * Tensor name templates, separated by white space. `{a,b}` alternation, a trailing `?` (of an alternative or of a whole template)
 * makes it optional, `{e}` an expert index, `.@` = `.{weight,bias?}`, `*` one name segment, a final `**` anything. Anchored.
 */
export type Templates = string;

/** Tensors that close a branch together when all hold `value`. */
export interface FactorRule {
  readonly kind: FactorKind;
  readonly tensors: Templates;
  readonly value: number;
}

export interface BranchRule {
  readonly name: string;
  /** In series: one is closed in a copy. A factor none of whose tensors exist is left out. */
  readonly factors: readonly FactorRule[];
  /** Kind of the factor to close by default. */
  readonly preferred: FactorKind;
  readonly why: string;
}

/** A part of a block. Templates are relative to the block. */
export interface Module {
  /** Part of the block's kind where a slot has alternatives. */
  readonly name: string;
  readonly tensors: Templates;
  readonly branches?: readonly BranchRule[];
  /** Claimed as buffers: copied, never zeroed, never trained. All optional. */
  readonly buffers?: Templates;
  /** Tensors that must hold another value in every copy. */
  readonly fixed?: readonly { readonly tensors: Templates; readonly value: number }[];
  /** Why a block with this part cannot be copied. */
  readonly noCopy?: string;
}

/** One place in a block: a module, or alternatives of which the first that fits is taken. */
export type Slot = Module | readonly Module[];

/** A test on a setting. `is` absent: the setting is present and neither null, false nor 0. */
export interface Condition {
  readonly field: string;
  readonly is?: JsonValue;
  /** What an absent setting counts as. */
  readonly default?: JsonValue;
}

/** How one field gives every block a kind. */
export type KindSource = { readonly when?: Condition } & (
  | { readonly from: "list"; readonly field: string; readonly values?: Readonly<Record<string, string>> }
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
  /** Kind to module name: here the kind decides which tensors a block has, so that copies must keep it too. */
  readonly modules?: Readonly<Record<string, string>>;
}

/** A setting that depends on the number or order of blocks and is no kind. */
export interface FieldRule {
  /** Dotted path below the stack's settings. */
  readonly field: string;
  readonly rule:
    | "list"
    | "list-if-list"
    | "indices"
    | "by-block"
    | "pairs"
    | "threshold"
    | "tail"
    | "hidden-state"
    | "stages"
    | "depth-scale"
    | "zero"
    | "keep";
  /** First index in an index list: 0 unless given. */
  readonly base?: number;
  /** File, when not config.json. */
  readonly document?: string;
}

/** Stops with a reason when a setting says so. */
export interface Refusal {
  readonly if: Condition;
  readonly reason: string;
  readonly fix?: string;
}

/** Blocks after the last one that predict further tokens; `count` names how many there are. */
export interface TailRule {
  readonly count: string;
  /** Tensors besides those of an ordinary block. */
  readonly tensors: Templates;
}

/** Blocks that read a result of an earlier block: no copy may come between the two and take its place. */
export type Link = { readonly what: string } & (
  | {
      /** The last blocks, as many as a setting says, read the last block of their own kind (on an axis) in front of them. */
      readonly from: "tail";
      readonly count: string;
      readonly axis: string;
    }
  /** A block of one kind reads the nearest block of another kind in front of it. */
  | { readonly from: "kind"; readonly axis: string; readonly source: string; readonly reader: string }
);

export interface Stack {
  readonly name: string;
  /** Objects in config.json that may hold its settings, the deciding one first; "" is the top. */
  readonly scopes: readonly string[];
  /** What may stand in front of the names below. */
  readonly bases: readonly string[];
  /** Block prefix below the base, with `{i}`. */
  readonly block: string;
  /** Names of the block count; the first is written when only `countDefault` is there. */
  readonly count: readonly string[];
  /** List that gives the count by its length when none of `count` is on disk. */
  readonly countList?: string;
  /** Which entry, where the count stands in a list of stage depths. */
  readonly countIndex?: number;
  /** Setting that gives the count when none of `count` is on disk. */
  readonly countDefault?: string;
  /** Settings that default to this stack's count and must be written before it changes. */
  readonly pins?: readonly string[];
  readonly slots: readonly Slot[];
  readonly axes?: readonly Axis[];
  readonly fields?: readonly FieldRule[];
  /** Tensors below the base, outside of the blocks. */
  readonly outside: Templates;
  readonly tail?: TailRule;
  readonly links?: readonly Link[];
}

export interface Family {
  /** Name of the record; also a model_type unless `types` says otherwise. */
  readonly name: string;
  readonly types?: readonly string[];
  readonly stacks: readonly Stack[];
  /** Full-name templates outside of every base. */
  readonly outside: Templates;
  readonly refusals?: readonly Refusal[];
  readonly notes?: readonly string[];
}

/** A model whose text stack is another record. */
export interface Wrapper {
  readonly name: string;
  readonly types?: readonly string[];
  /** Object that holds the text settings. */
  readonly text: string;
  /** Record of the text stack; absent: named by the model_type in `text`. */
  readonly family?: string;
  readonly bases: readonly string[];
  /** What may stand in front of lm_head. */
  readonly heads: readonly string[];
  readonly outside: Templates;
  readonly axes?: readonly Axis[];
  readonly refusals?: readonly Refusal[];
  readonly notes?: readonly string[];
}

/** A model type that is known and cannot be expanded. */
export interface Refused {
  readonly types: readonly string[];
  readonly reason: string;
  readonly fix?: string;
}
