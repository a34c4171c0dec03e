// Where a residual stream may begin and end: embeddings and inputs, logits and hidden states. Proposals only; structure decides.
import { OnnxType, type ValueInfoProto } from "../graph/onnx.ts";
import type { Body } from "./body.ts";
import { isFloat } from "./closing.ts";

const FLOAT_TYPES: ReadonlySet<number> = new Set([
  OnnxType.FLOAT,
  OnnxType.FLOAT16,
  OnnxType.BFLOAT16,
  OnnxType.DOUBLE,
]);
const KNOWN_SINKS = ["logits", "last_hidden_state", "hidden_states", "output"];
const CACHE_NAME = /present|past|cache|conv_state|recurrent|ssm|cross_qk|attentions?\b/i;
/** More outputs than this are lists (hidden states, caches): their ends are as good as any. */
const MOST_SINKS = 8;

/** Values where tokens become vectors, and inputs that are vectors already. */
export function sourcesOf(body: Body, inputs: readonly ValueInfoProto[]): readonly string[] {
  const found: string[] = [];
  for (const node of body.nodes) {
    const [output = "", , sum] = node.output;
    if (node.opType === "EmbedLayerNormalization" && sum) found.push(sum);
    const looksUp = node.opType === "Gather" || node.opType === "GatherBlockQuantized";
    if (!looksUp || body.constants.has(output) || !body.constants.has(node.input[0] ?? "")) continue;
    const table = body.initializers.get(node.input[0] ?? "");
    if (table === undefined || node.opType === "GatherBlockQuantized" || (isFloat(table) && table.dims.length >= 2))
      found.push(output);
  }
  for (const { name, type } of inputs) {
    if (!body.inputs.has(name) || CACHE_NAME.test(name) || /mask|bias/i.test(name)) continue;
    const tensor = type?.value.case === "tensorType" ? type.value.value : undefined;
    if (tensor !== undefined && FLOAT_TYPES.has(tensor.elemType) && (tensor.shape?.dim.length ?? 3) >= 3)
      found.push(name);
  }
  return found;
}

/** Outputs of convolutions: the last resort, for stems that mix their inputs in other ways. */
export function convolutionsOf(body: Body): readonly string[] {
  return body.nodes.filter(({ opType }) => opType === "Conv").map(({ output }) => output[0] ?? "");
}

/** Values that the stream ends in. `nameOf`: what the world outside calls an output of the body. */
export function sinksOf(body: Body, nameOf: (output: string) => string): readonly string[] {
  const outputs = body.graph.output.map(({ name }) => name).filter((name) => body.makers.has(name));
  const known = outputs.filter((name) => KNOWN_SINKS.includes(nameOf(name)));
  if (known.length > 0) return known;
  return outputs.filter((name) => !CACHE_NAME.test(nameOf(name))).slice(0, MOST_SINKS);
}
