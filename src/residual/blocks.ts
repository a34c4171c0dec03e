// What is known of a bare graph once its residual stream has been found: blocks, the branches that write the stream, caches. Types only.
import type { Branch } from "../architecture/architecture.ts";
import type { Graph } from "../graph/graph.ts";
import type { Body } from "./body.ts";
import type { LoweredNode } from "./lower.ts";

/** An input slot of a node, by the node's index in its body. */
export interface Slot {
  readonly node: number;
  readonly slot: number;
}

/** An initializer as a block uses it. A copy of the block gets a tensor of its own for each. */
export interface BlockTensor {
  /** The same for the same use in every block of equal structure, in this and in any other checkpoint: "MatMul_2.weight". */
  readonly role: string;
  /** Name of the initializer in the graph. */
  readonly initializer: string;
  /** Unique in the graph: the initializer itself where this is its only use, else a name that stands for this use. */
  readonly name: string;
  /** Name in a copy, without the copy's prefix. */
  readonly stem: string;
  /** False for what is no weight: scales of quantized weights. */
  readonly trainable: boolean;
  /** By body: where it is read. */
  readonly uses: readonly (readonly Slot[])[];
}

export interface CacheOutput {
  /** Name in the body. */
  readonly value: string;
  /** Name of the output of the whole graph; the same unless the body is a branch of an `If`. */
  readonly name: string;
}

/** One block in one body. */
export interface Passage {
  /** Value of the residual stream that it reads, and the one that it leaves. */
  readonly input: string;
  readonly output: string;
  /** Indices of its nodes in the body, ascending. */
  readonly nodes: readonly number[];
  /** Graph inputs that only this block reads (past keys and values), in the order of the graph's inputs. */
  readonly cacheInputs: readonly string[];
  /** What this block makes for the world outside (present keys and values), in the order of the body's outputs. */
  readonly cacheOutputs: readonly CacheOutput[];
  /** Every constant it reads, its own and shared ones, by role: what "equal blocks" means beyond `structure`. */
  readonly constants: ReadonlyMap<string, string>;
  /** Values it reads that are neither its own nor constant, without `input` and caches: masks, rotary tables. */
  readonly shared: readonly string[];
}

export interface GraphBlock {
  readonly index: number;
  /** Label of blocks that do the same: "attention/mlp", "attention/mlp (2)". */
  readonly kind: string;
  /** Digest of operators, attributes, wiring, and types and shapes of weights: equal for equal code, whatever the weights. */
  readonly structure: string;
  /** One per body. */
  readonly passages: readonly Passage[];
  /** What a copy gets for itself. */
  readonly tensors: readonly BlockTensor[];
  /** `tensor` in these is a `BlockTensor.name`. */
  readonly branches: readonly Branch[];
  /** Set when the stream is rounded on its way, so that no copy may stand before the first block. */
  readonly rounds: boolean;
}

/** A body that holds the stack of blocks: the main graph, or a branch of the one `If` of a merged decoder. */
export interface BlockBody {
  readonly body: Body;
  /** Nodes that stand for a part of a fused one, by index. */
  readonly lowered: ReadonlyMap<number, LoweredNode>;
  /** Where it is in the lowered model: undefined for the main graph. */
  readonly place: { readonly node: number; readonly attribute: string } | undefined;
}

export interface GraphBlocks {
  /** Functions inlined, Constant nodes hoisted. */
  readonly graph: Graph;
  /** The same with fused residual norms taken apart: what the bodies' indices are of. Never changed. */
  readonly lowered: Graph;
  readonly bodies: readonly BlockBody[];
  readonly blocks: readonly GraphBlock[];
  /** Kinds repeat with this period; 1 when they do not. */
  readonly period: number;
  /** How numbers stand in the names of caches. */
  readonly caches: readonly CacheTemplate[];
  /** Prefix of names in the copy at expanded index `at`; no name of the graph begins so. */
  prefix(at: number): string;
}

/** Names that differ in one number: past_key_values.N.key. */
export interface CacheTemplate {
  readonly before: string;
  readonly after: string;
  /** "index": N is the block's index plus `offset`. "rank": N counts the blocks that have it, from `offset`. */
  readonly counts: "index" | "rank";
  readonly offset: number;
  /** By block: the name, where the block has it. */
  readonly names: ReadonlyMap<number, string>;
}
