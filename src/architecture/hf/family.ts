// What a family record may say: which tensors a block has, which write the residual stream, which settings depend on the block's
// index. Pure data types; the engine next door reads them. Names and forward order after transformers 5.16 (decba1d2).
import type { FactorKind } from "../architecture.ts";
import type { Axis, Condition } from "./axis.ts";

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
  /** Those of `outside` that hold a slice for every block: an insertion would have to change an original tensor. */
  readonly slices?: Templates;
  /** Those of `outside` whose only row holds a slice for every block, read by a head beside the stream: a copy's slice is 0. */
  readonly rowSlices?: Templates;
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
