// How operators turn zeros into zeros, as tables: which constant of a linear operator makes its output exactly 0, and which operators hand
// a zero on. Never looks at a graph.

/** Slots of a linear operator. Its output is exactly 0 when the weight (or its scale) is zero, and its biases are. */
export interface LinearForm {
  /** One of these must be constant: the weight itself. */
  readonly weight?: readonly number[];
  /** Scale of an integer weight, zeroed instead of it. */
  readonly scale?: number;
  /** An integer weight is "zero" where it equals the zero point in this slot (0 when the slot is empty). */
  readonly zeroPoint?: number;
  readonly bias?: readonly number[];
}

/** By domain and operator. Slots from the operator schemas of onnx 1.21 and onnxruntime 1.30 (docs/ContribOperators.md). */
export const LINEAR: Readonly<Record<string, LinearForm>> = {
  ":MatMul": { weight: [0, 1] },
  ":Gemm": { weight: [0, 1], bias: [2] },
  ":Einsum": { weight: [0, 1] },
  ":Conv": { weight: [1], bias: [2] },
  ":ConvTranspose": { weight: [1], bias: [2] },
  ":MatMulInteger": { weight: [1], zeroPoint: 3 },
  "com.microsoft:FusedMatMul": { weight: [0, 1] },
  "com.microsoft:TransposeMatMul": { weight: [0, 1] },
  "com.microsoft:MatMulNBits": { scale: 2, bias: [5] },
  "com.microsoft:MatMulBnb4": { scale: 2 },
  "com.microsoft:DynamicQuantizeMatMul": { scale: 2, bias: [4] },
  "com.microsoft:MatMulIntegerToFloat": { scale: 3, bias: [6] },
  "com.microsoft:MoE": { weight: [4], bias: [5] },
  "com.microsoft:QMoE": { scale: 6, bias: [7] },
};

/** Operators that give 0 for 0 in their first input, whatever their other inputs are (as long as those are finite). */
export const KEEPS_ZERO: ReadonlySet<string> = new Set(
  [
    [
      "Cast",
      "Identity",
      "Reshape",
      "Transpose",
      "Squeeze",
      "Unsqueeze",
      "Flatten",
      "Slice",
      "Split",
      "Neg",
      "Expand",
      "Tile",
    ],
    ["Dropout", "Div", "ReduceSum", "ReduceMean"],
  ].flat(),
);

/** Norms: 0 comes out as their bias. Slots of gain and bias. */
export const NORMS: Readonly<Record<string, { readonly gain: number; readonly shift?: number }>> = {
  LayerNormalization: { gain: 1, shift: 2 },
  RMSNormalization: { gain: 1 },
  SimplifiedLayerNormalization: { gain: 1 },
};

/** Operators over a constant that keep zeros, so that zeroing what they read zeroes what they make. */
export const CONSTANT_CHAIN: ReadonlySet<string> = new Set([
  "Cast",
  "Identity",
  "Reshape",
  "Transpose",
  "Squeeze",
  "Unsqueeze",
  "Flatten",
  "Neg",
]);
