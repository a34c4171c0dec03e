// Damaged JSON documents, compared with JavaScript's own parser.
import assert from "node:assert";
import { JsonDocument } from "../../../src/json.ts";
import { fuzzed } from "../mutate.ts";

const config = {
  model_type: "llama",
  num_hidden_layers: 4,
  rms_norm_eps: 1e-5,
  rope_scaling: null,
  layer_types: ["full_attention", "sliding_attention"],
  text_config: { deep: [[1, 2.5, -0.1], { 'é\n"': true }] },
};

export const jsonDocuments = fuzzed(
  "JSON documents",
  [Buffer.from(JSON.stringify(config, null, 2)), Buffer.from('{"a":[NaN,-Infinity,1e-05,10000.0],"b":{}}')],
  async (data) => {
    const { value, text } = JsonDocument.parse("x.json", data);
    if (/NaN|Infinity/.test(text)) return;
    assert.deepEqual(value, JSON.parse(text));
  },
);
