// Gives every tensor of a GGUF file its place: a block, the multi-token-prediction tail, or outside. Reads names only.
import { ExpandError } from "../../errors.ts";
import type { GgufFamily } from "./family.ts";

/** Tensors by block: name inside the block to full name, in checkpoint order. */
export interface Claimed {
  readonly blocks: readonly ReadonlyMap<string, string>[];
  /** Blocks of the tail; empty when the file leaves them out. */
  readonly tail: readonly ReadonlyMap<string, string>[];
  readonly outside: readonly string[];
}

/** Where the names come from, for errors. */
export interface Naming {
  readonly location: string;
  readonly architecture: string;
  readonly family: GgufFamily;
  readonly blocks: number;
  readonly tail: number;
}

/** Tensors outside of blocks that any architecture may have; none depends on the block count. */
const GLOBALS = [
  "token_embd token_embd_norm token_types position_embd output output_norm rope_freqs rope_factors_long",
  "rope_factors_short cls cls.output cls.norm dense_2 dense_3",
];
/** `.scale` and `.input_scale` stand beside a quantized weight (NVFP4, BitNet); `.scales` is MPT's activation. */
const ENDINGS = ["", ".weight", ".bias", ".scale", ".input_scale", ".scales"];
const BLOCK_NAME = /^blk\.(0|[1-9][0-9]*)\.(.+)$/s;

/** The name of a block's tensor at another index. */
export function renamed(tensor: string, to: number): string {
  return tensor.replace(BLOCK_NAME, (_, __, name: string) => `blk.${to}.${name}`);
}

/** Tensor name without its ending, or undefined when no such stem is known. */
export function stemOf(name: string, stems: ReadonlySet<string>): string | undefined {
  const ending = ENDINGS.find((candidate) => name.endsWith(candidate) && stems.has(withoutEnding(name, candidate)));
  return ending === undefined ? undefined : withoutEnding(name, ending);
}

function withoutEnding(name: string, ending: string): string {
  return name.slice(0, name.length - ending.length);
}

export function wordsOf(lists: readonly string[]): ReadonlySet<string> {
  return new Set(lists.flatMap((list) => list.split(" ")));
}

/** Throws "unsupported" for a tensor that no rule knows, "damaged" when blocks are missing. */
export function claimTensors(naming: Naming, tensors: Iterable<string>): Claimed {
  const stems = wordsOf(naming.family.stems);
  const globals = wordsOf([...GLOBALS, ...(naming.family.globals === undefined ? [] : [naming.family.globals])]);
  const all: Map<string, string>[] = Array.from({ length: naming.blocks + naming.tail }, () => new Map());
  const outside: string[] = [];
  for (const tensor of tensors) {
    const [, index, name] = BLOCK_NAME.exec(tensor) ?? [];
    if (name === undefined) {
      if (stemOf(tensor, globals) === undefined) refuseTensor(naming, tensor);
      outside.push(tensor);
      continue;
    }
    if (stemOf(name, stems) === undefined) refuseTensor(naming, tensor);
    const block = all[Number(index)];
    if (block === undefined) refuseIndex(naming, tensor);
    block.set(name, tensor);
  }
  checkComplete(naming, all);
  const tail = all.slice(naming.blocks);
  return { blocks: all.slice(0, naming.blocks), tail: tail.filter((block) => block.size > 0), outside };
}

function checkComplete({ location, blocks }: Naming, all: readonly ReadonlyMap<string, string>[]): void {
  const empty = all.findIndex((block) => block.size === 0);
  const found = all.filter((block) => block.size > 0).length;
  if (found === 0) {
    throw new ExpandError("unsupported", "holds no blocks: it is not a whole model", {
      at: location,
      fix: "Give the file that holds the model's weights.",
    });
  }
  if (empty === -1 || empty >= blocks) return;
  throw new ExpandError(
    "damaged",
    `has no tensors of block ${empty}; ${blocks} blocks were expected, ${found} are there`,
    {
      at: location,
      fix: "Give the first part of the split model with all parts beside it, or download the file again.",
    },
  );
}

function refuseTensor({ location, architecture }: Naming, tensor: string): never {
  throw new ExpandError("unsupported", `no rule of the architecture "${architecture}" claims the tensor "${tensor}"`, {
    at: location,
    fix: "Update expand-checkpoint; if it is current, report the tensor's name.",
  });
}

function refuseIndex({ location, architecture, blocks, tail }: Naming, tensor: string): never {
  throw new ExpandError(
    "damaged",
    `the tensor "${tensor}" lies beyond block ${blocks + tail - 1}, the last that ${architecture}.block_count allows`,
    { at: location, fix: "Convert the model again with a current llama.cpp." },
  );
}
