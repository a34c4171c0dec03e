// Reading torch archives: tensors as byte ranges, and every refusal with its whole message. No pickle here ever runs anything.
import t from "tap";
import type { OpenedShard } from "../../src/formats/shards.ts";
import { openTorchFile } from "../../src/formats/torch/read.ts";
import type { TensorRef } from "../../src/tensor/reference.ts";
import { memorySource } from "../../src/tensor/source.ts";
import { refusal } from "./refusal.ts";
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
  stateDict,
  storage,
  tensor,
  text,
  torchFile,
  tuple,
} from "./torch-builder.ts";
import { FILES, PICKLES, withPickle } from "./torch-refusals.ts";

const open = (data: Uint8Array): Promise<OpenedShard> => openTorchFile(memorySource("x.bin", data), "x.bin");
const bytesOf = async (tensor: TensorRef | undefined): Promise<number[]> =>
  tensor?.kind === "stored" ? [...(await tensor.source.read(tensor.offset, tensor.bytes))] : [];
const counted = (bytes: number): Buffer => Buffer.from(Array.from({ length: bytes }, (_, at) => at));

t.test("each thing that a pickle of weights has no need of is refused with its own message", async (t) => {
  for (const [title, work, message] of PICKLES)
    t.equal(await refusal(open(withPickle(work))), message, `a pickle that ${title}`);
});

t.test("each fault of a torch archive is refused with its own message", async (t) => {
  for (const [title, file, message] of FILES) t.equal(await refusal(open(file)), message, `a file that ${title}`);
});

t.test(
  "tensors are byte ranges of the archive, in the order of their bytes, whatever the zip looks like",
  async (t) => {
    const work = stateDict({ late: tensor({ key: "1", shape: [3] }), early: tensor({ key: "0", shape: [1, 2] }) });
    const storages = { 0: counted(8), 1: counted(12).reverse() };
    for (const options of [{}, { zip64: true }, { comment: "PK\u0005\u0006 is no end" }, { padding: 37 }]) {
      const { shard, tensors } = await open(torchFile(work, storages, {}, options));
      t.same(shard.tensors, ["early", "late"]);
      t.equal(shard.dataStart, (tensors.get("early") as { offset: number }).offset);
      t.same([...(shard.metadata ?? [])], [["format", "pt"]]);
      t.match(tensors.get("late"), { kind: "stored", dtype: "F32", shape: [3], bytes: 12 });
      t.same(await bytesOf(tensors.get("late")), [...storages[1]]);
      t.same(await bytesOf(tensors.get("early")), [...storages[0]]);
    }
  },
);

t.test(
  "storages are shared: tied tensors are both listed, views begin at their offset, sizes of 1 and 0 need no strides",
  async (t) => {
    const whole = { shape: [4, 2], count: 8 };
    const { tensors } = await open(
      torchFile(
        stateDict({
          a: tensor(whole),
          b: tensor(whole),
          row: tensor({ shape: [2], offset: 4, count: 8 }),
          column: tensor({ shape: [1, 2, 1], strides: [99, 1, 77], offset: 2, count: 8 }),
          empty: tensor({ shape: [0, 5], strides: [7, 7], offset: 8, count: 8 }),
          scalar: tensor({ shape: [], offset: 7, count: 8 }),
        }),
        { 0: counted(32) },
      ),
    );
    t.same(tensors.get("a"), tensors.get("b"));
    t.same(await bytesOf(tensors.get("row")), [16, 17, 18, 19, 20, 21, 22, 23]);
    t.same(await bytesOf(tensors.get("column")), [8, 9, 10, 11, 12, 13, 14, 15]);
    t.same(await bytesOf(tensors.get("scalar")), [28, 29, 30, 31]);
    t.match(tensors.get("empty"), { shape: [0, 5], bytes: 0 });
  },
);

t.test("every type is read, in its own storage class or as an untyped storage with a dtype", async (t) => {
  const classes = {
    DoubleStorage: "F64",
    FloatStorage: "F32",
    HalfStorage: "F16",
    BFloat16Storage: "BF16",
    ComplexFloatStorage: "C64",
    LongStorage: "I64",
    IntStorage: "I32",
    ShortStorage: "I16",
    CharStorage: "I8",
    ByteStorage: "U8",
    BoolStorage: "BOOL",
  };
  for (const [type, dtype] of Object.entries(classes)) {
    const bytes = { F64: 8, C64: 8, I64: 8, F32: 4, I32: 4, F16: 2, BF16: 2, I16: 2 }[dtype] ?? 1;
    const { tensors } = await open(
      torchFile(stateDict({ w: tensor({ type, shape: [3], offset: 1, count: 4 }) }), { 0: counted(4 * bytes) }),
    );
    t.match(tensors.get("w"), { dtype, shape: [3], bytes: 3 * bytes });
    t.equal((await bytesOf(tensors.get("w")))[0], bytes, type);
  }
  const untyped = {
    float8_e4m3fn: "F8_E4M3",
    float8_e5m2: "F8_E5M2",
    float8_e4m3fnuz: "F8_E4M3FNUZ",
    float8_e5m2fnuz: "F8_E5M2FNUZ",
    float8_e8m0fnu: "F8_E8M0",
    uint16: "U16",
    uint32: "U32",
    uint64: "U64",
    float4_e2m1fn_x2: "F4",
    bool: "BOOL",
    bfloat16: "BF16",
  };
  for (const [name, dtype] of Object.entries(untyped)) {
    const bytes = { U64: 8, U32: 4, U16: 2, BF16: 2 }[dtype] ?? 1;
    const args = [
      storage("UntypedStorage", "0", 6 * bytes, "torch.storage"),
      int(2),
      tuple(int(2), int(2)),
      tuple(int(2), int(1)),
      no,
      ordered,
    ];
    const work = call(global("torch._utils", "_rebuild_tensor_v3"), ...args, global("torch", name));
    const { tensors } = await open(torchFile(stateDict({ w: work }), { 0: counted(6 * bytes) }));
    t.match(tensors.get("w"), { dtype, shape: dtype === "F4" ? [2, 4] : [2, 2], bytes: 4 * bytes }, name);
    t.equal((await bytesOf(tensors.get("w")))[0], 2 * bytes);
  }
});

t.test("the one dict of tensors is found wherever it is, with remarks beside it", async (t) => {
  const w = tensor({ shape: [2] });
  const parameter = call(global("torch._utils", "_rebuild_parameter"), w, code("\x88"), ordered);
  const stateful = call(global("torch._utils", "_rebuild_parameter_with_state"), w, code("\x88"), ordered, dict([]));
  const plain = stateDict({ w });
  const lightning = dict([
    [text("epoch"), int(3)],
    [text("lr"), code("G", Buffer.alloc(8))],
    [text("shape"), call(global("torch", "Size"), tuple(int(1)))],
    [text("dtype"), global("torch", "bfloat16")],
    [text("optimizer"), list(dict([[text("betas"), tuple(int(1), int(2))]]))],
    [text("state_dict"), plain],
  ]);
  const cases: readonly (readonly [string, Buffer])[] = [
    ["a dict", plain],
    ["an OrderedDict with _metadata", code(ordered, "(", text("w"), w, "u", dict([[text("_metadata"), ordered]]), "b")],
    ["parameters", stateDict({ w: parameter })],
    ["parameters with state", stateDict({ w: stateful })],
    ["remarks", stateDict({ note: text("é"), w, none, yes: code("\x88") })],
    ["a trainer's checkpoint", lightning],
    [
      "the same dict twice",
      code(
        dict([
          [text("a"), code(plain, "q\x07")],
          [text("b"), code("h\x07")],
        ]),
      ),
    ],
    ["a dict that holds itself", code("}q\x01(", text("self"), "h\x01", text("model"), plain, "u")],
    [
      "frames, memos and long numbers of protocol 4",
      code("\x80\x05\x95", Buffer.alloc(8), plain, "\x94\x8a\x00\x8a\x09", Buffer.alloc(9, 0xff), "00(NN1", "h\x00"),
    ],
  ];
  for (const [title, work] of cases) {
    const { tensors } = await open(torchFile(work, { 0: counted(8) }));
    t.same(await bytesOf(tensors.get("w")), [0, 1, 2, 3, 4, 5, 6, 7], title);
    t.equal(tensors.size, 1, title);
  }
});

t.test("an archive without a byteorder entry, as torch 1.6 to 2.0 wrote it, is little-endian", async (t) => {
  const file = torchFile(stateDict({ w: tensor({ shape: [2] }) }), { 0: counted(8) });
  const renamed = Buffer.from(file.toString("latin1").replaceAll("byteorder", "elsewhere"), "latin1");
  t.equal((await open(renamed)).tensors.size, 1);
});
