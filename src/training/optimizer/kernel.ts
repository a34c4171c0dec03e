// The arithmetic of AdamW and of the gradient norm as WebAssembly with four f32 lanes, assembled here: JavaScript rounds each operation
// to f32 in two steps and takes seven times as long. Works on a window of its own memory; knows no tensors.

/** Values that a window holds of each array. */
export const WINDOW = 16384;
const ARRAY_BYTES = WINDOW * 4;
/** Byte offsets of the arrays. */
const AT = { weight: 0, m: ARRAY_BYTES, v: 2 * ARRAY_BYTES, gradient: 3 * ARRAY_BYTES } as const;

export interface Kernel {
  readonly weight: Float32Array;
  readonly m: Float32Array;
  readonly v: Float32Array;
  readonly gradient: Float32Array;
  /** Updates weight, m and v over the first `end` bytes (a multiple of 16). */
  update(
    end: number,
    scale: number,
    keep: number,
    size: number,
    root: number,
    fresh1: number,
    beta2: number,
    fresh2: number,
    epsilon: number,
  ): void;
  /** Sum of the squares of the gradient's first `end` bytes (a multiple of 16), in f64. */
  squares(end: number): number;
}

/** Node's own types leave it out. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (
    module: object,
  ) => { readonly exports: Pick<Kernel, "update" | "squares"> & { readonly memory: { readonly buffer: ArrayBuffer } } };
};

export function newKernel(): Kernel {
  const { memory, update, squares } = new WebAssembly.Instance(new WebAssembly.Module(moduleBytes())).exports;
  const array = (at: number): Float32Array => new Float32Array(memory.buffer, at, WINDOW);
  return {
    weight: array(AT.weight),
    m: array(AT.m),
    v: array(AT.v),
    gradient: array(AT.gradient),
    update,
    squares,
  };
}

type Code = readonly number[];

// Types and instructions: WebAssembly core specification 2.0, chapter 5 (binary format).
const [I32, F32, F64, V128] = [0x7f, 0x7d, 0x7c, 0x7b];
const END = 0x0b;
const I32_ADD: Code = [0x6a];
const I32_LESS: Code = [0x49];
const F64_ADD: Code = [0xa0];
const SPLAT: Code = [0xfd, 0x13];
const SQRT: Code = [0xfd, 0xe3, 0x01];
const ADD: Code = [0xfd, 0xe4, 0x01];
const SUB: Code = [0xfd, 0xe5, 0x01];
const MUL: Code = [0xfd, 0xe6, 0x01];
const DIV: Code = [0xfd, 0xe7, 0x01];
const PROMOTE_LOW: Code = [0xfd, 0x5f];
const ADD_F64: Code = [0xfd, 0xf0, 0x01];
const MUL_F64: Code = [0xfd, 0xf2, 0x01];

const get = (local: number): Code => [0x20, local];
const set = (local: number): Code => [0x21, local];
const integer = (value: number): Code => [0x41, ...signed(value)];
const load = (at: number, index: number): Code => [...get(index), 0xfd, 0x00, 4, ...unsigned(at)];
const store = (at: number, index: number, value: Code): Code => [
  ...get(index),
  ...value,
  0xfd,
  0x0b,
  4,
  ...unsigned(at),
];
const lane = (local: number, index: number): Code => [...get(local), 0xfd, 0x21, index];
/** Runs `body` for index = 0, 16, 32, ... below local 0, at least once. */
const loop = (index: number, body: Code): Code => [
  ...[0x03, 0x40, ...body],
  ...[...get(index), ...integer(16), ...I32_ADD, ...set(index)],
  ...[...get(index), ...get(0), ...I32_LESS, 0x0d, 0, END],
];

/** Locals: 0 end, 1 to 8 the numbers, 9 to 16 the same in all lanes, 17 index, 18 g, 19 m, 20 v. */
function updateBody(): Code {
  const [scale, keep, size, root] = [get(9), get(10), get(11), get(12)];
  const [fresh1, beta2, fresh2, epsilon] = [get(13), get(14), get(15), get(16)];
  const [index, g, m, v] = [17, 18, 19, 20];
  const lanes = Array.from({ length: 8 }, (_, i) => [...get(1 + i), ...SPLAT, ...set(9 + i)]).flat();
  const apply = (op: Code, left: Code, right: Code): Code => [...left, ...right, ...op];
  const step = [
    [...apply(MUL, load(AT.gradient, index), scale), ...set(g)],
    // m + fresh1 * (g - m)
    [...apply(ADD, load(AT.m, index), apply(MUL, fresh1, apply(SUB, get(g), load(AT.m, index)))), ...set(m)],
    // beta2 * v + (fresh2 * g) * g
    [...apply(ADD, apply(MUL, beta2, load(AT.v, index)), apply(MUL, apply(MUL, fresh2, get(g)), get(g))), ...set(v)],
    store(AT.m, index, get(m)),
    store(AT.v, index, get(v)),
    // weight * keep - (size * m) / (sqrt(v) / root + epsilon)
    store(
      AT.weight,
      index,
      apply(
        SUB,
        apply(MUL, load(AT.weight, index), keep),
        apply(DIV, apply(MUL, size, get(m)), apply(ADD, apply(DIV, [...get(v), ...SQRT], root), epsilon)),
      ),
    ),
  ].flat();
  return [3, 8, V128, 1, I32, 3, V128, ...lanes, ...loop(index, step), END];
}

/** Locals: 0 end, 1 index, 2 and 3 sums of even and odd pairs, 4 and 5 pairs. */
function squaresBody(): Code {
  const [index, low, high, pair, other] = [1, 2, 3, 4, 5];
  /** The two upper lanes in the place of the lower ones: 64 bits moved down. */
  const upper: Code = [0xfd, 0x0d, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7];
  const add = (sum: number, value: number): Code => [
    ...[...get(sum), ...get(value), ...get(value), ...MUL_F64, ...ADD_F64, ...set(sum)],
  ];
  const value = load(AT.gradient, index);
  const step = [
    [...value, ...PROMOTE_LOW, ...set(pair)],
    [...value, ...value, ...upper, ...PROMOTE_LOW, ...set(other)],
    add(low, pair),
    add(high, other),
  ].flat();
  const total = [
    ...lane(low, 0),
    ...lane(low, 1),
    ...F64_ADD,
    ...lane(high, 0),
    ...lane(high, 1),
    ...F64_ADD,
    ...F64_ADD,
  ];
  return [2, 1, I32, 4, V128, ...loop(index, step), ...total, END];
}

function moduleBytes(): Uint8Array<ArrayBuffer> {
  const numbers = Array.from({ length: 8 }, () => F32);
  const types = [2, 0x60, 9, I32, ...numbers, 0, 0x60, 1, I32, 1, F64];
  const pages = Math.ceil((4 * ARRAY_BYTES) / 65536);
  const exported = (name: string, kind: number, index: number): Code => [...sized(Buffer.from(name)), kind, index];
  const section = (id: number, content: Code): Code => [id, ...sized(content)];
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, types),
    ...section(3, [2, 0, 1]),
    ...section(5, [1, 0, ...unsigned(pages)]),
    ...section(7, [3, ...exported("memory", 2, 0), ...exported("update", 0, 0), ...exported("squares", 0, 1)]),
    ...section(10, [2, ...sized(updateBody()), ...sized(squaresBody())]),
  ]);
}

function sized(content: Iterable<number>): Code {
  const bytes = [...content];
  return [...unsigned(bytes.length), ...bytes];
}

/** LEB128. */
function unsigned(value: number): Code {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)];
}

/** LEB128, of a small number that is not negative. */
function signed(value: number): Code {
  return value < 0x40 ? [value] : [(value & 0x7f) | 0x80, ...signed(value >>> 7)];
}
