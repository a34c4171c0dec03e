// Python's safetensors on the files that we plan, and our reader on files of torch.save. Usage: tsx safetensors_reader.ts PYTHON, an
// interpreter that has torch and safetensors.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { isDeepStrictEqual } from "node:util";
import { ExpandError } from "../../src/errors.ts";
import { SAFETENSORS_DTYPES } from "../../src/formats/safetensors/dtypes.ts";
import { openSafetensorsFile } from "../../src/formats/safetensors/read.ts";
import { planSafetensors, type ShardContents } from "../../src/formats/safetensors/write.ts";
import type { OpenedShard } from "../../src/formats/shards.ts";
import { openTorchFile } from "../../src/formats/torch/read.ts";
import { byteLength, type Dtype } from "../../src/tensor/dtype.ts";
import { filled, type TensorRef, ZERO } from "../../src/tensor/reference.ts";
import { fileSource } from "../../src/tensor/source.ts";
import { materialise, tensorFile } from "../formats/safetensors-builder.ts";

type Described = readonly [dtype: string, shape: readonly number[], sha256: string];

/** safetensors' names for the types of torch that are spelled otherwise. */
const TORCH_NAMES: Readonly<Record<string, string>> = {
  float8_e4m3fn: "F8_E4M3",
  float8_e8m0fnu: "F8_E8M0",
  float4_e2m1fn_x2: "F4",
  bfloat16: "BF16",
  complex64: "C64",
  bool: "BOOL",
};
/** What is said of each file that is refused. */
const REFUSALS: Readonly<Record<string, string>> = {
  transposed: 'tensor "w" of shape [3,4] is not contiguous: its strides are [1,3]',
  expanded: 'tensor "w" of shape [4,3] is not contiguous: its strides are [0,1]',
  conjugated: 'tensor "w" of shape [2,2] is conjugated or negated on reading',
  negated: 'tensor "w" of shape [2] is conjugated or negated on reading',
  complex128: refusedGlobal("torch.ComplexDoubleStorage"),
  sparse: refusedGlobal("torch._utils._rebuild_sparse_tensor"),
  meta: refusedGlobal("torch._utils._rebuild_meta_tensor_no_storage"),
  attributes: refusedGlobal("torch._tensor._rebuild_from_type_v2"),
  "whole-module": refusedGlobal("torch.nn.modules.linear.Linear"),
  "two-dicts": 'holds tensors in 2 places ("model", "ema"): which are the weights is not sure',
  optimizer: 'holds tensors in 2 places ("model", "optimizer.state.0"): which are the weights is not sure',
  number: 'holds a number under "scale" among its tensors',
  list: "holds its tensors in a list, not in a dict",
  tensor: "holds its tensors in a tensor, not in a dict",
  legacy: "is a torch file of the form before torch 1.6",
  script: "is a TorchScript program, not a state dict",
};

const python = process.argv[2] ?? "python3";
const script = path.join(import.meta.dirname, "safetensors_reader.py");
const directory = fs.mkdtempSync(path.join(os.tmpdir(), "safetensors-reader-"));
await checkPlans();
await checkTorch();
fs.rmSync(directory, { recursive: true });

function report(same: boolean, title: string, detail: unknown): void {
  console.log(`${same ? "ok" : "not ok"} ${title}`);
  if (!same) console.log(JSON.stringify(detail));
}

/** Every type, renamed, copied, filled, with data at odd places: as one file, in shards of one size, and untouched. */
async function checkPlans(): Promise<void> {
  for (const padding of [0, 3, 4090]) {
    const tensors = [...SAFETENSORS_DTYPES].map((name) => {
      return [`tensor.${name}`, [name, [2, 12], byteLength(name as Dtype, [2, 12]) ?? 0]] as const;
    });
    const file = path.join(directory, `source-${padding}.safetensors`);
    fs.writeFileSync(
      file,
      tensorFile({ ...Object.fromEntries(tensors), empty: ["F32", [0, 3], 0] }, { format: "pt" }, padding),
    );
    const opened = await openSafetensorsFile(fileSource(file), "source.safetensors");
    await checkPlan(`one file, padding ${padding}`, [expanded(opened)], undefined);
    await checkPlan(`shards, padding ${padding}`, [expanded(opened)], 6000);
    await checkPlan(
      `an unchanged file, padding ${padding}`,
      [{ source: opened.shard, tensors: [...opened.tensors], originals: 23 }],
      undefined,
    );
  }
}

function expanded({ shard, tensors }: OpenedShard): ShardContents {
  const own = [...tensors].map(([name, tensor]) => [name.replace("tensor", 'moved é "'), tensor] as const);
  const copies = [...tensors].map(([name, tensor], at): readonly [string, TensorRef] => {
    return [`copy.${name}`, at % 3 === 0 ? filled(tensor, ZERO) : tensor];
  });
  return { source: shard, tensors: [...own, ...copies], originals: own.length };
}

async function checkPlan(
  title: string,
  contents: readonly ShardContents[],
  shardSize: number | undefined,
): Promise<void> {
  const files: string[] = [];
  for (const plan of planSafetensors(contents, shardSize === undefined ? {} : { shardSize })) {
    const file = path.join(directory, plan.name);
    fs.writeFileSync(file, await materialise(plan));
    if (plan.name.endsWith(".safetensors")) files.push(file);
  }
  const output = execFileSync(python, [script, "read", ...files], { encoding: "utf8", maxBuffer: 2 ** 26 });
  const theirs: Record<string, { metadata: unknown; tensors: Record<string, Described> }> = JSON.parse(output);
  const expected = await describe(new Map(contents.flatMap((group) => group.tensors)));
  const found = Object.assign({}, ...Object.values(theirs).map((read) => read.tensors));
  report(isDeepStrictEqual(found, expected), `Python's safetensors reads ${title} as planned`, { found, expected });
  const metadata = Object.values(theirs).map((read) => read.metadata);
  report(
    metadata.every((read) => isDeepStrictEqual(read, { format: "pt" })),
    `and its metadata`,
    metadata,
  );
}

async function describe(tensors: ReadonlyMap<string, TensorRef>): Promise<Record<string, Described>> {
  const described: Record<string, Described> = {};
  for (const [name, tensor] of tensors) {
    const data =
      tensor.kind === "stored"
        ? await tensor.source.read(tensor.offset, tensor.bytes)
        : Buffer.alloc(tensor.bytes, tensor.pattern);
    described[name] = [tensor.dtype, tensor.shape, createHash("sha256").update(data).digest("hex")];
  }
  return described;
}

async function checkTorch(): Promise<void> {
  execFileSync(python, ["-W", "ignore", script, "make", directory]);
  const expected: Record<string, Record<string, Described>> = JSON.parse(
    fs.readFileSync(path.join(directory, "expected.json"), "utf8"),
  );
  for (const [name, tensors] of Object.entries(expected)) {
    const opened = await openTorchFile(fileSource(path.join(directory, `${name}.bin`)), name);
    const theirs = Object.fromEntries(Object.entries(tensors).map(([key, value]) => [key, inOurWords(value)]));
    const ours = await describe(opened.tensors);
    report(isDeepStrictEqual(ours, theirs), `${name}.bin of torch.save is read byte for byte`, { ours, theirs });
  }
  for (const [name, message] of Object.entries(REFUSALS)) {
    const said = await openTorchFile(fileSource(path.join(directory, `bad-${name}.bin`), name), name).then(
      () => "nothing",
      (error) => (error instanceof ExpandError ? error.message : String(error)),
    );
    report([`${name}: ${message}`, `${name} data.pkl: ${message}`].includes(said), `bad-${name}.bin is refused`, said);
  }
}

function inOurWords([dtype, shape, sha256]: Described): Described {
  const sizes =
    dtype === "float4_e2m1fn_x2" ? shape.map((size, at) => (at === shape.length - 1 ? 2 * size : size)) : shape;
  return [TORCH_NAMES[dtype] ?? dtype.toUpperCase().replace(/^([FUI])[A-Z]*(?=\d)/, "$1"), sizes, sha256];
}

function refusedGlobal(name: string): string {
  return `GLOBAL ${name} is refused: weights need tensors, dicts and plain values only`;
}
