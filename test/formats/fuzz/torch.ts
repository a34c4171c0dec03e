// Damaged torch archives: the zip around, and the pickle inside an archive that is in order.
import { openTorchFile } from "../../../src/formats/torch/read.ts";
import { assertInside, boundedSource, fuzzed } from "../mutate.ts";
import {
  call,
  code,
  dict,
  global,
  int,
  list,
  no,
  none,
  ordered,
  pickle,
  stateDict,
  storage,
  tensor,
  text,
  torchFile,
  tuple,
  zip,
} from "../torch-builder.ts";

const STORAGES = { 0: Buffer.alloc(24, 1), 1: Buffer.alloc(6, 2) };
const v3 = call(
  global("torch._utils", "_rebuild_tensor_v3"),
  storage("UntypedStorage", "1", 6, "torch.storage"),
  int(0),
  tuple(int(3)),
  tuple(int(1)),
  no,
  ordered,
  global("torch", "uint16"),
);
const values = [
  stateDict({ a: tensor({ shape: [2, 3] }), b: tensor({ shape: [3], offset: 3, count: 6 }), c: v3 }),
  dict([
    [text("epoch"), int(3)],
    [text("list"), list(none, code("\x8a\x02\xff\x7f"), code("G", Buffer.alloc(8)), code("\x8f(K\x01\x90"))],
    [text("state_dict"), code(ordered, "q\x05(", text("w"), tensor({ shape: [6] }), "u", "h\x05\x94", dict([]), "b")],
  ]),
];

const read = async (data: Uint8Array): Promise<void> => {
  const { shard, tensors } = await openTorchFile(boundedSource("x.bin", data), "x.bin");
  assertInside(shard, tensors);
};

export const torchArchives = fuzzed(
  "torch archives",
  [
    ...values.map((value) => torchFile(value, STORAGES)),
    torchFile(stateDict({ a: tensor({ shape: [6] }) }), STORAGES, {}, { zip64: true, padding: 11, comment: "c" }),
    Buffer.from("\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "latin1"),
  ],
  read,
);

export const torchPickles = fuzzed("pickles in torch archives", values.map(pickle), (data) =>
  read(
    zip([
      ["a/data.pkl", data],
      ["a/data/0", STORAGES[0]],
      ["a/data/1", STORAGES[1]],
      ["a/byteorder", Buffer.from("little")],
    ]),
  ),
);
