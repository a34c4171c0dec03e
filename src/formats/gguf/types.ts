// Which ggml type id means which dtype. Knows ids only; sizes live in tensor/dtype.ts.
import type { Dtype } from "../../tensor/dtype.ts";

/** Ids of ggml_type that a file may hold (llama.cpp v0.5.0, ggml/include/ggml.h). */
const DTYPE_OF_ID: ReadonlyMap<number, Dtype> = new Map<number, Dtype>([
  [0, "F32"],
  [1, "F16"],
  [2, "Q4_0"],
  [3, "Q4_1"],
  [6, "Q5_0"],
  [7, "Q5_1"],
  [8, "Q8_0"],
  [10, "Q2_K"],
  [11, "Q3_K"],
  [12, "Q4_K"],
  [13, "Q5_K"],
  [14, "Q6_K"],
  [16, "IQ2_XXS"],
  [17, "IQ2_XS"],
  [18, "IQ3_XXS"],
  [19, "IQ1_S"],
  [20, "IQ4_NL"],
  [21, "IQ3_S"],
  [22, "IQ2_S"],
  [23, "IQ4_XS"],
  [24, "I8"],
  [25, "I16"],
  [26, "I32"],
  [27, "I64"],
  [28, "F64"],
  [29, "IQ1_M"],
  [30, "BF16"],
  [34, "TQ1_0"],
  [35, "TQ2_0"],
  [39, "MXFP4"],
  [40, "NVFP4"],
  [41, "Q1_0"],
  [42, "Q2_0"],
]);

/** Ids that no reader of today decodes; the names are for the error only. */
const REMOVED: ReadonlyMap<number, string> = new Map([
  [4, "Q4_2"],
  [5, "Q4_3"],
  [31, "Q4_0_4_4"],
  [32, "Q4_0_4_8"],
  [33, "Q4_0_8_8"],
  [36, "IQ4_NL_4_4"],
  [37, "IQ4_NL_4_8"],
  [38, "IQ4_NL_8_8"],
]);

/** Ids that exist in memory only, as the activations' side of a product. */
const RUNTIME_ONLY: ReadonlyMap<number, string> = new Map([
  [9, "Q8_1"],
  [15, "Q8_K"],
]);

const ID_OF_DTYPE: ReadonlyMap<Dtype, number> = new Map([...DTYPE_OF_ID].map(([id, dtype]) => [dtype, id]));

/** The dtypes that a GGUF file can hold, in the order of their ids. */
export const GGML_DTYPES: readonly Dtype[] = [...DTYPE_OF_ID.values()];

/** The dtype of an id, or undefined; see `whyNoDtype`. */
export function dtypeOfId(id: number): Dtype | undefined {
  return DTYPE_OF_ID.get(id);
}

/** The ggml id of a dtype, or undefined when GGUF has none for it (F8, U8, ...). */
export function idOfDtype(dtype: Dtype): number | undefined {
  return ID_OF_DTYPE.get(dtype);
}

/** What is wrong with an id that has no dtype, and what the user can do. */
export function whyNoDtype(id: number): { readonly reason: string; readonly fix: string } {
  const removed = REMOVED.get(id);
  if (removed !== undefined) {
    return {
      reason: `has the type ${removed} (id ${id}), which llama.cpp has removed`,
      fix: "Quantize the model again with a current llama-quantize.",
    };
  }
  const runtime = RUNTIME_ONLY.get(id);
  if (runtime !== undefined) {
    return {
      reason: `has the type ${runtime} (id ${id}), which exists in memory only and is never stored`,
      fix: "Download or convert the file again.",
    };
  }
  return {
    reason: `has the type id ${id}, which is unknown`,
    fix: "Update expand-checkpoint if the type is new; else download the file again.",
  };
}
