// What a quantized Hugging Face checkpoint stores for a weight, and which settings name blocks. Never reads or changes a weight.
import type { Checkpoint } from "../../../checkpoint/checkpoint.ts";
import { ExpandError } from "../../../errors.ts";
import { type Dtype, isPlainFloat } from "../../../tensor/dtype.ts";
import type { ConfigEdit, FixedTensor } from "../../architecture.ts";
import type { Layout } from "../../layout.ts";
import { CACHE_SCALES, FORMS, type Form } from "./forms.ts";
import { findSettings } from "./settings.ts";
import { skipListEdits } from "./skip-lists.ts";

/** The tensors on disk that together hold one weight. */
export interface StoredWeight {
  /** All of them, the weight itself included where it is there. They travel with the block. */
  readonly names: readonly string[];
  /** With these bytes the weight is exactly 0. */
  readonly zero: readonly FixedTensor[];
}

export interface Quantization {
  /** "none", or the quant_method: "gptq", "awq", "bitsandbytes", "fp8", ... */
  readonly method: string;
  /** Worth telling in a plan; undefined when nothing is quantized. */
  readonly note: string | undefined;
  /**
   * Tensors that stand on disk for a linear's plain weight ("...o_proj.weight", or a fused "...experts.down_proj"), and what zeroes it.
   * undefined: stored plainly under its own name, or absent. A bias is a tensor of its own and is not part of this.
   * Throws "unsupported" for tensors in a form that is not known.
   */
  stored(weight: string, has: (name: string) => boolean): StoredWeight | undefined;
  /** True for a block's tensor that belongs to the quantization and to no weight (key-value cache scales): copied, never trained, never zeroed. */
  attached(tensor: string): boolean;
  /**
   * Settings that name blocks (skip lists, targets), renumbered for a layout. `blockPrefixes`: the text before a block's number, closing
   * dot included ("model.layers."), the checkpoint's own first, then the other names of the same stack. Throws "unsupported" for an entry
   * that cannot be rewritten with its meaning kept.
   */
  edits(layout: Layout, blockPrefixes: readonly string[]): readonly ConfigEdit[];
}

/** Reads the quantization settings of a checkpoint. Throws "unsupported" for a method that cannot be handled exactly. */
export function quantizationOf(checkpoint: Checkpoint): Quantization {
  const settings = findSettings(checkpoint);
  const method = settings[0]?.method ?? "none";
  const forms = FORMS[method] ?? [];
  const dtype = (name: string): Dtype | undefined => checkpoint.tensors.get(name)?.dtype;
  const stored: Quantization["stored"] = (weight, has) =>
    storedAs(weight, method, forms, (n) => (has(n) ? dtype(n) : undefined));
  return {
    method,
    note:
      method === "none"
        ? undefined
        : `The weights are quantized (${method}). Copies stay quantized, so an optimizer cannot train their quantized weights directly: use LoRA on the copies, or dequantize first.`,
    stored,
    attached: (tensor) => method !== "none" && CACHE_SCALES.test(tensor),
    edits: (layout, blockPrefixes) =>
      skipListEdits(
        settings,
        checkpoint.tensors.keys(),
        layout,
        blockPrefixes,
        (module) => stored(`${module}.weight`, (name) => checkpoint.tensors.has(name)) !== undefined,
      ),
  };
}

function storedAs(
  weight: string,
  method: string,
  forms: readonly Form[],
  dtype: (name: string) => Dtype | undefined,
): StoredWeight | undefined {
  const suspects = new Set<string>();
  for (const form of forms) {
    const { fits, names, telling } = presentTensors(form, weight, dtype);
    for (const name of telling) suspects.add(name);
    if (!fits) continue;
    // A weight in its own type with nothing beside it is a plain weight (a module on the skip list).
    if (names.length === 1 && isPlainFloat(dtype(weight) ?? "U8")) return undefined;
    return { names, zero: [{ tensor: nameOf(form.zero, weight), pattern: Uint8Array.of(form.byte), value: 0 }] };
  }
  const plain = dtype(weight);
  if (suspects.size === 0 && (plain === undefined || /^B?F\d/.test(plain))) return undefined;
  const tensors = [...(plain === undefined ? [] : [weight]), ...suspects].map((name) => `${name} (${dtype(name)})`);
  const expected =
    method === "none"
      ? "a floating-point weight, since no quantization is named"
      : `a form of ${method} or a plain weight`;
  throw new ExpandError("unsupported", `expected ${expected}, found ${tensors.join(", ")}`, {
    at: weight,
    fix: "Expand the checkpoint it was quantized from, then quantize the result.",
  });
}

interface Present {
  /** None is missing, and every type is one the form allows. */
  readonly fits: boolean;
  readonly names: readonly string[];
  /** Those that only a quantized weight has. Optional tensors of the module may be parameters of another meaning ("router.scale"). */
  readonly telling: readonly string[];
}

function presentTensors(form: Form, weight: string, dtype: (name: string) => Dtype | undefined): Present {
  const names: string[] = [];
  const telling: string[] = [];
  let fits = true;
  for (const [key, allowed] of Object.entries(form.tensors)) {
    const optional = key.endsWith("?");
    const pattern = optional ? key.slice(0, -1) : key;
    const name = nameOf(pattern, weight);
    const found = dtype(name);
    if (found === undefined) {
      if (!optional) fits = false;
      continue;
    }
    names.push(name);
    if (pattern !== "{w}" && (!optional || pattern.startsWith("{w}"))) telling.push(name);
    if (!allowed.includes(found)) fits = false;
  }
  return { fits, names, telling };
}

function nameOf(pattern: string, weight: string): string {
  return pattern.replace("{w}", weight).replace("{m}", weight.replace(/\.weight$/, ""));
}
