// A second opinion on the safetensors files we plan: npm safetensors, on the files that it can read (those without __metadata__).
import t from "tap";
import { openSafetensorsFile } from "../src/formats/safetensors/read.ts";
import { planSafetensors } from "../src/formats/safetensors/write.ts";
import { filled, type TensorRef, ZERO } from "../src/tensor/reference.ts";
import { memorySource } from "../src/tensor/source.ts";
import { materialise, tensorFile } from "./formats/safetensors-builder.ts";

interface TheirTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}
interface TheirFile {
  readonly metadata: ReadonlyMap<string, TheirTensor>;
  getTensor(name: string): Uint8Array;
}

const { SafeTensor }: { SafeTensor: new (data: Uint8Array) => TheirFile } =
  // @ts-expect-error the package has no types
  await import("safetensors").then((module) => module.default);

/** Every tensor as they see it. It reads a Uint8Array only where that begins at byte 0 of its buffer. */
function theirs(file: Buffer): Map<string, readonly [string, readonly number[], number, string]> {
  const read = new SafeTensor(Uint8Array.from(file));
  const tensors = [...read.metadata].map(([name, { dtype, shape, data_offsets }]) => {
    return [name, [dtype, shape, data_offsets[0], Buffer.from(read.getTensor(name)).toString("hex")]] as const;
  });
  return new Map(tensors);
}

async function ours(file: Buffer): Promise<ReturnType<typeof theirs>> {
  const { tensors } = await openSafetensorsFile(memorySource("x", file), "x");
  const entries: [string, readonly [string, readonly number[], number, string]][] = [];
  for (const [name, tensor] of tensors) {
    if (tensor.kind !== "stored") continue;
    const bytes = Buffer.from(await tensor.source.read(tensor.offset, tensor.bytes));
    entries.push([name, [tensor.dtype, tensor.shape, tensor.offset, bytes.toString("hex")]]);
  }
  return new Map(entries);
}

t.test("npm safetensors reads the same names, types, shapes, places and bytes, padding or not", async (t) => {
  for (const padding of [0, 5, 4000]) {
    const source = tensorFile(
      {
        "a.é": ["F32", [2, 3], 24],
        b: ["BF16", [5], 10],
        c: ["F8_E4M3", [2, 2], 4],
        d: ["I64", [], 8],
        e: ["F16", [0], 0],
      },
      undefined,
      padding,
    );
    const { shard, tensors } = await openSafetensorsFile(memorySource("m.safetensors", source), "m.safetensors");
    const originals = [...tensors];
    const copies = originals.map(([name, tensor], at): [string, TensorRef] => {
      return [`copy.${name}`, at % 2 === 0 ? filled(tensor, ZERO) : tensor];
    });
    for (const shardSize of [undefined, 8500]) {
      const options = shardSize === undefined ? {} : { shardSize };
      const group = { source: shard, tensors: [...originals, ...copies], originals: originals.length };
      const found = new Map<string, unknown>();
      for (const plan of planSafetensors([group], options)) {
        if (!plan.name.endsWith(".safetensors")) continue;
        const file = await materialise(plan);
        t.same(theirs(file), await ours(file), `${plan.name}, padding ${padding}`);
        for (const [name, [, , , hex]] of theirs(file)) found.set(name, hex);
      }
      const before = theirs(source);
      t.same(
        [...found.keys()],
        group.tensors.map(([name]) => name),
      );
      for (const [name, tensor] of group.tensors) {
        const expected =
          tensor.kind === "fill" ? "00".repeat(tensor.bytes) : before.get(name.replace("copy.", ""))?.[3];
        t.equal(found.get(name), expected, name);
      }
    }
  }
});
