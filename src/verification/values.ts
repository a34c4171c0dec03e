// Spells one stored value for a message. Never used to compare.
import { blockOf, type Dtype } from "../tensor/dtype.ts";
import type { Difference } from "./comparison.ts";

/** "element 7 is NaN" for plain floats; undefined for types whose values share bytes. */
export function spellElement(dtype: Dtype, difference: Difference): string | undefined {
  const decode = DECODERS[dtype];
  if (decode === undefined) return undefined;
  const { buffer, byteOffset, byteLength } = difference.element;
  const index = Math.floor(difference.first / blockOf(dtype).bytes);
  return `element ${index} is ${spell(decode(new DataView(buffer, byteOffset, byteLength)))}`;
}

const DECODERS: Partial<Record<Dtype, (view: DataView) => number>> = {
  F64: (view) => view.getFloat64(0, true),
  F32: (view) => view.getFloat32(0, true),
  BF16: (view) => {
    const wide = new DataView(new ArrayBuffer(4));
    wide.setUint16(2, view.getUint16(0, true), true);
    return wide.getFloat32(0, true);
  },
  F16: (view) => {
    const bits = view.getUint16(0, true);
    const [exponent, fraction] = [(bits >> 10) & 0x1f, bits & 0x3ff];
    const sign = bits & 0x8000 ? -1 : 1;
    if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
    return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
  },
};

function spell(value: number): string {
  return Object.is(value, -0) ? "-0" : Number.isFinite(value) ? String(Number(value.toPrecision(6))) : String(value);
}
