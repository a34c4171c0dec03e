// Builds blocks from claimed tensors: their kind, branches and buffers. Knows nothing of layouts.
import type { Block } from "../architecture.ts";
import { sourceIndex } from "../layout.ts";
import { branchesOf, has } from "./branches.ts";
import type { GgufFamily } from "./family.ts";
import { RECURRENT_KEY, recurrentPattern, WINDOW_KEY, windowPattern } from "./patterns.ts";
import type { Settings } from "./settings.ts";

type Tensors = ReadonlyMap<string, string>;

/** Scales of a quantized weight, rotary tables and token tables: nothing that an optimizer may move. */
const BUFFER = /^(attn_rot_embd|ffn_gate_tid2eid)\.|\.(scale|input_scale)$/;

/** Throws "unsupported" when a block lacks what its branches need. */
export function blocksOf(family: GgufFamily, settings: Settings, claimed: readonly Tensors[]): readonly Block[] {
  const kinds = distinct(
    claimed.map((tensors, index) => kindOf(family, settings, tensors, index)),
    claimed,
  );
  return claimed.map((tensors, index) => ({
    index: sourceIndex(index),
    kind: kinds[index] ?? "",
    tensors,
    branches: branchesOf(family, tensors, `block ${index}`),
    fixed: [],
    buffers: buffersOf(tensors),
  }));
}

/** Multi-token-prediction blocks: renumbered and never copied, so nothing of theirs is ever closed. */
export function tailOf(claimed: readonly Tensors[], first: number): readonly Block[] {
  return claimed.map((tensors, index) => ({
    index: sourceIndex(first + index),
    kind: "multi_token_prediction",
    tensors,
    branches: [],
    fixed: [],
    buffers: buffersOf(tensors),
  }));
}

function buffersOf(tensors: Tensors): ReadonlySet<string> {
  return new Set([...tensors.keys()].filter((name) => BUFFER.test(name)));
}

function kindOf(family: GgufFamily, settings: Settings, tensors: Tensors, index: number): string {
  const noRope = family.group?.noRope(index, settings) === true;
  const parts = [mixerOf(family, settings, tensors, index), networkOf(tensors), noRope ? "no_rope" : ""];
  return parts.filter((part) => part !== "").join("/") || "empty";
}

function mixerOf(family: GgufFamily, settings: Settings, tensors: Tensors, index: number): string {
  if (has(tensors, "ssm_out"))
    return has(tensors, "attn_output") ? "attention+ssm" : linearOr(family, settings, index, "ssm");
  if (has(tensors, "shortconv.out_proj")) return "short_convolution";
  if (has(tensors, "time_mix_output")) return "rwkv";
  if (!has(tensors, "attn_output")) return "";
  if (has(tensors, "ssm_conv1d_q")) return "linear_attention";
  const window = windowPattern(family, settings);
  const sliding = window?.at(index) ?? settings.array(WINDOW_KEY)?.[index];
  if (sliding === undefined) return "attention";
  return sliding === true || sliding === 1 ? "sliding_attention" : "full_attention";
}

function linearOr(family: GgufFamily, settings: Settings, index: number, otherwise: string): string {
  const recurrent = recurrentPattern(family, settings)?.at(index) ?? settings.array(RECURRENT_KEY)?.[index];
  return recurrent === undefined ? otherwise : "linear_attention";
}

function networkOf(tensors: Tensors): string {
  if (has(tensors, "ffn_down_exps")) return "moe";
  return has(tensors, "ffn_down") || has(tensors, "channel_mix_value") ? "dense" : "";
}

/** Blocks of one kind have the same tensor names: a kind with several sets of names gets a number behind it. */
function distinct(kinds: readonly string[], claimed: readonly Tensors[]): readonly string[] {
  const sets = new Map<string, string[]>();
  return kinds.map((kind, index) => {
    const names = [...(claimed[index]?.keys() ?? [])].sort().join(" ");
    const known = sets.get(kind) ?? [];
    if (!known.includes(names)) sets.set(kind, [...known, names]);
    const number = (sets.get(kind) ?? []).indexOf(names);
    return number === 0 ? kind : `${kind} (${number + 1})`;
  });
}
