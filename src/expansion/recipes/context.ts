// What every recipe needs to know about the copies: their prefix, and a pattern for it that holds on disk and at run time.
import type { Architecture, Block } from "../../architecture/architecture.ts";
import type { Mask } from "../mask.ts";

/** A file for a trainer, or why the trainer cannot be told. */
export type Recipe =
  | { readonly kind: "file"; readonly file: string; readonly text: string }
  | { readonly kind: "refused"; readonly reason: string };

export interface RecipeContext {
  readonly mask: Mask;
  /** Blocks of the expanded stack. */
  readonly blocks: readonly Block[];
  readonly copies: readonly Block[];
  /** The text before a block's number on disk: "model.layers.". */
  readonly prefix: string;
  /** `prefix` without names that wrap the stack: "layers.". */
  readonly core: string;
  /** Names inside a copy that are parameters and stay frozen (scales of the stream). */
  readonly held: readonly string[];
  /** True when a copy has quantized weights. */
  readonly quantized: boolean;
}

/**
 * Modules around the text stack, which differ between disk and run time: transformers 5 turns language_model.model. into
 * model.language_model. and nemotron_h's backbone. into model. (conversion_mapping.py), a task head adds model. or transformer., and torch
 * adds module., _orig_mod. and base_model.
 */
const WRAPPERS = [
  "model",
  "backbone",
  "language_model",
  "text_model",
  "transformer",
  "base_model",
  "module",
  "_orig_mod",
];

/** The context, or the reason why no trainer can be told about these copies. */
export function contextOf(mask: Mask, architecture: Architecture): RecipeContext | string {
  if (mask.format === "gguf") {
    return "trainers do not read GGUF; expand the safetensors checkpoint that the GGUF file was made from";
  }
  if (mask.format === "onnx") {
    return "trainers of PyTorch models do not read ONNX; expand the checkpoint that the graph was exported from";
  }
  if (mask.blocks.length === 0) return "the checkpoint has no copies";
  const copies = architecture.blocks.filter((_, at) => mask.blocks.includes(at));
  const prefixes = new Set(copies.flatMap((block) => [...block.tensors].map((entry) => prefixOf(block, ...entry))));
  const [prefix] = prefixes;
  if (prefix === undefined || prefixes.size > 1)
    return "its blocks have no common name that ends with the block's number";
  const held = new Set<string>();
  let quantized = false;
  for (const block of copies) {
    const fixed = new Set(block.fixed.map((entry) => entry.tensor));
    for (const [inner, name] of block.tensors) {
      if (mask.tensors[name] === "trainable" || block.buffers.has(inner)) continue;
      if (fixed.has(name)) held.add(inner);
      else quantized = true;
    }
  }
  const parts = prefix.split(".").slice(0, -1);
  const first = parts.findIndex((part, at) => at === parts.length - 1 || !WRAPPERS.includes(part));
  const core = `${parts.slice(first).join(".")}.`;
  return { mask, blocks: architecture.blocks, copies, prefix, core, held: [...held], quantized };
}

function prefixOf(block: Block, inner: string, name: string): string | undefined {
  const end = `${block.index}.${inner}`;
  return name.endsWith(`.${end}`) ? name.slice(0, -end.length) : undefined;
}

/**
 * A pattern for Python's re.match over parameter names: the copies' parameters and no others, whatever wraps the stack.
 * `dot`: how the tool wants a literal dot written. The result is a reason when no such pattern separates them.
 */
export function copyPattern(context: RecipeContext, dot: "\\." | "."): { readonly pattern: string } | string {
  const { mask, copies, held, quantized } = context;
  if (quantized) return "the copies' weights are quantized, and an optimizer cannot update them; use peft";
  if (mask.counts.trainable.tensors === 0) return "the copies have no trainable weight";
  const write = (pattern: string): string => pattern.replaceAll("\\.", dot);
  const escaped = (names: readonly string[]): string => names.map((name) => name.replaceAll(".", "\\.")).join("|");
  const numbers = mask.blocks.join("|");
  const except = held.length === 0 ? "" : `(?!(${escaped(held)})$)`;
  const core = runtimeCores(context.core);
  const stack = core.length === 1 ? escaped(core) : `(${escaped(core)})`;
  const pattern = `^((${WRAPPERS.join("|")})\\.)*${stack}(${numbers})\\.${except}`;
  const matcher = new RegExp(pattern);
  const buffers = new Set(
    copies.flatMap((block) => [...block.tensors].filter(([inner]) => block.buffers.has(inner)).map(([, name]) => name)),
  );
  for (const [name, state] of Object.entries(mask.tensors)) {
    if (buffers.has(name) || matcher.test(name) === (state === "trainable")) continue;
    return `no pattern tells the copies from "${name}"`;
  }
  return { pattern: write(pattern) };
}

/** transformers 5 calls vit.encoder.layer. and beit.encoder.layer. vit.layers. and beit.layers. at run time (conversion_mapping.py). */
function runtimeCores(core: string): readonly string[] {
  const renamed = core.replace(/^(\w+)\.encoder\.layer\.$/, "$1.layers.");
  return renamed === core ? [core] : [core, renamed];
}
