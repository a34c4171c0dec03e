// Floats of 8 bits to f32, as tables of 256. Definitions: OCP 8-bit floating point 1.0 (E4M3, E5M2), ONNX's float8 page for the FNUZ
// kinds, OCP microscaling 1.0 for E8M0.

interface Layout {
  readonly exponentBits: number;
  readonly bias: number;
  /** Codes that are NaN, and what an exponent of ones means: "ieee" Inf and NaN, "finite" one NaN a sign, "unsigned zero" NaN is 0x80. */
  readonly special: "ieee" | "finite" | "unsigned zero";
}

const E4M3: Layout = { exponentBits: 4, bias: 7, special: "finite" };
const E5M2: Layout = { exponentBits: 5, bias: 15, special: "ieee" };

export const E4M3_VALUES: Float32Array = tableOf(E4M3);
export const E5M2_VALUES: Float32Array = tableOf(E5M2);
export const E4M3FNUZ_VALUES: Float32Array = tableOf({ exponentBits: 4, bias: 8, special: "unsigned zero" });
export const E5M2FNUZ_VALUES: Float32Array = tableOf({ exponentBits: 5, bias: 16, special: "unsigned zero" });
/** A bare exponent, 2^(e-127); 255 is NaN. */
export const E8M0_VALUES: Float32Array = Float32Array.from({ length: 256 }, (_, e) =>
  e === 255 ? Number.NaN : 2 ** (e - 127),
);

function tableOf(layout: Layout): Float32Array {
  return Float32Array.from({ length: 256 }, (_, code) => decodeByte(code, layout));
}

function decodeByte(code: number, { exponentBits, bias, special }: Layout): number {
  const mantissaBits = 7 - exponentBits;
  const sign = code >= 128 ? -1 : 1;
  const exponent = (code & 127) >> mantissaBits;
  const mantissa = code & ((1 << mantissaBits) - 1);
  const highest = exponent === (1 << exponentBits) - 1;
  if (special === "unsigned zero" && code === 128) return Number.NaN;
  if (special === "finite" && (code & 127) === 127) return Number.NaN;
  if (special === "ieee" && highest) return mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  const step = 2 ** -mantissaBits;
  return exponent === 0
    ? sign * mantissa * step * 2 ** (1 - bias)
    : sign * (1 + mantissa * step) * 2 ** (exponent - bias);
}
