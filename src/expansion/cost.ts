// What an expansion costs, counted from headers: bytes, parameters. Never touches a file.
import type { Architecture } from "../architecture/architecture.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { elementCount, isPlainFloat } from "../tensor/dtype.ts";
import type { TensorRef } from "../tensor/reference.ts";

/** A block of the expanded checkpoint, and the tensors in it that hold one value throughout; none in an original. */
export interface CostedBlock {
  readonly kind: "original" | "copy";
  readonly at: number;
  readonly from: number;
  readonly zeroed?: readonly { readonly tensor: string; readonly value: number }[];
}

export interface PlanCost {
  /** Tensor bytes read from the source (a copied tensor is read twice). */
  readonly bytesToRead: number;
  /** Tensor bytes of the expanded checkpoint, zeros included. */
  readonly bytesToWrite: number;
  /** Bytes of `bytesToWrite` that are zeros: holes where the file system has them. */
  readonly zeroBytes: number;
  /** Bytes of free disk that writing takes with zeros as holes; `bytesToWrite` without. Headers and small files come on top. */
  readonly freeDisk: number;
  /** Stored values before and after; packed integers of quantized checkpoints count as stored. */
  readonly parametersBefore: number;
  readonly parametersAfter: number;
  /** Values in the copies that an optimizer can update (plain floats). */
  readonly trainable: number;
}

export function costOf(checkpoint: Checkpoint, architecture: Architecture, blocks: readonly CostedBlock[]): PlanCost {
  let bytesToRead = 0;
  let parametersBefore = 0;
  for (const tensor of checkpoint.tensors.values()) {
    bytesToRead += tensor.bytes;
    parametersBefore += values(tensor);
  }
  let bytesToWrite = bytesToRead;
  let zeroBytes = 0;
  let parametersAfter = parametersBefore;
  let trainable = 0;
  for (const block of blocks) {
    if (block.kind === "original") continue;
    const source = architecture.blocks[block.from];
    const fixed = new Map(block.zeroed?.map((entry) => [entry.tensor, entry.value]));
    for (const name of source?.tensors.values() ?? []) {
      const tensor = checkpoint.tensors.get(name);
      if (tensor === undefined) continue;
      const value = fixed.get(architecture.rename(name, block.at));
      bytesToWrite += tensor.bytes;
      parametersAfter += values(tensor);
      if (isPlainFloat(tensor.dtype)) trainable += values(tensor);
      if (value === undefined) bytesToRead += tensor.bytes;
      else if (value === 0) zeroBytes += tensor.bytes;
    }
  }
  const freeDisk = bytesToWrite - zeroBytes;
  return { bytesToRead, bytesToWrite, zeroBytes, freeDisk, parametersBefore, parametersAfter, trainable };
}

function values(tensor: TensorRef): number {
  return elementCount(tensor.shape) ?? 0;
}
