// What the GGUF reader refuses, and the whole of what it says: "tag: message / fix".
import { type File, u32 } from "./gguf-builder.ts";

export const AGAIN = "Download or convert the file again.";
const CUT = "Download the file again; it is cut short.";
const one = { name: "a", ne: [32], type: 0, bytes: 128 };
/** [what the file does, the file, the refusal] */
export const REFUSALS: readonly (readonly [string, File | Buffer, string])[] = [
  ["is empty", Buffer.alloc(0), "damaged: x.gguf: is empty (0 bytes) / Download the file again."],
  [
    "is a zip file",
    Buffer.from("PK\u0003\u0004 and more"),
    'damaged: x.gguf: starts with "PK\\u0003\\u0004", not with "GGUF" / Name a GGUF file, or download it again.',
  ],
  [
    "is a Git LFS pointer",
    Buffer.from("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"),
    'damaged: x.gguf: is a Git LFS pointer of 64 bytes, not the file that it stands for / Run "git lfs pull" in its directory.',
  ],
  [
    "ends in the version",
    Buffer.from("GGUF\u0003"),
    `damaged: x.gguf: the header goes on to byte 8, but the file has 5 / ${CUT}`,
  ],
  [
    "is of version 4",
    { version: 4 },
    "unsupported: x.gguf: is GGUF version 4; versions 1 to 3 are known / Update expand-checkpoint if the version is new; else download the file again.",
  ],
  [
    "is of version 0",
    { version: 0 },
    "unsupported: x.gguf: is GGUF version 0; versions 1 to 3 are known / Update expand-checkpoint if the version is new; else download the file again.",
  ],
  [
    "claims 2^63 tensors",
    { tensorCount: 2n ** 63n },
    `damaged: x.gguf: the header claims 9223372036854775808 tensors of at least 25 bytes each, but the file has 16 bytes left / ${AGAIN}`,
  ],
  [
    "claims -1 keys",
    { keyCount: -1 },
    `damaged: x.gguf: the header claims 18446744073709551615 keys of at least 14 bytes each, but the file has 8 bytes left / ${AGAIN}`,
  ],
  [
    "has a key of 2^62 bytes",
    { keyCount: 1, body: (f) => f.u64(2n ** 62n).raw(Buffer.alloc(30)) },
    `damaged: x.gguf: key 1 claims a string of 4611686018427387904 bytes, but the file has 32 bytes left / ${AGAIN}`,
  ],
  ["has an empty key", { keys: [["", u32(1)]] }, `damaged: x.gguf: key 1 has no name / ${AGAIN}`],
  [
    "has a key of 65536 bytes",
    { keys: [["k".repeat(65536), u32(1)]] },
    `damaged: x.gguf: key 1 has a name of 65536 bytes; at most 65535 are allowed / ${AGAIN}`,
  ],
  ["has a NUL in a key", { keys: [["a\0b", u32(1)]] }, `damaged: x.gguf: key 1 has a NUL in its name / ${AGAIN}`],
  [
    "has a key that is not UTF-8",
    { keys: [[new Uint8Array([0xff]), u32(1)]] },
    `damaged: x.gguf: key 1 has a name that is not UTF-8 / ${AGAIN}`,
  ],
  [
    "has a key twice",
    {
      keys: [
        ["k", u32(1)],
        ["k", u32(1)],
      ],
    },
    `damaged: x.gguf: key "k" is there twice / ${AGAIN}`,
  ],
  [
    "has a value type of tomorrow",
    { keys: [["k", (f) => f.u32(13).u32(1)]] },
    `damaged: x.gguf: key "k" has the value type id 13; 0 to 12 are known / ${AGAIN}`,
  ],
  [
    "has an array of arrays",
    { keys: [["k", (f) => f.u32(9).u32(9).u64(0)]] },
    'unsupported: x.gguf: key "k" is an array of arrays, which llama.cpp refuses too / Remove the key with gguf_new_metadata.py --remove-metadata.',
  ],
  [
    "claims an array of 2^61 values",
    {
      keys: [
        [
          "k",
          (f) =>
            f
              .u32(9)
              .u32(4)
              .u64(2n ** 61n),
        ],
      ],
    },
    `damaged: x.gguf: key "k" claims 2305843009213693952 elements of at least 4 bytes each, but the file has 15 bytes left / ${AGAIN}`,
  ],
  [
    "claims a value of 2^64 - 1 bytes",
    { keys: [["a".repeat(300), (f) => f.u32(8).u64(-1)]] },
    `damaged: x.gguf: key "${"a".repeat(200)}..." claims a string of 18446744073709551615 bytes, but the file has 8 bytes left / ${AGAIN}`,
  ],
  [
    "claims a string of an array beyond its end",
    { keys: [["k\n", (f) => f.u32(9).u32(8).u64(2).string("one").u64(100)]] },
    `damaged: x.gguf: key "k\\n" claims a string of 100 bytes, but the file has 27 bytes left / ${AGAIN}`,
  ],
  [
    "ends in a value",
    { keys: [["key", (f) => f.u32(4)]], alignment: 1 },
    `damaged: x.gguf: key "key" goes on to byte 43, but the file has 39 / ${CUT}`,
  ],
  [
    "has an alignment of another type",
    { keys: [["general.alignment", (f) => f.u32(10).u64(32)]] },
    `damaged: x.gguf: key "general.alignment" is of type u64; a u32 power of two up to 1073741824 was expected / ${AGAIN}`,
  ],
  ...[0, 48, 2 ** 31].map(
    (alignment) =>
      [
        `has an alignment of ${alignment}`,
        { keys: [["general.alignment", u32(alignment)]] },
        `damaged: x.gguf: key "general.alignment" is ${alignment}; a u32 power of two up to 1073741824 was expected / ${AGAIN}`,
      ] as const,
  ),
  [
    "has a tensor without a name",
    { tensors: [{ ...one, name: "" }] },
    `damaged: x.gguf: tensor 1 has no name / ${AGAIN}`,
  ],
  [
    "has a tensor name of 64 bytes",
    { tensors: [{ ...one, name: "n".repeat(64) }] },
    `damaged: x.gguf: tensor 1 has a name of 64 bytes; at most 63 are allowed / ${AGAIN}`,
  ],
  ["has a tensor twice", { tensors: [one, one] }, `damaged: x.gguf: tensor "a" is there twice / ${AGAIN}`],
  [
    "has a tensor of 5 dimensions",
    { tensors: [{ ...one, ne: [32, 1, 1, 1, 1] }] },
    `damaged: x.gguf: tensor "a" has 5 dimensions; at most 4 are allowed / ${AGAIN}`,
  ],
  [
    "has a dimension of -1",
    { tensors: [{ ...one, ne: [32, -1] }] },
    `damaged: x.gguf: tensor "a" has a dimension of 18446744073709551615 / ${AGAIN}`,
  ],
  [
    "has a tensor of 2^64 bytes",
    { tensors: [{ ...one, ne: [2 ** 31, 2 ** 31] }] },
    `damaged: x.gguf: tensor "a" has the shape [2147483648, 2147483648], which is beyond 2^53 bytes / ${AGAIN}`,
  ],
  [
    "has rows of half a block",
    { tensors: [{ ...one, ne: [16, 2], type: 8 }] },
    `damaged: x.gguf: tensor "a" has rows of 16 values; Q8_0 stores them in blocks of 32 / ${AGAIN}`,
  ],
  [
    "has a type that llama.cpp has removed",
    { tensors: [{ ...one, type: 31 }] },
    'unsupported: x.gguf: tensor "a" has the type Q4_0_4_4 (id 31), which llama.cpp has removed / Quantize the model again with a current llama-quantize.',
  ],
  [
    "has a type of activations",
    { tensors: [{ ...one, type: 15 }] },
    `unsupported: x.gguf: tensor "a" has the type Q8_K (id 15), which exists in memory only and is never stored / ${AGAIN}`,
  ],
  [
    "has a type of tomorrow",
    { tensors: [{ ...one, type: 43 }] },
    'unsupported: x.gguf: tensor "a" has the type id 43, which is unknown / Update expand-checkpoint if the type is new; else download the file again.',
  ],
  [
    "has a gap between tensors",
    { tensors: [one, { ...one, name: "b", offset: 160 }] },
    `damaged: x.gguf: tensor "b" has the offset 160; 128 was expected / ${AGAIN}`,
  ],
  [
    "has two tensors at one place",
    { tensors: [one, { ...one, name: "b", offset: 0 }] },
    `damaged: x.gguf: tensor "b" has the offset 0; 128 was expected / ${AGAIN}`,
  ],
  [
    "has an offset of 2^64 - 32",
    { tensors: [{ ...one, offset: -32 }] },
    `damaged: x.gguf: tensor "a" has the offset 18446744073709551584; 0 was expected / ${AGAIN}`,
  ],
  [
    "is cut one byte into its data",
    { tensors: [one, { ...one, name: "b" }], cut: 1 },
    `damaged: x.gguf: tensor "b" ends at byte 352, but the file has 351 / ${CUT}`,
  ],
  [
    "goes on after its data",
    { tensors: [one], after: new Uint8Array(3) },
    'damaged: x.gguf: has 3 bytes after its data, which ends at byte 192 / Download the file again, or cut it with "truncate -s 192" if the rest is known to be no part of the model.',
  ],
];
/** Claims that fit the file, which is 2^40 bytes long: nothing is allocated for them. */
export const CLAIMS: readonly (readonly [string, File, string])[] = [
  ["65537 keys", { keyCount: 65537 }, "the header claims 65537 keys; at most 65536 are supported"],
  ["2^21 tensors", { tensorCount: 2 ** 21 }, "the header claims 2097152 tensors; at most 1048576 are supported"],
  [
    "an array of 2^30 + 1 values",
    {
      keys: [
        [
          "k",
          (f) =>
            f
              .u32(9)
              .u32(0)
              .u64(2 ** 30 + 1),
        ],
      ],
    },
    'key "k" claims 1073741825 elements; at most 1073741824 are supported',
  ],
  [
    "a string of 2^30 + 1 bytes",
    { keys: [["k", (f) => f.u32(8).u64(2 ** 30 + 1)]] },
    'key "k" claims a string of 1073741825 bytes; at most 1073741824 are supported',
  ],
  [
    "a string of 2^30 bytes",
    { keys: [["k", (f) => f.u32(8).u64(2 ** 30)]] },
    "has a header of at least 1073741869 bytes; at most 268435456 are supported",
  ],
];
