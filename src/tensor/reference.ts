// A tensor that nobody has read yet: stored bytes somewhere, or a repeated pattern. Immutable; holds no weights.
import type { Dtype, Shape } from "./dtype.ts";
import type { ByteSource } from "./source.ts";

/**
 * A tensor without its data. `bytes` always equals `byteLength(dtype, shape)`.
 * stored: bytes [offset, offset + bytes) of `source`. fill: `pattern` repeated; its length divides `bytes`.
 */
export type TensorRef = { readonly dtype: Dtype; readonly shape: Shape; readonly bytes: number } & (
  | { readonly kind: "stored"; readonly source: ByteSource; readonly offset: number }
  | { readonly kind: "fill"; readonly pattern: Uint8Array }
);

export const ZERO: Uint8Array = new Uint8Array(1);

export function isZero(pattern: Uint8Array): boolean {
  return pattern.every((byte) => byte === 0);
}

/** The same dtype and shape with every value replaced by a pattern. */
export function filled(like: TensorRef, pattern: Uint8Array): TensorRef {
  return { kind: "fill", dtype: like.dtype, shape: like.shape, bytes: like.bytes, pattern };
}
