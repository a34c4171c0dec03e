// What the torch reader refuses, and the whole of what it says: "tag: message / fix".
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
  u64,
  zip,
} from "./torch-builder.ts";

const PLAIN = "Save plain tensors alone: torch.save(model.state_dict(), PATH).";
const DAMAGED = "Download the file again; it is damaged.";
const CUT = "Download the file again; it is cut short or damaged.";
const AGAIN = "Save it again with torch.save.";
const TORCH = "Save the weights with torch.save or safetensors.";
const PARTS = "has a tensor or dict whose parts are not what torch writes";
const PICKLE = "x.bin data.pkl";

const f32 = (count: number): Buffer => Buffer.alloc(4 * count, 7);
const one = tensor({ shape: [2] });
const ONE = { 0: f32(2) };

/** [what the pickle does, its code, the refusal] */
export const PICKLES: readonly (readonly [string, Buffer, string])[] = [
  ...[
    "os.system",
    "posix.system",
    "builtins.eval",
    "builtins.getattr",
    "__builtin__.set",
    "torch.load",
    "torch.hub.load",
  ].map((name) => {
    const at = name.lastIndexOf(".");
    const work = call(global(name.slice(0, at), name.slice(at + 1)), text("id"));
    return [
      `calls ${name}`,
      work,
      `unsupported: ${PICKLE}: GLOBAL ${name} is refused: weights need tensors, dicts and plain values only / ${PLAIN}`,
    ] as const;
  }),
  [
    "names a function from the stack",
    code("\x8c\x02os\x8c\x06system\x93", tuple(text("id")), "R"),
    `unsupported: ${PICKLE}: GLOBAL os.system is refused: weights need tensors, dicts and plain values only / ${PLAIN}`,
  ],
  [
    "names __proto__ and constructor of JavaScript",
    global("torch", "constructor"),
    `unsupported: ${PICKLE}: GLOBAL torch.constructor is refused: weights need tensors, dicts and plain values only / ${PLAIN}`,
  ],
  [
    "has line breaks for the screen in a name",
    code("\x8c\x02os\x8c\x03\x1b[A\x93"),
    `unsupported: ${PICKLE}: GLOBAL os.\\u001b[A is refused: weights need tensors, dicts and plain values only / ${PLAIN}`,
  ],
  [
    "names a global by a number",
    code(int(1), int(2), "\x93"),
    `damaged: ${PICKLE}: names a global that is not text / ${DAMAGED}`,
  ],
  ["calls a text", call(text("os.system")), `unsupported: ${PICKLE}: a call of a string is refused / ${PLAIN}`],
  [
    "calls a dtype",
    call(global("torch", "float32")),
    `unsupported: ${PICKLE}: a call of a dtype is refused / ${PLAIN}`,
  ],
  [
    "calls with a dict",
    code(global("torch", "Size"), dict([]), "R"),
    `damaged: ${PICKLE}: calls with arguments that are not a tuple / ${DAMAGED}`,
  ],
  [
    "makes an object of a class",
    code(text("c"), tuple(), "\x81"),
    `unsupported: ${PICKLE}: a call of a string is refused / ${PLAIN}`,
  ],
  [
    "sets attributes of a tensor",
    code(one, dict([[text("data"), none]]), "b"),
    `unsupported: ${PICKLE}: setting attributes of a tensor is refused / ${PLAIN}`,
  ],
  ...(
    [
      ["INST", "i", "69"],
      ["OBJ", "o", "6f"],
      ["PERSID", "P", "50"],
      ["EXT1", "\x82", "82"],
      ["NEWOBJ_EX", "\x92", "92"],
      ["NEXT_BUFFER", "\x97", "97"],
      ["INT of protocol 0", "I", "49"],
      ["a byte of no meaning", "\xff", "ff"],
    ] as const
  ).map(
    ([title, byte, hex]) =>
      [
        `has the instruction ${title}`,
        code(byte, "x\n.", "x\n"),
        `unsupported: ${PICKLE}: instruction 0x${hex} at byte 2 is not one that torch.save writes: refused / ${PLAIN}`,
      ] as const,
  ),
  [
    "is of protocol 1",
    code("\x80\x01"),
    `unsupported: ${PICKLE}: protocol 1 at byte 3 is not one that torch.save writes: refused / ${PLAIN}`,
  ],
  ["takes from an empty stack", code("0"), `damaged: ${PICKLE}: takes a value from an empty stack / ${DAMAGED}`],
  ["copies from an empty stack", code("2"), `damaged: ${PICKLE}: takes a value from an empty stack / ${DAMAGED}`],
  ["takes through a mark", code("K\x01(0"), `damaged: ${PICKLE}: takes a value from an empty stack / ${DAMAGED}`],
  [
    "closes a mark that is not open",
    code("t"),
    `damaged: ${PICKLE}: goes back to a mark that it never set / ${DAMAGED}`,
  ],
  [
    "reads a memo that is not written",
    code("h\x05"),
    `damaged: ${PICKLE}: reads memo 5, which was never written / ${DAMAGED}`,
  ],
  ["appends to a dict", code("}Na"), `damaged: ${PICKLE}: appends to something that is not a list / ${DAMAGED}`],
  [
    "sets an item of a list",
    code("]NNs"),
    `damaged: ${PICKLE}: sets an item of something that is not a dict / ${DAMAGED}`,
  ],
  [
    "adds to a list as to a set",
    code("](N\x90"),
    `damaged: ${PICKLE}: adds to something that is not a set / ${DAMAGED}`,
  ],
  ["has a key without a value", code("}(Nu"), `damaged: ${PICKLE}: gives a dict a key without a value / ${DAMAGED}`],
  [
    "has a text of 2^63 bytes",
    code("\x8d", u64(2n ** 63n)),
    `damaged: ${PICKLE}: ends too early: 9223372036854776000 bytes were expected at byte 11 of 12 / ${DAMAGED}`,
  ],
  [
    "has a text of 4 GB",
    code("X\xff\xff\xff\xff"),
    `damaged: ${PICKLE}: ends too early: 4294967295 bytes were expected at byte 7 of 8 / ${DAMAGED}`,
  ],
  [
    "has a text that is not UTF-8",
    code("\x8c\x01\xff"),
    `damaged: ${PICKLE}: has a text that is not UTF-8 / ${DAMAGED}`,
  ],
  [
    "has an integer of 1000 bytes",
    code("\x8b\xe8\x03\x00\x00"),
    `damaged: ${PICKLE}: has an integer of 1000 bytes; at most 255 are read / ${DAMAGED}`,
  ],
  [
    "has an integer of -1 bytes",
    code("\x8b\xff\xff\xff\xff"),
    `damaged: ${PICKLE}: has an integer of -1 bytes; at most 255 are read / ${DAMAGED}`,
  ],
  [
    "has a name without end",
    code("c", "n".repeat(2000)),
    `damaged: ${PICKLE}: has a name longer than 1000 bytes / ${DAMAGED}`,
  ],
  [
    "stacks a million values",
    code("N".repeat(1_000_001)),
    `damaged: ${PICKLE}: stacks more than 1000000 values / ${DAMAGED}`,
  ],
  [
    "stacks a million marks",
    code("(".repeat(1_000_001)),
    `damaged: ${PICKLE}: stacks more than 1000000 marks / ${DAMAGED}`,
  ],
  [
    "has two million instructions",
    code("N0".repeat(1_000_001)),
    `damaged: ${PICKLE}: has more than 2000000 instructions / ${DAMAGED}`,
  ],
  ...(
    [
      [
        "a storage of four parts",
        code(tuple(text("storage"), global("torch", "FloatStorage"), text("0"), int(2)), "Q"),
      ],
      [
        "a storage of another word",
        code(tuple(text("module"), global("torch", "FloatStorage"), text("0"), none, int(2)), "Q"),
      ],
      ["a storage of a dtype", code(tuple(text("storage"), global("torch", "float32"), text("0"), none, int(2)), "Q")],
      [
        "a storage without a key",
        code(tuple(text("storage"), global("torch", "FloatStorage"), none, none, int(2)), "Q"),
      ],
      [
        "a storage of -1 elements",
        code(tuple(text("storage"), global("torch", "FloatStorage"), text("0"), none, code("J\xff\xff\xff\xff")), "Q"),
      ],
      [
        "a storage of -1 elements, as a long number",
        code(tuple(text("storage"), global("torch", "FloatStorage"), text("0"), none, code("\x8a\x01\xff")), "Q"),
      ],
      ["a storage of 2^52 doubles", storage("DoubleStorage", "0", 2 ** 52)],
      ["a storage of text", code(text("0"), "Q")],
    ] as const
  ).map(
    ([title, work]) =>
      [
        `has ${title}`,
        work,
        `damaged: ${PICKLE}: has a storage whose parts are not what torch writes / ${AGAIN}`,
      ] as const,
  ),
  ...(
    [
      ["a tensor of nothing", call(global("torch._utils", "_rebuild_tensor_v2"))],
      ["a tensor of a text", call(global("torch._utils", "_rebuild_tensor_v2"), text("0"), int(0), tuple(), tuple())],
      [
        "a tensor with a shape of texts",
        call(
          global("torch._utils", "_rebuild_tensor_v2"),
          storage("FloatStorage", "0", 2),
          int(0),
          tuple(text("2")),
          tuple(int(1)),
        ),
      ],
      ["a tensor with fewer strides than sizes", tensor({ shape: [2, 2], strides: [1] })],
      [
        "a tensor at offset None",
        call(global("torch._utils", "_rebuild_tensor_v2"), storage("FloatStorage", "0", 2), none, tuple(), tuple()),
      ],
      [
        "an untyped storage in a typed tensor",
        call(
          global("torch._utils", "_rebuild_tensor_v2"),
          storage("UntypedStorage", "0", 8, "torch.storage"),
          int(0),
          tuple(int(2)),
          tuple(int(1)),
          no,
          ordered,
        ),
      ],
      [
        "an untyped tensor without a dtype",
        call(
          global("torch._utils", "_rebuild_tensor_v3"),
          storage("UntypedStorage", "0", 8, "torch.storage"),
          int(0),
          tuple(int(2)),
          tuple(int(1)),
          no,
          ordered,
          text("float32"),
        ),
      ],
      ["a parameter of None", call(global("torch._utils", "_rebuild_parameter"), none)],
      ["a Size of None", call(global("torch", "Size"), none)],
      ["an OrderedDict with arguments", call(global("collections", "OrderedDict"), list())],
      ["a tensor of 65 dimensions", tensor({ shape: Array(65).fill(1) })],
    ] as const
  ).map(([title, work]) => [`has ${title}`, work, `damaged: ${PICKLE}: ${PARTS} / ${AGAIN}`] as const),
  ["holds None", none, `unsupported: ${PICKLE}: holds no tensor, but None / ${PLAIN}`],
  ["holds an empty dict", dict([]), `unsupported: ${PICKLE}: holds no tensor, but a dict / ${PLAIN}`],
  ["is a tensor", one, `unsupported: ${PICKLE}: holds its tensors in a tensor, not in a dict / ${PLAIN}`],
  ["is a list of tensors", list(one), `unsupported: ${PICKLE}: holds its tensors in a list, not in a dict / ${PLAIN}`],
  [
    "has a list of tensors under a name",
    dict([[text("ema"), list(one)]]),
    `unsupported: ${PICKLE}: holds its tensors in a list under "ema", not in a dict / ${PLAIN}`,
  ],
  [
    "names a tensor by a number",
    dict([[text("model"), dict([[int(1), one]])]]),
    `unsupported: ${PICKLE}: names a tensor with a number under "model", not with text / ${PLAIN}`,
  ],
  [
    "has two dicts of tensors",
    dict([
      [text("model"), stateDict({ a: one })],
      [text("optimizer"), dict([[text("state"), dict([[int(0), stateDict({ exp_avg: one })]])]])],
    ]),
    `unsupported: ${PICKLE}: holds tensors in 2 places ("model", "optimizer.state.0"): which are the weights is not sure / ${PLAIN}`,
  ],
  [
    "has tensors at the top and below",
    dict([...["a", "b", "c", "d", "e"].map((name) => [text(name), stateDict({ w: one })] as const), [text("w"), one]]),
    `unsupported: ${PICKLE}: holds tensors in 6 places (the top, "a", "b", "c" and 2 more): which are the weights is not sure / ${PLAIN}`,
  ],
  ...(
    [
      ["a number", code("G", Buffer.alloc(8))],
      ["a number", int(3)],
      ["a bigint", code("\x8a\x09", Buffer.alloc(9, 0x11))],
      ["a list", list(int(1))],
      ["a dict", dict([[text("a"), int(1)]])],
      ["a set", code("\x8f(K\x01\x90")],
      ["bytes", code("C\x01a")],
      ["a dtype", global("torch", "bfloat16")],
      ["a storage", storage("FloatStorage", "0", 2)],
    ] as const
  ).map(
    ([what, item]) =>
      [
        `has ${what} among its tensors`,
        dict([
          [text("w"), one],
          [text("scale"), item],
        ]),
        `unsupported: ${PICKLE}: holds ${what} under "scale" among its tensors / ${PLAIN}`,
      ] as const,
  ),
  [
    "nests lists a hundred thousand times",
    code("]".repeat(100_000), "a".repeat(99_999)),
    `unsupported: ${PICKLE}: nests dicts and lists deeper than 32 levels / ${PLAIN}`,
  ],
  [
    "has a transposed tensor",
    stateDict({ w: tensor({ shape: [2, 3], strides: [1, 2], count: 2 }) }),
    'unsupported: x.bin: tensor "w" of shape [2,3] is not contiguous: its strides are [1,2] / Call .contiguous() on each tensor of the state dict, and save it again.',
  ],
  [
    "has a tensor that repeats one value",
    stateDict({ w: tensor({ shape: [2, 3], strides: [0, 0], count: 2 }) }),
    'unsupported: x.bin: tensor "w" of shape [2,3] is not contiguous: its strides are [0,0] / Call .contiguous() on each tensor of the state dict, and save it again.',
  ],
  [
    "has a tensor to be negated",
    stateDict({ w: tensor({ shape: [2], flags: dict([[text("neg"), code("\x88")]]) }) }),
    'unsupported: x.bin: tensor "w" of shape [2] is conjugated or negated on reading / Call .resolve_conj().resolve_neg() on each tensor of the state dict, and save it again.',
  ],
  [
    "has a tensor that leaves its storage",
    stateDict({ w: tensor({ shape: [2], offset: 1, count: 2 }) }),
    `damaged: x.bin: tensor "w" ends at byte 12 of a storage that has 8 / ${DAMAGED}`,
  ],
  [
    "has a tensor of 2^60 values",
    stateDict({ w: tensor({ shape: [2 ** 30, 2 ** 30], strides: [1, 1], count: 2 }) }),
    `damaged: x.bin: tensor "w" has the impossible shape [1073741824,1073741824] / ${DAMAGED}`,
  ],
  [
    "has a storage that is not in the archive",
    stateDict({ w: tensor({ key: "9", shape: [2] }) }),
    `damaged: x.bin: has no zip entry "archive/data/9", which a tensor is stored in / ${DAMAGED}`,
  ],
  [
    "looks for a storage outside data/",
    stateDict({ w: tensor({ key: "../data.pkl", shape: [2] }) }),
    `damaged: x.bin: has no zip entry "archive/data/../data.pkl", which a tensor is stored in / ${DAMAGED}`,
  ],
  [
    "has a storage of another size",
    stateDict({ w: tensor({ shape: [2], count: 3 }) }),
    `damaged: x.bin: zip entry "archive/data/0" has 8 bytes, but its tensors expect 12 / ${DAMAGED}`,
  ],
];

/** A torch file with these pickles: their code may end without a stop. */
export const withPickle = (work: Buffer): Buffer => torchFile(work, ONE);

const good = torchFile(stateDict({ w: one }), ONE);
const patched = (file: Buffer, change: (bytes: Buffer) => void): Buffer => {
  const copy = Buffer.from(file);
  change(copy);
  return copy;
};
const end = good.length - 22;
const directoryAt = good.readUInt32LE(end + 16);

/** [what the file does, the file, the refusal] */
export const FILES: readonly (readonly [string, Buffer, string])[] = [
  ["is empty", Buffer.alloc(0), "damaged: x.bin: is empty (0 bytes) / Download the file again."],
  [
    "is a Git LFS pointer",
    Buffer.from("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
    'damaged: x.bin: is a Git LFS pointer of 63 bytes, not the file that it stands for / Run "git lfs pull" in its directory.',
  ],
  [
    "is older than torch 1.6",
    Buffer.concat([pickle(code("\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19")), Buffer.alloc(30)]),
    "unsupported: x.bin: is a torch file of the form before torch 1.6 / Convert it once: " +
      `python -c "import torch; torch.save(torch.load('OLD', map_location='cpu', weights_only=True), 'NEW')".`,
  ],
  [
    "is a GGUF file",
    Buffer.from("GGUF and more"),
    `unsupported: x.bin: is not a torch checkpoint: it begins with 47475546, not 504b0304 (zip) / ${TORCH}`,
  ],
  [
    "has two bytes",
    Buffer.from("PK"),
    `unsupported: x.bin: is not a torch checkpoint: it begins with 504b, not 504b0304 (zip) / ${TORCH}`,
  ],
  [
    "is cut before its directory",
    good.subarray(0, directoryAt),
    `damaged: x.bin: begins like a zip file but has no zip directory at its end / ${CUT}`,
  ],
  [
    "has a directory beyond its end",
    patched(good, (bytes) => bytes.writeUInt32LE(good.length, end + 16)),
    `damaged: x.bin: bytes ${good.length} to ${good.length + end - directoryAt} were asked for, but the file has ${good.length} / Download the file again; it is cut short.`,
  ],
  [
    "has a directory of 4 GB",
    patched(good, (bytes) => bytes.writeUInt32LE(0xfffffffe, end + 12)),
    `damaged: x.bin: has a zip directory of 4294967294 bytes; at most 100000000 are read / ${CUT}`,
  ],
  [
    "has more entries than its directory",
    patched(good, (bytes) => bytes.writeUInt16LE(9, end + 10)),
    `damaged: x.bin: its zip directory has no entry at byte ${end - directoryAt} of ${end - directoryAt} / ${CUT}`,
  ],
  [
    "has fewer entries than its directory",
    patched(good, (bytes) => bytes.writeUInt16LE(1, end + 10)),
    `damaged: x.bin: its zip directory has ${end - directoryAt} bytes, but its entries take 62 / ${CUT}`,
  ],
  [
    "has an entry longer than its directory",
    patched(good, (bytes) => bytes.writeUInt16LE(0xffff, directoryAt + 28)),
    `damaged: x.bin: its zip directory ends inside the entry at byte 0 / ${CUT}`,
  ],
  [
    "has an entry of 4 GB without its zip64 size",
    patched(good, (bytes) => bytes.writeUInt32LE(0xffffffff, directoryAt + 24)),
    `damaged: x.bin: zip entry "archive/data.pkl" lacks its zip64 sizes / ${CUT}`,
  ],
  [
    "has an entry of two sizes",
    patched(good, (bytes) => bytes.writeUInt32LE(5, directoryAt + 20)),
    `unsupported: x.bin: zip entry "archive/data.pkl" has two sizes, ${good.readUInt32LE(directoryAt + 24)} and 5 / ${AGAIN}`,
  ],
  [
    "has an entry that ends beyond it",
    patched(good, (bytes) => {
      bytes.writeUInt32LE(99_999, directoryAt + 20);
      bytes.writeUInt32LE(99_999, directoryAt + 24);
    }),
    `damaged: x.bin: zip entry "archive/data.pkl" ends at byte 100045, but the file has ${good.length} / ${CUT}`,
  ],
  [
    "has an entry whose header is elsewhere",
    patched(good, (bytes) => bytes.writeUInt32LE(7, directoryAt + 42)),
    `damaged: x.bin: has no local header for the zip entry "archive/data.pkl" / ${CUT}`,
  ],
  [
    "is compressed",
    torchFile(stateDict({ w: one }), ONE, {}, { method: 8 }),
    `unsupported: x.bin: zip entry "archive/byteorder" is compressed (method 8), where torch stores its entries as they are / ${AGAIN}`,
  ],
  [
    "is encrypted",
    torchFile(stateDict({ w: one }), ONE, {}, { flags: 1 }),
    `unsupported: x.bin: zip entry "archive/byteorder" is encrypted / ${AGAIN}`,
  ],
  [
    "has one entry twice",
    zip([
      ["a/data.pkl", pickle(none)],
      ["a/data.pkl", pickle(none)],
    ]),
    `damaged: x.bin: has the zip entry "a/data.pkl" twice / ${CUT}`,
  ],
  [
    "is a zip file of something else",
    zip([["word/document.xml", Buffer.from("<a/>")]]),
    `unsupported: x.bin: is a zip file with 0 entries NAME/data.pkl; a torch checkpoint has one / ${TORCH}`,
  ],
  [
    "has two pickles",
    zip([
      ["a/data.pkl", pickle(none)],
      ["b/data.pkl", pickle(none)],
    ]),
    `unsupported: x.bin: is a zip file with 2 entries NAME/data.pkl; a torch checkpoint has one / ${TORCH}`,
  ],
  ...[{ "constants.pkl": "." }, { "code/__torch__.py": "" }].map(
    (more) =>
      [
        `is a TorchScript archive with ${Object.keys(more)}`,
        torchFile(stateDict({ w: one }), ONE, more, { method: 8 }),
        "unsupported: x.bin: is a TorchScript program, not a state dict / Save its weights: " +
          `python -c "import torch; torch.save(torch.jit.load('OLD').state_dict(), 'NEW')".`,
      ] as const,
  ),
  [
    "is big-endian",
    torchFile(stateDict({ w: one }), ONE, { byteorder: "big" }),
    `unsupported: x.bin: stores its numbers in "big" byte order; only "little" is read / ${TORCH}`,
  ],
  [
    "has a byte order of 200 letters",
    torchFile(stateDict({ w: one }), ONE, { byteorder: "l".repeat(200) }),
    `damaged: x.bin: zip entry "archive/byteorder" has 200 bytes; at most 100 are read / ${DAMAGED}`,
  ],
  [
    "has a zip64 end that is not there",
    patched(torchFile(stateDict({ w: one }), ONE, {}, { zip64: true }), (bytes) =>
      bytes.writeUInt8(0, bytes.length - 22 - 20 - 56),
    ),
    `damaged: x.bin: has no zip64 directory end at byte ${torchFile(stateDict({ w: one }), ONE, {}, { zip64: true }).length - 98} / ${CUT}`,
  ],
  [
    "has a zip64 directory at 2^63",
    patched(torchFile(stateDict({ w: one }), ONE, {}, { zip64: true }), (bytes) =>
      u64(2n ** 63n).copy(bytes, bytes.length - 22 - 20 - 8),
    ),
    `damaged: x.bin: its zip directory points to 9223372036854775808, beyond the file's ${torchFile(stateDict({ w: one }), ONE, {}, { zip64: true }).length} bytes / ${CUT}`,
  ],
];
