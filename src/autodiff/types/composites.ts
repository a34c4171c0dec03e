// Types of the composites that decoders are made of; what is not here is asked of the runtime. They are lowered before anything else.
import { intAttribute } from "../../graph/attributes.ts";
import { OnnxType } from "../../graph/onnx.ts";
import { like } from "./elementwise.ts";
import type { TypeRow } from "./type.ts";

const LIKE =
  "RMSNormalization SimplifiedLayerNormalization RotaryEmbedding com.microsoft.RotaryEmbedding com.microsoft.QuickGelu " +
  "com.microsoft.FastGelu com.microsoft.BiasGelu com.microsoft.Gelu com.microsoft.SimplifiedLayerNormalization";

/** Statistics have one value where the normalised axes are. */
const layerNorm: TypeRow = ({ node, type }) => {
  if (node.output.length === 1) return [type(0)];
  const { shape } = type(0);
  const axis = intAttribute(node, "axis", -1);
  const first = axis < 0 ? axis + shape.length : axis;
  // Taken and given in f32 unless stash_type says otherwise.
  const stash = intAttribute(node, "stash_type", OnnxType.FLOAT);
  const statistics = { type: stash, shape: shape.map((size, at) => (at < first ? size : 1)) };
  return [type(0), statistics, statistics];
};

/** Outputs: normalised, mean, inverse deviation, and the sum that goes on. */
const skipNorm: TypeRow = ({ type }) => {
  const { shape, type: element } = type(0);
  const statistics = { type: element, shape: [...shape.slice(0, -1), 1] };
  return [type(0), statistics, statistics, type(0)];
};

export const COMPOSITES: Readonly<Record<string, TypeRow>> = {
  ...Object.fromEntries(LIKE.split(" ").map((op) => [op, like])),
  LayerNormalization: layerNorm,
  "com.microsoft.SkipLayerNormalization": skipNorm,
  "com.microsoft.SkipSimplifiedLayerNormalization": skipNorm,
  "com.microsoft.MatMulNBits": ({ node, type }) => [
    { type: type(0).type, shape: [...type(0).shape.slice(0, -1), intAttribute(node, "N", 0)] },
  ],
};
