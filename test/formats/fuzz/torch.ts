// Damaged torch archives: the zip around, and the pickle inside an archive that is in order.
import { openTorchFile } from "../../../src/formats/torch/read.ts";
import { assertInside, boundedSource, fuzzed, fuzzedWith } from "../mutate.ts";
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

const readPickle = (data: Uint8Array): Promise<void> =>
  read(
    zip([
      ["a/data.pkl", data],
      ["a/data/0", STORAGES[0]],
      ["a/data/1", STORAGES[1]],
      ["a/byteorder", Buffer.from("little")],
    ]),
  );

export const torchPickles = fuzzed("pickles in torch archives", values.map(pickle), readPickle);

/** A state dict of two tensors, one element for each instruction. */
const PROGRAM: readonly Buffer[] = [
  ...["}", "q\0", "("].map((part) => code(part)),
  text("a"),
  ...rebuilt("FloatStorage", "0", 6),
  text("b"),
  ...rebuilt("ShortStorage", "1", 3),
  code("u"),
];
/** Instructions that may stand anywhere. */
const WORDS: readonly Buffer[] = [
  ...[
    "(",
    ")",
    "]",
    "}",
    "N",
    "0",
    "1",
    "2",
    "t",
    "l",
    "d",
    "a",
    "e",
    "s",
    "u",
    "b",
    "R",
    "Q",
    "\x81",
    "\x85",
    "\x86",
    "\x87",
    "\x8f",
    "\x90",
    "\x91",
    "\x93",
    "\x94",
  ].map((word) => code(word)),
  ...["h\0", "h\x01", "q\0", "q\x01", "K\x02", "J\xff\xff\xff\xff"].map((word) => code(word)),
  ...[
    int(0),
    int(2 ** 40),
    text("storage"),
    text("0"),
    ordered,
    global("torch", "float32"),
    global("torch", "Size"),
    global("os", "system"),
  ],
  ...PROGRAM,
];

function rebuilt(type: string, key: string, count: number): Buffer[] {
  const parts = [
    "(",
    text("storage"),
    global("torch", type),
    text(key),
    text("cpu"),
    int(count),
    "t",
    "Q",
    int(0),
    "(",
    int(count),
    "t",
  ];
  const call = ["(", ...parts, "q\x01", "(", int(1), "t", "\x89", ordered, "t", "R", "q\x02"];
  return [global("torch._utils", "_rebuild_tensor_v2"), ...call.map((part) => code(part))];
}

/** Whole instructions left out, repeated, exchanged or put in. */
export const torchPrograms = fuzzedWith(
  "pickles of shuffled instructions",
  (random) => {
    const program = [...PROGRAM];
    for (let times = 1 + random(5); times > 0; times--) {
      const at = random(program.length + 1);
      const word = WORDS[random(WORDS.length)] ?? none;
      program.splice(at, random(3), ...(random(3) === 0 ? [] : [word]));
    }
    return pickle(Buffer.concat(program));
  },
  readPickle,
);
