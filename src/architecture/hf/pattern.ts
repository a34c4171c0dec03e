// A number as the bytes that one value of a storage type has. Exact or nothing: never rounds.
import type { Dtype } from "../../tensor/dtype.ts";
import { ZERO } from "../../tensor/reference.ts";

/** Little-endian bytes of `value`, or undefined when the type cannot hold exactly this number. Zero is one zero byte. */
export function patternOf(value: number, dtype: Dtype): Uint8Array | undefined {
  if (!FLOATS.has(dtype)) return undefined;
  if (Object.is(value, 0)) return ZERO;
  const view = new DataView(new ArrayBuffer(8));
  if (dtype === "F64") {
    view.setFloat64(0, value, true);
    return new Uint8Array(view.buffer);
  }
  view.setFloat32(0, value, true);
  if (view.getFloat32(0, true) !== value) return undefined;
  if (dtype === "F32") return new Uint8Array(view.buffer.slice(0, 4));
  if (dtype === "F16") return half(value);
  const bits = view.getUint32(0, true);
  return (bits & 0xffff) === 0 ? Uint8Array.of((bits >>> 16) & 0xff, bits >>> 24) : undefined;
}

const FLOATS: ReadonlySet<Dtype> = new Set(["F16", "BF16", "F32", "F64"]);

/** Powers of two in half precision's normal range: sign, exponent + 15, no fraction. */
function half(value: number): Uint8Array | undefined {
  const exponent = Math.log2(Math.abs(value));
  if (!Number.isInteger(exponent) || exponent < -14 || exponent > 15) return undefined;
  const bits = (value < 0 ? 0x8000 : 0) | ((exponent + 15) << 10);
  return Uint8Array.of(bits & 0xff, bits >>> 8);
}
