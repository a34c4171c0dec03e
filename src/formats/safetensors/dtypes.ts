// The value types of the safetensors format. Knows their names only; sizes are in tensor/dtype.ts.
import type { Dtype } from "../../tensor/dtype.ts";

/** safetensors 0.8, `Dtype` in safetensors/src/tensor.rs. */
const NAMES = [
  "BOOL",
  "F4",
  "F6_E2M3",
  "F6_E3M2",
  "U8",
  "I8",
  "F8_E5M2",
  "F8_E4M3",
  "F8_E8M0",
  "F8_E4M3FNUZ",
  "F8_E5M2FNUZ",
  "I16",
  "U16",
  "F16",
  "BF16",
  "I32",
  "U32",
  "F32",
  "C64",
  "F64",
  "I64",
  "U64",
] as const satisfies readonly Dtype[];

export type SafetensorsDtype = (typeof NAMES)[number];

export const SAFETENSORS_DTYPES: ReadonlySet<string> = new Set(NAMES);

export function isSafetensorsDtype(name: string): name is SafetensorsDtype {
  return SAFETENSORS_DTYPES.has(name);
}
