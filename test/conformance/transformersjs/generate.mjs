// Continues a prompt with transformers.js: node generate.mjs MODELS NAME COUNT 1,2,3 prints the new tokens as JSON.
import { AutoModelForCausalLM, env, Tensor } from "@huggingface/transformers";

const [models = "", name = "", count = "8", prompt = ""] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = models;
const model = await AutoModelForCausalLM.from_pretrained(name, { subfolder: "", dtype: "fp32", device: "cpu" });
const ids = prompt.split(",").map(BigInt);
const shape = [1, ids.length];
const output = await model.generate({
  input_ids: new Tensor("int64", BigInt64Array.from(ids), shape),
  attention_mask: new Tensor("int64", new BigInt64Array(ids.length).fill(1n), shape),
  max_new_tokens: Number(count),
  do_sample: false,
});
console.log(JSON.stringify(output.tolist()[0].slice(ids.length).map(Number)));
