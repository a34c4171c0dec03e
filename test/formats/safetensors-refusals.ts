// What the safetensors reader refuses, and the whole of what it says: "tag: message / fix".
import { safetensorsFile } from "./safetensors-builder.ts";

const AGAIN = "Download the file again, or save it anew with safetensors.";
const CUT = "Download the file again; it is cut short.";
const UPDATE = "Save the file with a released version of safetensors, or update expand-checkpoint.";
export const shaped = (begin: number, end: number) => ({
  dtype: "U8",
  shape: [end - begin],
  data_offsets: [begin, end],
});

/** [what the file does, the file, the refusal] */
export const REFUSALS: readonly (readonly [string, Uint8Array, string])[] = [
  ["is empty", Buffer.alloc(0), "damaged: x.safetensors: is empty (0 bytes) / Download the file again."],
  [
    "is a Git LFS pointer",
    Buffer.from(`version https://git-lfs.github.com/spec/v1\noid sha256:${"0".repeat(64)}\nsize 9000\n`),
    'damaged: x.safetensors: is a Git LFS pointer of 129 bytes, not the file that it stands for / Run "git lfs pull" in its directory.',
  ],
  [
    "has 7 bytes",
    Buffer.alloc(7),
    `damaged: x.safetensors: has 7 bytes; a safetensors file starts with 8 that say how long its header is / ${AGAIN}`,
  ],
  [
    "claims a header of 2^63 bytes",
    Buffer.from([0, 0, 0, 0, 0, 0, 0, 0x80, 0x7b, 0x7d]),
    `damaged: x.safetensors: claims a header of 9223372036854775808 bytes; the format allows 100000000 / ${AGAIN}`,
  ],
  [
    "claims a header longer than itself",
    Buffer.from([3, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x7d]),
    `damaged: x.safetensors: claims a header of 3 bytes, but only 2 follow / ${AGAIN}`,
  ],
  ["has an empty header", safetensorsFile(""), `damaged: x.safetensors: its header does not begin with "{" / ${AGAIN}`],
  [
    "has a list for a header",
    safetensorsFile("[]"),
    `damaged: x.safetensors: its header does not begin with "{" / ${AGAIN}`,
  ],
  [
    "has a header that begins with a space",
    safetensorsFile(" {}"),
    `damaged: x.safetensors: its header does not begin with "{" / ${AGAIN}`,
  ],
  [
    "has a header that is not UTF-8",
    safetensorsFile('{"\xff":1}').map((byte) => (byte === 0xc3 || byte === 0xbf ? 0xff : byte)),
    "damaged: x.safetensors header: is not UTF-8 text / Correct the file, or take it again from where it came.",
  ],
  [
    "has a header that is not JSON",
    safetensorsFile('{"a":}'),
    'damaged: x.safetensors header: is not JSON: line 1: expected a value, found "}" / Correct the file, or take it again from where it came.',
  ],
  [
    "has text behind its header's object",
    safetensorsFile("{}\0"),
    'damaged: x.safetensors header: is not JSON: line 1: expected the end of the file, found "\\u0000" / Correct the file, or take it again from where it came.',
  ],
  [
    "has one name twice",
    safetensorsFile(`{"a":${JSON.stringify(shaped(0, 1))},"a":${JSON.stringify(shaped(1, 2))}}`, Buffer.alloc(2)),
    'damaged: x.safetensors header: has the key "a" twice / Correct the file, or take it again from where it came.',
  ],
  [
    "has metadata that is a list",
    safetensorsFile({ __metadata__: [] }),
    `damaged: x.safetensors: its __metadata__ is not an object / ${AGAIN}`,
  ],
  [
    "has metadata that is a number",
    safetensorsFile({ __metadata__: { format: 1 } }),
    `damaged: x.safetensors: its __metadata__ has "format", which is not a string / ${AGAIN}`,
  ],
  [
    "describes a tensor by a string",
    safetensorsFile({ a: "F32" }),
    `damaged: x.safetensors: tensor "a" is not described by an object / ${AGAIN}`,
  ],
  [
    "has half a surrogate in a name",
    safetensorsFile(`{"\\ud800":${JSON.stringify(shaped(0, 0))}}`),
    `damaged: x.safetensors: tensor "\\ud800" has a name that is not valid Unicode / ${AGAIN}`,
  ],
  [
    "has a name of 1000 letters without a dtype",
    safetensorsFile({ ["n".repeat(1000)]: {} }),
    `damaged: x.safetensors: tensor "${"n".repeat(200)}..." has no dtype / ${AGAIN}`,
  ],
  [
    "has a member that nobody knows",
    safetensorsFile({ a: { ...shaped(0, 0), scale: 2 } }),
    `unsupported: x.safetensors: tensor "a" has an unknown member "scale" / ${UPDATE}`,
  ],
  [
    "has a dtype that nobody knows",
    safetensorsFile({ a: { ...shaped(0, 0), dtype: "F7" } }),
    `unsupported: x.safetensors: tensor "a" has the unknown dtype "F7" / ${UPDATE}`,
  ],
  [
    "has a dtype of GGUF",
    safetensorsFile({ a: { dtype: "Q4_0", shape: [32], data_offsets: [0, 18] } }, Buffer.alloc(18)),
    `unsupported: x.safetensors: tensor "a" has the unknown dtype "Q4_0" / ${UPDATE}`,
  ],
  ...[undefined, 3, [-1], [1.5], ["1"], [2 ** 53], { length: 1 }].map(
    (shape) =>
      [
        `has the shape ${JSON.stringify(shape)}`,
        safetensorsFile({ a: { ...shaped(0, 0), shape } }),
        `damaged: x.safetensors: tensor "a" has no shape that is a list of sizes / ${AGAIN}`,
      ] as const,
  ),
  ...[undefined, 3, [], [0], [0, 0, 0], [-1, 0], [0, "1"], [0, 2 ** 60]].map(
    (offsets) =>
      [
        `has the offsets ${JSON.stringify(offsets)}`,
        safetensorsFile({ a: { ...shaped(0, 0), data_offsets: offsets } }),
        `damaged: x.safetensors: tensor "a" has no data_offsets that are two positions / ${AGAIN}`,
      ] as const,
  ),
  [
    "has a tensor that ends before it begins",
    safetensorsFile({ a: { ...shaped(0, 0), data_offsets: [2, 1] } }, Buffer.alloc(2)),
    `damaged: x.safetensors: tensor "a" begins at byte 2 and ends before it, at 1 / ${AGAIN}`,
  ],
  [
    "has 65 dimensions",
    safetensorsFile({ a: { ...shaped(0, 1), shape: Array(65).fill(1) } }, Buffer.alloc(1)),
    `damaged: x.safetensors: tensor "a" has 65 dimensions; at most 64 are read / ${AGAIN}`,
  ],
  [
    "has a shape whose product passes 2^53",
    safetensorsFile({ a: { dtype: "F32", shape: [2 ** 40, 2 ** 40], data_offsets: [0, 4] } }, Buffer.alloc(4)),
    `damaged: x.safetensors: tensor "a" cannot have the shape [1099511627776,1099511627776] in F32: that is no whole number of bytes below 2^53 / ${AGAIN}`,
  ],
  [
    "has five 4-bit values",
    safetensorsFile({ a: { dtype: "F4", shape: [5], data_offsets: [0, 3] } }, Buffer.alloc(3)),
    `damaged: x.safetensors: tensor "a" cannot have the shape [5] in F4: that is no whole number of bytes below 2^53 / ${AGAIN}`,
  ],
  [
    "has fewer bytes than its shape needs",
    safetensorsFile({ a: { dtype: "F32", shape: [2, 3], data_offsets: [0, 20] } }, Buffer.alloc(20)),
    `damaged: x.safetensors: tensor "a" of shape [2,3] in F32 needs 24 bytes, but has 20 / ${AGAIN}`,
  ],
  [
    "has overlapping tensors",
    safetensorsFile({ a: shaped(0, 4), b: shaped(3, 6) }, Buffer.alloc(6)),
    `damaged: x.safetensors: tensor "b" begins at data byte 3, inside tensor "a", which ends at 4 / ${AGAIN}`,
  ],
  [
    "has two tensors at one place",
    safetensorsFile({ a: shaped(0, 4), b: shaped(0, 4) }, Buffer.alloc(4)),
    `damaged: x.safetensors: tensor "b" begins at data byte 0, inside tensor "a", which ends at 4 / ${AGAIN}`,
  ],
  [
    "has a hole between tensors",
    safetensorsFile({ a: shaped(0, 4), b: shaped(5, 6) }, Buffer.alloc(6)),
    `damaged: x.safetensors: tensor "b" begins at data byte 5, but the one before ends at 4: a hole / ${AGAIN}`,
  ],
  [
    "has a hole before the first tensor",
    safetensorsFile({ a: shaped(1, 4) }, Buffer.alloc(4)),
    `damaged: x.safetensors: tensor "a" begins at data byte 1, but the one before ends at 0: a hole / ${AGAIN}`,
  ],
  [
    "is cut inside a tensor",
    safetensorsFile({ a: shaped(0, 4) }, Buffer.alloc(3)),
    `damaged: x.safetensors: tensor "a" ends at data byte 4, but the file has 3 / ${CUT}`,
  ],
  [
    "goes on behind the last tensor",
    safetensorsFile({ a: shaped(0, 4) }, Buffer.alloc(5)),
    `damaged: x.safetensors: its tensors end at data byte 4, but the file has 5 / ${AGAIN}`,
  ],
];
