// Which codec decodes which storage type. A type that is not here is refused, never guessed.
import type { Dtype } from "../dtype.ts";
import type { Decode } from "./codec.ts";
import { mxfp4, nvfp4 } from "./float4.ts";
import { E4M3_VALUES, E4M3FNUZ_VALUES, E5M2_VALUES, E5M2FNUZ_VALUES, E8M0_VALUES } from "./float8.ts";
import { iq1_m, iq1_s, iq2_s, iq2_xs, iq2_xxs, iq3_s, iq3_xxs } from "./iq.ts";
import { iq4_xs, q2_k, q3_k, q4_k, q5_k, q6_k } from "./k-quants.ts";
import { iq4_nl, q1_0, q2_0, q4_0, q4_1, q5_0, q5_1, q8_0 } from "./legacy.ts";
import { bf16, each, f16, f32, packed, tabled } from "./plain.ts";
import { tq1_0, tq2_0 } from "./ternary.ts";

/** Absent: complex numbers, and the types of 4 and 6 bits whose order inside a byte safetensors does not define. */
export const CODECS: Partial<Record<Dtype, Decode>> = {
  F32: f32,
  F16: f16,
  BF16: bf16,
  F64: each(8, (view, at) => view.getFloat64(at, true)),
  F8_E4M3: tabled(E4M3_VALUES),
  F8_E5M2: tabled(E5M2_VALUES),
  F8_E4M3FNUZ: tabled(E4M3FNUZ_VALUES),
  F8_E5M2FNUZ: tabled(E5M2FNUZ_VALUES),
  F8_E8M0: tabled(E8M0_VALUES),
  BOOL: each(1, (view, at) => (view.getUint8(at) === 0 ? 0 : 1)),
  U8: each(1, (view, at) => view.getUint8(at)),
  I8: each(1, (view, at) => view.getInt8(at)),
  U16: each(2, (view, at) => view.getUint16(at, true)),
  I16: each(2, (view, at) => view.getInt16(at, true)),
  U32: each(4, (view, at) => view.getUint32(at, true)),
  I32: each(4, (view, at) => view.getInt32(at, true)),
  U64: each(8, (view, at) => Number(view.getBigUint64(at, true))),
  I64: each(8, (view, at) => Number(view.getBigInt64(at, true))),
  U2: packed(2, false),
  I2: packed(2, true),
  U4: packed(4, false),
  I4: packed(4, true),
  Q4_0: q4_0,
  Q4_1: q4_1,
  Q5_0: q5_0,
  Q5_1: q5_1,
  Q8_0: q8_0,
  Q2_K: q2_k,
  Q3_K: q3_k,
  Q4_K: q4_k,
  Q5_K: q5_k,
  Q6_K: q6_k,
  IQ1_S: iq1_s,
  IQ1_M: iq1_m,
  IQ2_XXS: iq2_xxs,
  IQ2_XS: iq2_xs,
  IQ2_S: iq2_s,
  IQ3_XXS: iq3_xxs,
  IQ3_S: iq3_s,
  IQ4_NL: iq4_nl,
  IQ4_XS: iq4_xs,
  TQ1_0: tq1_0,
  TQ2_0: tq2_0,
  MXFP4: mxfp4,
  NVFP4: nvfp4,
  Q1_0: q1_0,
  Q2_0: q2_0,
};
