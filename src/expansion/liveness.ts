// Makes sure that a copy can learn: if its source block has a factor that is already closed, closing another one in series would
// leave both with gradient 0 for ever. Reads only until the first byte that differs.
import type { Architecture, Block, Factor } from "../architecture/architecture.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError, throwIfAborted } from "../errors.ts";
import type { TensorRef } from "../tensor/reference.ts";
import { blockAt, type Plan } from "./plan.ts";

const CHUNK = 1 << 20;

/** Throws "plan" naming the copy, its source and the factor that is closed already. */
export async function checkLiveness(
  checkpoint: Checkpoint,
  architecture: Architecture,
  plan: Plan,
  signal?: AbortSignal,
): Promise<void> {
  for (const block of plan.blocks) {
    if (block.kind === "original") continue;
    const zeroed = new Set(block.zeroed.map((entry) => entry.tensor));
    const source = blockAt(architecture, block.from);
    for (const branch of source.branches) {
      for (const factor of branch.factors) {
        throwIfAborted(signal);
        const closing = factor.tensors.every((fixed) => zeroed.has(architecture.rename(fixed.tensor, block.at)));
        if (closing || !(await isClosed(checkpoint, factor))) continue;
        throw new ExpandError(
          "plan",
          `the ${factor.kind} of its ${branch.name} branch is closed already, so a copy of it could never learn`,
          {
            at: `block ${block.from}`,
            fix: "Copy another block with --after, or use --zero projections or --zero norm-gain.",
          },
        );
      }
    }
  }
}

/** True when every branch of a block is closed: the block adds exactly nothing. */
export async function isIdentityBlock(checkpoint: Checkpoint, block: Block): Promise<boolean> {
  for (const branch of block.branches) {
    let closed = false;
    for (const factor of branch.factors) closed ||= await isClosed(checkpoint, factor);
    if (!closed) return false;
  }
  return block.branches.length > 0;
}

/** True when every tensor of a factor already holds the value that closes it. */
export async function isClosed(checkpoint: Checkpoint, factor: Factor): Promise<boolean> {
  for (const { tensor, pattern } of factor.tensors) {
    const reference = checkpoint.tensors.get(tensor);
    if (reference === undefined || !(await holdsPattern(reference, pattern))) return false;
  }
  return true;
}

async function holdsPattern(tensor: TensorRef, pattern: Uint8Array): Promise<boolean> {
  if (tensor.kind === "fill") return Buffer.compare(tensor.pattern, pattern) === 0;
  const chunk = Math.max(pattern.length, CHUNK - (CHUNK % pattern.length));
  let expected = Buffer.alloc(0);
  for (let done = 0, size = 4096 - (4096 % pattern.length) || pattern.length; done < tensor.bytes; size = chunk) {
    const length = Math.min(size, tensor.bytes - done);
    const found = await tensor.source.read(tensor.offset + done, length);
    if (expected.length < length) expected = Buffer.alloc(length, pattern);
    if (Buffer.compare(found, expected.subarray(0, length)) !== 0) return false;
    done += length;
  }
  return tensor.bytes > 0;
}
