// Writes a synthetic llama checkpoint of a given size: BF16, random bytes (nothing compresses), untied embeddings. Never holds a whole tensor.
import { randomFillSync } from "node:crypto";
import fs from "node:fs";
import path from "node:path";

interface Size {
  readonly hidden: number;
  readonly ffn: number;
  readonly blocks: number;
  readonly vocabulary: number;
  readonly shards: number;
}

/** Named after the expanded size in GB; `every` in expand.sh must match: 2, 4, 4. */
const SIZES: Readonly<Record<string, Size>> = {
  "0.6": { hidden: 1536, ffn: 4096, blocks: 7, vocabulary: 16_000, shards: 1 },
  "2.6": { hidden: 2048, ffn: 5632, blocks: 19, vocabulary: 32_000, shards: 1 },
  "9": { hidden: 4096, ffn: 11_008, blocks: 18, vocabulary: 32_000, shards: 4 },
};

interface Tensor {
  readonly name: string;
  readonly shape: readonly number[];
}

const [name = "", directory = ""] = process.argv.slice(2);
const size = SIZES[name];
if (size === undefined || directory === "") {
  console.error(`usage: synthesize.ts ${Object.keys(SIZES).join("|")} DIRECTORY`);
  process.exit(2);
}
synthesize(size, directory);

function synthesize(size: Size, directory: string): void {
  fs.mkdirSync(directory, { recursive: true });
  const shards = split(tensorsOf(size), size.shards);
  const map: Record<string, string> = {};
  for (const [at, tensors] of shards.entries()) {
    const number = (value: number): string => String(value).padStart(5, "0");
    const file =
      size.shards === 1 ? "model.safetensors" : `model-${number(at + 1)}-of-${number(size.shards)}.safetensors`;
    writeShard(path.join(directory, file), tensors);
    for (const tensor of tensors) map[tensor.name] = file;
  }
  const total = shards.flat().reduce((sum, tensor) => sum + bytesOf(tensor), 0);
  if (size.shards > 1) {
    writeJson(directory, "model.safetensors.index.json", { metadata: { total_size: total }, weight_map: map });
  }
  writeJson(directory, "config.json", {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_size: size.hidden,
    intermediate_size: size.ffn,
    num_hidden_layers: size.blocks,
    num_attention_heads: size.hidden / 128,
    num_key_value_heads: size.hidden / 128,
    vocab_size: size.vocabulary,
    tie_word_embeddings: false,
    torch_dtype: "bfloat16",
  });
}

function tensorsOf({ hidden, ffn, blocks, vocabulary }: Size): Tensor[] {
  const block = (at: number): Tensor[] => [
    { name: `model.layers.${at}.input_layernorm.weight`, shape: [hidden] },
    { name: `model.layers.${at}.mlp.down_proj.weight`, shape: [hidden, ffn] },
    { name: `model.layers.${at}.mlp.gate_proj.weight`, shape: [ffn, hidden] },
    { name: `model.layers.${at}.mlp.up_proj.weight`, shape: [ffn, hidden] },
    { name: `model.layers.${at}.post_attention_layernorm.weight`, shape: [hidden] },
    ...["k", "o", "q", "v"].map((part) => ({
      name: `model.layers.${at}.self_attn.${part}_proj.weight`,
      shape: [hidden, hidden],
    })),
  ];
  return [
    { name: "model.embed_tokens.weight", shape: [vocabulary, hidden] },
    ...Array.from({ length: blocks }, (_, at) => block(at)).flat(),
    { name: "model.norm.weight", shape: [hidden] },
    { name: "lm_head.weight", shape: [vocabulary, hidden] },
  ];
}

/** Cuts the tensors, in order, into parts of about the same number of bytes. */
function split(tensors: readonly Tensor[], parts: number): Tensor[][] {
  const total = tensors.reduce((sum, tensor) => sum + bytesOf(tensor), 0);
  const shards: Tensor[][] = Array.from({ length: parts }, () => []);
  let done = 0;
  for (const tensor of tensors) {
    shards[Math.min(parts - 1, Math.floor((done / total) * parts))]?.push(tensor);
    done += bytesOf(tensor);
  }
  return shards;
}

function bytesOf(tensor: Tensor): number {
  return 2 * tensor.shape.reduce((product, length) => product * length, 1);
}

function writeShard(file: string, tensors: readonly Tensor[]): void {
  let end = 0;
  const entries = tensors.map((tensor) => {
    const start = end;
    end += bytesOf(tensor);
    return [tensor.name, { dtype: "BF16", shape: tensor.shape, data_offsets: [start, end] }];
  });
  const text = JSON.stringify({ __metadata__: { format: "pt" }, ...Object.fromEntries(entries) });
  const header = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const fd = fs.openSync(file, "w");
  fs.writeSync(fd, Buffer.concat([length, header]));
  const chunk = Buffer.alloc(1024 * 1024);
  for (let left = end; left > 0; left -= chunk.length)
    fs.writeSync(fd, randomFillSync(chunk), 0, Math.min(left, chunk.length));
  fs.closeSync(fd);
}

function writeJson(directory: string, name: string, value: unknown): void {
  fs.writeFileSync(path.join(directory, name), `${JSON.stringify(value, null, 2)}\n`);
}
