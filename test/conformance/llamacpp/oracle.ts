// Asks llama.cpp for logits, in a process of its own, and writes a GGUF file once more with its weights decoded to F32.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { writePlan } from "../../../fixtures/gguf.ts";
import { ExpandError } from "../../../src/errors.ts";
import { planGguf } from "../../../src/formats/gguf/write.ts";
import { openCheckpoint } from "../../../src/formats/open.ts";
import { decodedSource } from "../../../src/tensor/decode.ts";
import type { TensorRef } from "../../../src/tensor/reference.ts";

const PROGRAM = path.join(import.meta.dirname, "logits.mjs");

/** llama.cpp's logits [tokens, vocabulary], token by token. `work` is a folder for its files. */
export function oracle(work: string, file: string, ids: readonly number[]): Float32Array {
  const [input, out] = [path.join(work, "ids.json"), path.join(work, "out.f32")];
  fs.writeFileSync(input, JSON.stringify(ids));
  const run = spawnSync(process.execPath, [PROGRAM, file, input, out, "logits"], { encoding: "utf8" });
  if (run.status !== 0)
    throw new ExpandError("backend", run.stderr.trim().split("\n")[0] ?? "llama.cpp gave no reason");
  const bytes = fs.readFileSync(out);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
}

/** The same model with every weight decoded to F32, in `work`: llama.cpp then rounds nothing. */
export async function inF32(work: string, file: string): Promise<string> {
  const { config, tensors } = await openCheckpoint(file);
  if (config.dialect !== "gguf") throw new ExpandError("bug", "a GGUF checkpoint was expected");
  const decoded = new Map<string, TensorRef>();
  for (const [name, tensor] of tensors) {
    const source = decodedSource(tensor);
    const pattern = await source.read(0, source.size);
    decoded.set(name, { kind: "fill", dtype: "F32", shape: tensor.shape, bytes: source.size, pattern });
  }
  for (const plan of planGguf({ metadata: config.metadata, tensors: decoded }, { name: "f32.gguf" }))
    writePlan(work, plan);
  return path.join(work, "f32.gguf");
}
