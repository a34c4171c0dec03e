// A pickle machine that builds plain values and asks its host about everything else. Executes nothing, imports nothing.
import { PickleCursor } from "./pickle-cursor.ts";

/** Something that the host made: a function, a storage, a tensor. */
export interface PickleObject {
  readonly kind: string;
}

/** Tuples and lists are arrays; dicts are maps, whose keys may be anything. */
export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PickleObject
  | PickleValue[]
  | Map<PickleValue, PickleValue>
  | Set<PickleValue>;

/** Decides what a pickle may name. Each of these throws to refuse. */
export interface PickleHost {
  global(name: string): PickleObject;
  call(callee: PickleValue, args: readonly PickleValue[]): PickleValue;
  /** Attributes set on an object that is already built. */
  build(target: PickleValue, state: PickleValue): void;
  persistent(id: PickleValue): PickleValue;
}

/** A state dict of 33,000 tensors (some 60 instructions each); keeps memory and time bounded. */
const MAX_STEPS = 2_000_000;
const MAX_STACK = 1_000_000;

/** Throws "damaged" when the bytes are not a pickle, "unsupported" for instructions that torch.save does not use. */
export function unpickle(name: string, data: Uint8Array, host: PickleHost): PickleValue {
  return new Machine(new PickleCursor(name, data), host).run();
}

class Machine {
  readonly cursor: PickleCursor;
  readonly host: PickleHost;
  readonly memo = new Map<number, PickleValue>();
  #stack: PickleValue[] = [];
  /** Stacks below each open mark. */
  readonly #marked: PickleValue[][] = [];
  #depth = 0;

  constructor(cursor: PickleCursor, host: PickleHost) {
    this.cursor = cursor;
    this.host = host;
  }

  run(): PickleValue {
    for (let step = 0; step < MAX_STEPS; step++) {
      const opcode = this.cursor.byte();
      if (opcode === STOP) return this.pop();
      const instruction = INSTRUCTIONS.get(opcode);
      if (instruction === undefined) this.cursor.refuse(`instruction 0x${opcode.toString(16).padStart(2, "0")}`);
      instruction(this);
    }
    return this.cursor.fail(`has more than ${MAX_STEPS} instructions`);
  }

  push(value: PickleValue): void {
    if (++this.#depth > MAX_STACK) this.cursor.fail(`stacks more than ${MAX_STACK} values`);
    this.#stack.push(value);
  }

  pop(): PickleValue {
    const value = this.#stack.pop();
    if (value === undefined) return this.cursor.fail("takes a value from an empty stack");
    this.#depth--;
    return value;
  }

  top(): PickleValue {
    const value = this.#stack.at(-1);
    return value === undefined ? this.cursor.fail("takes a value from an empty stack") : value;
  }

  mark(): void {
    if (this.#marked.length >= MAX_STACK) this.cursor.fail(`stacks more than ${MAX_STACK} marks`);
    this.#marked.push(this.#stack);
    this.#stack = [];
  }

  /** The values above the last mark, which goes with them. */
  popMark(): PickleValue[] {
    const below = this.#marked.pop();
    if (below === undefined) return this.cursor.fail("goes back to a mark that it never set");
    const above = this.#stack;
    this.#stack = below;
    this.#depth -= above.length;
    return above;
  }

  popMany(count: number): PickleValue[] {
    return Array.from({ length: count }, () => this.pop()).reverse();
  }

  remember(slot: number): void {
    this.memo.set(slot, this.top());
  }

  recall(slot: number): void {
    const value = this.memo.get(slot);
    if (value === undefined) this.cursor.fail(`reads memo ${slot}, which was never written`);
    this.push(value);
  }

  extendList(values: readonly PickleValue[]): void {
    const list = this.top();
    if (!Array.isArray(list)) this.cursor.fail("appends to something that is not a list");
    for (const value of values) list.push(value);
  }

  extendDict(values: readonly PickleValue[]): void {
    const dict = this.top();
    if (!(dict instanceof Map)) this.cursor.fail("sets an item of something that is not a dict");
    this.fill(dict, values);
  }

  fill(dict: Map<PickleValue, PickleValue>, values: readonly PickleValue[]): void {
    if (values.length % 2 !== 0) this.cursor.fail("gives a dict a key without a value");
    for (let at = 0; at < values.length; at += 2) dict.set(values[at] ?? null, values[at + 1] ?? null);
  }

  reduce(): void {
    const args = this.pop();
    const callee = this.pop();
    if (!Array.isArray(args)) this.cursor.fail("calls with arguments that are not a tuple");
    this.push(this.host.call(callee, args));
  }

  global(module: PickleValue, name: PickleValue): void {
    if (typeof module !== "string" || typeof name !== "string") this.cursor.fail("names a global that is not text");
    this.push(this.host.global(`${module}.${name}`));
  }
}

type Instruction = (machine: Machine) => void;
const STOP = 0x2e;
const push =
  (read: (cursor: PickleCursor) => PickleValue): Instruction =>
  (m) =>
    m.push(read(m.cursor));

/** Protocols 2 to 5, by opcode (Lib/pickle.py of CPython 3.13): what picklers write for plain values, names and calls. */
const INSTRUCTIONS: ReadonlyMap<number, Instruction> = new Map<number, Instruction>([
  [0x80, (m) => m.cursor.protocol()],
  [0x95, (m) => void m.cursor.uint64()], // FRAME: a hint for buffering
  [0x28, (m) => m.mark()],
  [0x30, (m) => void m.pop()],
  [0x31, (m) => void m.popMark()],
  [0x32, (m) => m.push(m.top())],
  [0x4e, push(() => null)],
  [0x88, push(() => true)],
  [0x89, push(() => false)],
  [0x4a, push((cursor) => cursor.int32())],
  [0x4b, push((cursor) => cursor.byte())],
  [0x4d, push((cursor) => cursor.uint16())],
  [0x8a, push((cursor) => cursor.long(cursor.byte()))],
  [0x8b, push((cursor) => cursor.long(cursor.int32()))],
  [0x47, push((cursor) => cursor.float64())],
  [0x8c, push((cursor) => cursor.text(cursor.byte()))],
  [0x58, push((cursor) => cursor.text(cursor.uint32()))],
  [0x8d, push((cursor) => cursor.text(cursor.uint64()))],
  [0x43, push((cursor) => cursor.bytes(cursor.byte()))],
  [0x42, push((cursor) => cursor.bytes(cursor.uint32()))],
  [0x8e, push((cursor) => cursor.bytes(cursor.uint64()))],
  [0x96, push((cursor) => cursor.bytes(cursor.uint64()))],
  [0x29, push(() => [])],
  [0x5d, push(() => [])],
  [0x85, (m) => m.push(m.popMany(1))],
  [0x86, (m) => m.push(m.popMany(2))],
  [0x87, (m) => m.push(m.popMany(3))],
  [0x74, (m) => m.push(m.popMark())],
  [0x6c, (m) => m.push(m.popMark())],
  [0x61, (m) => m.extendList([m.pop()])],
  [0x65, (m) => m.extendList(m.popMark())],
  [0x7d, push(() => new Map())],
  [0x64, (m) => buildDict(m)],
  [0x73, (m) => m.extendDict(m.popMany(2))],
  [0x75, (m) => m.extendDict(m.popMark())],
  [0x8f, push(() => new Set())],
  [0x90, (m) => extendSet(m)],
  [0x91, (m) => m.push(new Set(m.popMark()))],
  [0x68, (m) => m.recall(m.cursor.byte())],
  [0x6a, (m) => m.recall(m.cursor.uint32())],
  [0x71, (m) => m.remember(m.cursor.byte())],
  [0x72, (m) => m.remember(m.cursor.uint32())],
  [0x94, (m) => m.remember(m.memo.size)],
  [0x63, (m) => m.global(m.cursor.line(), m.cursor.line())],
  [0x93, (m) => stackGlobal(m)],
  [0x52, (m) => m.reduce()],
  [0x81, (m) => m.reduce()], // NEWOBJ: cls.__new__(cls, *args)
  [0x62, (m) => build(m)],
  [0x51, (m) => m.push(m.host.persistent(m.pop()))],
]);

function buildDict(m: Machine): void {
  const dict = new Map<PickleValue, PickleValue>();
  m.fill(dict, m.popMark());
  m.push(dict);
}

function extendSet(m: Machine): void {
  const values = m.popMark();
  const set = m.top();
  if (!(set instanceof Set)) m.cursor.fail("adds to something that is not a set");
  for (const value of values) set.add(value);
}

function stackGlobal(m: Machine): void {
  const [module = null, name = null] = m.popMany(2);
  m.global(module, name);
}

function build(m: Machine): void {
  const state = m.pop();
  m.host.build(m.top(), state);
}
