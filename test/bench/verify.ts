// Peak memory and time of `verify --mode numbers` on llama checkpoints of 7B width and growing depth. Prints one line a depth; never part
// of `npm test`. Usage: tsx test/bench/verify.ts [BLOCKS...] (default: 2 8 32; LLaMA 2 7B has 32). BENCH_DIR holds the files (28 GB for 32
// blocks; default: a new directory under TMPDIR, removed at the end). BIN names another built command line. Needs GNU time.
import { execFileSync, spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

const [HIDDEN, FFN, VOCABULARY, HEADS] = [4096, 11_008, 32_000, 32];
const root = path.resolve(import.meta.dirname, "../..");
const bin = process.env.BIN ?? path.join(root, "bin/expand-checkpoint.js");
const directory = process.env.BENCH_DIR ?? fs.mkdtempSync(path.join(os.tmpdir(), "verify-"));
const depths = process.argv.slice(2).map(Number);

for (const blocks of depths.length > 0 ? depths : [2, 8, 32]) measure(blocks);
if (process.env.BENCH_DIR === undefined) fs.rmSync(directory, { recursive: true });

function measure(blocks: number): void {
  const [before, after] = [path.join(directory, `before-${blocks}`), path.join(directory, `after-${blocks}`)];
  if (!fs.existsSync(path.join(before, "config.json"))) synthesize(before, blocks);
  if (!fs.existsSync(path.join(after, "config.json"))) {
    const copies = ["--add", String(Math.max(1, blocks / 8)), "--verify", "none", "--no-hash", "--no-progress"];
    execFileSync(process.execPath, [bin, "expand", before, after, ...copies], { stdio: "ignore" });
  }
  const report = path.join(directory, `report-${blocks}.json`);
  const verify = [
    process.execPath,
    bin,
    "verify",
    before,
    after,
    "--mode",
    "numbers",
    "--report",
    report,
    "--no-progress",
  ];
  const began = performance.now();
  const run = spawnSync("/usr/bin/time", ["-f", "%M %U %S", ...verify], { encoding: "utf8" });
  const seconds = (performance.now() - began) / 1000;
  const [kilobytes = 0, user = 0, system = 0] = (run.stderr.trim().split("\n").at(-1) ?? "").split(" ").map(Number);
  const { verdict, numeric } = JSON.parse(fs.readFileSync(report, "utf8"));
  const gigabytes = (sizeOf(before) + sizeOf(after)) / 1e9;
  console.log(
    `${blocks} blocks and ${numeric.blocks.length - blocks} copies: ${verdict}, logits differing ${numeric.logits.differing} of ${numeric.logits.total}; ` +
      `peak ${(kilobytes / 1024 / 1024).toFixed(2)} GiB; ${seconds.toFixed(0)} s wall, ${(user + system).toFixed(0)} s CPU, ` +
      `${(seconds / gigabytes).toFixed(1)} s per GB of the ${gigabytes.toFixed(1)} GB of both; exit ${run.status}`,
  );
}

/** BF16 values with sd 1/sqrt(fan-in): a tile of random ones, begun elsewhere for each tensor so that no two are alike. */
function synthesize(to: string, blocks: number): void {
  fs.mkdirSync(to, { recursive: true });
  const tile = new Uint16Array(3 << 20);
  const single = new DataView(new ArrayBuffer(4));
  for (const at of tile.keys()) {
    // Sum of four uniform numbers: close enough to a bell curve, sd 1/sqrt(3).
    const value = (Math.random() + Math.random() + Math.random() + Math.random() - 2) * 0.027;
    single.setFloat32(0, value);
    tile[at] = single.getUint16(0);
  }
  const bytes = Buffer.from(tile.buffer);
  const ones = Buffer.from(new Uint16Array(HIDDEN).fill(0x3f80).buffer);
  const tensors = tensorsOf(blocks);
  let end = 0;
  const entries = tensors.map(([name, shape]) => {
    const start = end;
    end += 2 * shape.reduce((product, size) => product * size, 1);
    return [name, { dtype: "BF16", shape, data_offsets: [start, end] }] as const;
  });
  const text = JSON.stringify(Object.fromEntries(entries));
  const header = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const file = fs.openSync(path.join(to, "model.safetensors"), "w");
  fs.writeSync(file, Buffer.concat([length, header]));
  for (const [index, [name, shape]] of tensors.entries()) {
    let left = 2 * shape.reduce((product, size) => product * size, 1);
    const source = shape.length === 1 ? ones : bytes;
    let from = shape.length === 1 ? 0 : (index * 1_234_567 * 2) % bytes.length;
    while (left > 0) {
      const piece = source.subarray(from, from + Math.min(left, source.length - from));
      fs.writeSync(file, piece);
      left -= piece.length;
      from = 0;
    }
    if (index % 50 === 0) process.stderr.write(`${name}\n`);
  }
  fs.closeSync(file);
  const config = {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_size: HIDDEN,
    intermediate_size: FFN,
    num_hidden_layers: blocks,
    num_attention_heads: HEADS,
    num_key_value_heads: HEADS,
    max_position_embeddings: 4096,
    rms_norm_eps: 1e-5,
    hidden_act: "silu",
    vocab_size: VOCABULARY,
    tie_word_embeddings: false,
    torch_dtype: "bfloat16",
  };
  fs.writeFileSync(path.join(to, "config.json"), JSON.stringify(config));
}

function tensorsOf(blocks: number): (readonly [name: string, shape: readonly number[]])[] {
  const block = (at: number): (readonly [string, readonly number[]])[] => [
    [`model.layers.${at}.input_layernorm.weight`, [HIDDEN]],
    [`model.layers.${at}.mlp.down_proj.weight`, [HIDDEN, FFN]],
    [`model.layers.${at}.mlp.gate_proj.weight`, [FFN, HIDDEN]],
    [`model.layers.${at}.mlp.up_proj.weight`, [FFN, HIDDEN]],
    [`model.layers.${at}.post_attention_layernorm.weight`, [HIDDEN]],
    ...["k", "o", "q", "v"].map(
      (part) => [`model.layers.${at}.self_attn.${part}_proj.weight`, [HIDDEN, HIDDEN]] as const,
    ),
  ];
  return [
    ["model.embed_tokens.weight", [VOCABULARY, HIDDEN]],
    ...Array.from({ length: blocks }, (_, at) => block(at)).flat(),
    ["model.norm.weight", [HIDDEN]],
    ["lm_head.weight", [VOCABULARY, HIDDEN]],
  ];
}

function sizeOf(folder: string): number {
  return fs.readdirSync(folder).reduce((sum, name) => sum + fs.statSync(path.join(folder, name)).size, 0);
}
