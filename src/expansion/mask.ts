// The split of an expanded checkpoint into trainable and frozen tensors. Claimed from the checkpoint itself: no name is mapped backwards.
import type { Architecture, Block } from "../architecture/architecture.ts";
import type { Checkpoint, Format } from "../checkpoint/checkpoint.ts";
import { ExpandError } from "../errors.ts";
import { JsonDocument, type JsonObject, type JsonValue } from "../json.ts";
import { elementCount, isPlainFloat } from "../tensor/dtype.ts";

export const MASK_SCHEMA = "expand-checkpoint/mask/1";

export interface MaskCount {
  readonly tensors: number;
  /** Stored values; a packed integer counts as one. */
  readonly parameters: number;
}

/** mask.json. */
export interface Mask {
  readonly schema: typeof MASK_SCHEMA;
  /** Fingerprint of the plan that made the copies; absent when the copies were found or named. */
  readonly plan?: string;
  readonly format: Format;
  readonly stack: string;
  /** Expanded indices of the copies, in ascending order. */
  readonly blocks: readonly number[];
  readonly counts: { readonly trainable: MaskCount; readonly frozen: MaskCount };
  /** Modules of a copy that multiply by a matrix, named inside the block ("self_attn.q_proj"): where LoRA can go. */
  readonly linears: readonly string[];
  /** One entry per tensor of the checkpoint, in its order. */
  readonly tensors: Readonly<Record<string, "trainable" | "frozen">>;
}

/**
 * `architecture` and `checkpoint` are the expanded ones, `copies` expanded indices. Trainable: the copies' weights in plain float types,
 * without buffers, without scales of the stream that must keep their value, and without parts of quantized weights.
 * Throws "plan" for an index that is no block.
 */
export function maskFor(
  architecture: Architecture,
  checkpoint: Checkpoint,
  copies: readonly number[],
  plan?: string,
): Mask {
  const blocks = [...new Set(copies)].sort((a, b) => a - b);
  const trainable = new Set<string>();
  const linears = new Set<string>();
  for (const index of blocks) {
    const block = blockAt(architecture, index);
    for (const name of trainableNames(block, checkpoint)) trainable.add(name);
    for (const module of linearModules(block, checkpoint)) linears.add(module);
  }
  const names = [...checkpoint.tensors.keys()];
  return {
    schema: MASK_SCHEMA,
    ...(plan === undefined ? {} : { plan }),
    format: checkpoint.format,
    stack: architecture.stack,
    blocks,
    counts: {
      trainable: count(checkpoint, trainable),
      frozen: count(
        checkpoint,
        names.filter((name) => !trainable.has(name)),
      ),
    },
    linears: [...linears],
    tensors: Object.fromEntries(names.map((name) => [name, trainable.has(name) ? "trainable" : "frozen"])),
  };
}

/** What a saved mask says about the copies. Throws "input" when the file is no mask of this version. */
export function parseMask(
  name: string,
  data: Uint8Array | string,
): { readonly blocks: readonly number[]; readonly plan: string | undefined } {
  const value = JsonDocument.parse(name, data).value;
  const mask: JsonObject = isObject(value) ? value : {};
  const { blocks, plan } = mask;
  if (mask.schema === MASK_SCHEMA && Array.isArray(blocks) && blocks.every(isIndex)) {
    return { blocks, plan: typeof plan === "string" ? plan : undefined };
  }
  throw new ExpandError(
    "input",
    `expected "schema": "${MASK_SCHEMA}" and a list of blocks, found ${JSON.stringify(mask.schema ?? null)}`,
    { at: name, fix: "Make it again with expand-checkpoint mask --blocks, or remove the file." },
  );
}

/** The tensors that a saved mask trains. Throws "input" when the file is no mask of this version, or has another word for a tensor. */
export function parseTrainable(name: string, data: Uint8Array | string): ReadonlySet<string> {
  parseMask(name, data);
  const value = JsonDocument.parse(name, data).value;
  const tensors = isObject(value) ? value.tensors : undefined;
  const entries = tensors !== undefined && isObject(tensors) ? Object.entries(tensors) : [];
  const stranger = entries.find(([, word]) => word !== "trainable" && word !== "frozen");
  if (entries.length > 0 && stranger === undefined) {
    return new Set(entries.flatMap(([tensor, word]) => (word === "trainable" ? [tensor] : [])));
  }
  const found = stranger === undefined ? "none" : `${JSON.stringify(stranger[1])} for ${JSON.stringify(stranger[0])}`;
  throw new ExpandError("input", `expected "trainable" or "frozen" for every tensor, found ${found}`, {
    at: name,
    fix: "Make the mask again with expand-checkpoint mask.",
  });
}

const isObject = (value: JsonValue): value is JsonObject =>
  value !== null && typeof value === "object" && !Array.isArray(value);
const isIndex = (value: JsonValue): value is number =>
  typeof value === "number" && Number.isSafeInteger(value) && value >= 0;

function blockAt(architecture: Architecture, index: number): Block {
  const block = architecture.blocks[index];
  if (block !== undefined) return block;
  throw new ExpandError("plan", `there is no block ${index}: the checkpoint has ${architecture.blocks.length}`, {
    fix: `Use numbers from 0 to ${architecture.blocks.length - 1}.`,
  });
}

/** Scales of activations and weights that stand beside a float weight (compressed-tensors): measured, never learned. */
const MEASURED = /\.(?:input|output|weight|activation)_(?:scale|zero_point)$/;

function trainableNames(block: Block, checkpoint: Checkpoint): readonly string[] {
  const fixed = new Set(block.fixed.map((entry) => entry.tensor));
  // A graph says by itself what is a weight; its names say nothing.
  if (checkpoint.graph !== undefined) {
    const weights = [...block.tensors].filter(([role, name]) => isFloat(checkpoint, name) && !block.buffers.has(role));
    return weights.map(([, name]) => name);
  }
  const quantized = new Set<string>();
  for (const name of block.tensors.values()) if (!isFloat(checkpoint, name)) quantized.add(moduleOf(name));
  return [...block.tensors]
    .filter(([inner, name]) => {
      if (!isFloat(checkpoint, name) || block.buffers.has(inner) || fixed.has(name) || MEASURED.test(name))
        return false;
      // Beside a weight in integers or 8-bit floats stand its scales; only the bias is a weight of its own.
      return !quantized.has(moduleOf(name)) || /[._]bias$/.test(name);
    })
    .map(([, name]) => name);
}

function isFloat(checkpoint: Checkpoint, name: string): boolean {
  const tensor = checkpoint.tensors.get(name);
  return tensor !== undefined && isPlainFloat(tensor.dtype);
}

/** "x" of "x.weight", "x.qweight" and "x.weight.absmax". */
function moduleOf(name: string): string {
  return name.replace(/(?:\.weight)?\.[^.]+$/, "");
}

function linearModules(block: Block, checkpoint: Checkpoint): readonly string[] {
  if (checkpoint.graph !== undefined) return [];
  return [...block.tensors].flatMap(([inner, name]) => {
    const module = /^(.+)\.(?:weight|qweight|weight_packed|W_q)$/.exec(inner)?.[1];
    return module !== undefined && checkpoint.tensors.get(name)?.shape.length === 2 ? [module] : [];
  });
}

function count(checkpoint: Checkpoint, names: Iterable<string>): MaskCount {
  let tensors = 0;
  let parameters = 0;
  for (const name of names) {
    tensors++;
    parameters += elementCount(checkpoint.tensors.get(name)?.shape ?? []) ?? 0;
  }
  return { tensors, parameters };
}
