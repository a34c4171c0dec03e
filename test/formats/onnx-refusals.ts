// What the ONNX reader refuses, and the whole of what it says: "tag: message / fix". The file is x.onnx.
import { bare, external, field, GRAPH, MODEL, number, TENSOR, tensorModel, varint } from "./onnx-builder.ts";

const AGAIN = "Download or export the model again.";
const RAW = "Export the model again, with its weights as raw data.";
const TRUST = "Do not use this model: one that reads outside of its directory is not to be trusted.";
const raw = field(TENSOR.raw, Buffer.alloc(1024));
const nested = (depth: number): Buffer => {
  // graph -> node -> attribute -> graph ...
  let graph: Buffer = Buffer.alloc(0);
  for (let at = 0; at < depth; at++) graph = field(GRAPH.node, field(5, field(6, graph)));
  return bare(graph);
};
const at = (location: string, more: Readonly<Record<string, string>> = {}) =>
  tensorModel(2, external({ location, ...more }));

/** [what the file does, the file, the refusal] */
export const REFUSALS: readonly (readonly [string, Uint8Array, string])[] = [
  ["is empty", Buffer.alloc(0), "damaged: x.onnx: is empty (0 bytes) / Download the file again."],
  [
    "is a Git LFS pointer",
    Buffer.from("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"),
    'damaged: x.onnx: is a Git LFS pointer of 64 bytes, not the file that it stands for / Run "git lfs pull" in its directory.',
  ],
  [
    "is a zip file",
    Buffer.from("PK\u0003\u0004 and more"),
    `damaged: x.onnx: has a field of number 0 (byte 3) / ${AGAIN}`,
  ],
  [
    "is a text",
    Buffer.from("hello, this is text"),
    `damaged: x.onnx: has field 13 of ModelProto in wire type 4 (byte 3) / ${AGAIN}`,
  ],
  ["ends inside a tag", Buffer.from([0x80]), `damaged: x.onnx: ends inside a number (byte 1) / ${AGAIN}`],
  [
    "has a number of 11 bytes",
    Buffer.from([8, ...Array(10).fill(0x80), 1]),
    `damaged: x.onnx: has a number of more than 10 bytes (byte 11) / ${AGAIN}`,
  ],
  ["has a field of number 0", Buffer.from([2, 0]), `damaged: x.onnx: has a field of number 0 (byte 1) / ${AGAIN}`],
  [
    "has an unknown field with a group",
    Buffer.from([0xa3, 6]),
    `damaged: x.onnx: has field 100 of ModelProto in wire type 3 (byte 2) / ${AGAIN}`,
  ],
  [
    "claims a graph of 2^62 bytes",
    Buffer.concat([varint(MODEL.graph * 8 + 2), varint(2n ** 62n)]),
    `damaged: x.onnx: has field 7 of ModelProto, which goes on to byte 4611686018427388000, but ends at byte 10 (byte 10) / ${AGAIN}`,
  ],
  [
    "has a tensor that is longer than its graph",
    bare([GRAPH.initializer * 8 + 2, 3]),
    `damaged: x.onnx: has field 5 of GraphProto, which goes on to byte 9, but ends at byte 6 (byte 6) / ${AGAIN}`,
  ],
  [
    "has a graph that is a number",
    number(MODEL.graph, 1),
    `damaged: x.onnx: has field 7 of ModelProto in wire type 0 (byte 1) / ${AGAIN}`,
  ],
  [
    "has raw_data that is a number",
    tensorModel(1, number(TENSOR.raw, 1)),
    `damaged: x.onnx: has field 9 of TensorProto in wire type 0 (byte 14) / ${AGAIN}`,
  ],
  [
    "has a name that is not UTF-8",
    bare(field(GRAPH.name, [0xff])),
    `damaged: x.onnx: has a text of GraphProto that is not UTF-8 (byte 7) / ${AGAIN}`,
  ],
  [
    "has floats that end inside one",
    tensorModel(1, field(TENSOR.floats, [1, 2, 3, 4, 5])),
    `damaged: x.onnx: has a list of TensorProto that ends inside a number (byte 15) / ${AGAIN}`,
  ],
  [
    "has packed numbers that end inside one",
    tensorModel(1, field(7, [1, 0x80]), field(TENSOR.name, "w")),
    `damaged: x.onnx: has a list of TensorProto that ends inside a number (byte 18) / ${AGAIN}`,
  ],
  [
    "has raw data twice",
    tensorModel(256, raw, raw),
    `damaged: x.onnx: has a tensor with raw_data twice (byte 1046) / ${AGAIN}`,
  ],
  [
    "nests 40 graphs",
    nested(40),
    `unsupported: x.onnx: has more than 100 messages inside each other (byte 259) / ${RAW}`,
  ],
  [
    "has four million fields",
    bare(Buffer.alloc(2 ** 23, Buffer.from([GRAPH.node * 8 + 2, 0]))),
    `unsupported: x.onnx: has more than 4194304 fields (byte 8388612) / ${RAW}`,
  ],
  [
    "has seventeen million packed numbers",
    tensorModel(1, field(7, Buffer.alloc(2 ** 24 + 1))),
    `unsupported: x.onnx: has more than 16777216 numbers outside of raw_data (byte 16777241) / ${RAW}`,
  ],
  ["has no graph", number(MODEL.irVersion, 8), `damaged: x.onnx: has no graph, which every ONNX model has / ${AGAIN}`],
  [
    "is of IR version 99",
    Buffer.concat([number(MODEL.irVersion, 99), field(MODEL.graph)]),
    "unsupported: x.onnx: is of ONNX IR version 99; 1 to 13 are known / Update expand-checkpoint if the version is new; else export the model again.",
  ],
  [
    "says no IR version",
    field(MODEL.graph),
    "unsupported: x.onnx: is of ONNX IR version 0; 1 to 13 are known / Update expand-checkpoint if the version is new; else export the model again.",
  ],
  [
    "has less raw data than its shape",
    tensorModel(300, raw),
    `damaged: x.onnx: tensor "w": has 1024 bytes of data; F32 [300] takes 1200 / ${AGAIN}`,
  ],
  [
    "has less small data than its shape",
    tensorModel(2, field(TENSOR.raw, [0, 0, 0, 0])),
    `damaged: x.onnx: tensor "w": has 4 bytes of data; F32 [2] takes 8 / ${AGAIN}`,
  ],
  [
    "has raw data and external data",
    tensorModel(256, raw, external({ location: "data" })),
    `damaged: x.onnx: tensor "w": says "location" twice in its external_data / ${AGAIN}`,
  ],
  [
    "has an initializer twice",
    bare(
      ...[1, 2].map(() =>
        field(GRAPH.initializer, number(TENSOR.type, 1), field(TENSOR.name, "w"), field(TENSOR.raw, [0, 0, 0, 0])),
      ),
    ),
    `damaged: x.onnx: initializer "w": is there twice / ${AGAIN}`,
  ],
  ...["../data", "/etc/passwd", "a/../data", "C:data", "a\\data", "", "./data", "a//data", "data\0", "\0zeros"].map(
    (location) =>
      [
        `has its data in ${JSON.stringify(location)}`,
        at(location),
        `damaged: x.onnx: tensor "w" is in ${JSON.stringify(location)}, which is not a plain path inside the directory / ${TRUST}`,
      ] as const,
  ),
  [
    "has its data in a link to elsewhere",
    at("link"),
    `damaged: x.onnx: tensor "w" is in "link", which is a link out of the directory / ${TRUST}`,
  ],
  [
    "has its data behind a linked directory",
    at("out/secret"),
    `damaged: x.onnx: tensor "w" is in "out/secret", which is a link out of the directory / ${TRUST}`,
  ],
  [
    "has its data in a file that is not there",
    at("missing"),
    'input: x.onnx: tensor "w" is in "missing", which is not there / Download the missing file.',
  ],
  ["has its data in a directory", at("sub"), "input: x.onnx: sub: is not a regular file / Name a file."],
  [
    "has its data in an empty file",
    at("empty"),
    "damaged: x.onnx: empty: is empty (0 bytes) / Download the file again.",
  ],
  [
    "has its data beyond the file's end",
    at("data", { offset: "3" }),
    'damaged: x.onnx: tensor "w": ends at byte 11 of "data", but the file has 10 / Download the file again; it is cut short.',
  ],
  [
    "has another length than its shape",
    at("data", { length: "4" }),
    `damaged: x.onnx: tensor "w": has 4 bytes of data; F32 [2] takes 8 / ${AGAIN}`,
  ],
];
