// A checkpoint with some of its tensors replaced, in memory. Writes nothing.
import type { Checkpoint } from "../../../src/checkpoint/checkpoint.ts";
import { elementCount, type Shape } from "../../../src/tensor/dtype.ts";
import type { TensorRef } from "../../../src/tensor/reference.ts";
import { memorySource } from "../../../src/tensor/source.ts";

export function floatsAs(name: string, shape: Shape, values: Float32Array): TensorRef {
  const bytes = new Uint8Array(Float32Array.from(values).buffer);
  return { kind: "stored", dtype: "F32", shape, bytes: bytes.length, source: memorySource(name, bytes), offset: 0 };
}

export function zeros(shape: Shape): TensorRef {
  const bytes = 4 * (elementCount(shape) ?? 0);
  return { kind: "fill", dtype: "F32", shape, bytes, pattern: new Uint8Array(4) };
}

export function replaced(checkpoint: Checkpoint, tensors: ReadonlyMap<string, TensorRef>): Checkpoint {
  return { ...checkpoint, tensors: new Map([...checkpoint.tensors, ...tensors]) };
}

/** The checkpoint with these values in their tensors' shapes. */
export function withValues(checkpoint: Checkpoint, values: ReadonlyMap<string, Float32Array>): Checkpoint {
  const tensors = [...values].map(([name, data]) => {
    return [name, floatsAs(name, checkpoint.tensors.get(name)?.shape ?? [data.length], data)] as const;
  });
  return replaced(checkpoint, new Map(tensors));
}
