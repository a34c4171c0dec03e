// What a torch pickle may name: the few functions and types that make tensors, as data. Everything else is refused, nothing is run.
import { ExpandError } from "../../errors.ts";
import { blockOf, type Dtype, type Shape } from "../../tensor/dtype.ts";
import { quote } from "../shards.ts";
import type { PickleHost, PickleObject, PickleValue } from "./pickle.ts";

/** A run of bytes in the archive, under `data/KEY`. */
export interface TorchStorage extends PickleObject {
  readonly kind: "storage";
  readonly key: string;
  /** Undefined for an untyped storage: the tensor says. */
  readonly dtype: Dtype | undefined;
  readonly bytes: number;
}

/** A strided view of a storage; offset, shape and strides count elements of torch (a pair of values for packed types). */
export interface TorchTensor extends PickleObject {
  readonly kind: "tensor";
  readonly storage: TorchStorage;
  readonly dtype: Dtype;
  readonly offset: number;
  readonly shape: Shape;
  readonly strides: readonly number[];
  /** torch conjugates or negates the stored values when it reads them. */
  readonly lazy: boolean;
}

interface TorchDtype extends PickleObject {
  readonly kind: "dtype";
  readonly dtype: Dtype;
}

interface StorageType extends PickleObject {
  readonly kind: "storage type";
  readonly dtype: Dtype | undefined;
}

interface Callable extends PickleObject {
  readonly kind: "function";
  readonly call: (args: readonly PickleValue[]) => PickleValue | undefined;
}

/** numpy's limit; torch's own tensors have far fewer. */
const MAX_DIMENSIONS = 64;

/** torch.dtype by attribute name (torch 2.13), as far as safetensors has the type. */
const DTYPES: Readonly<Record<string, Dtype>> = {
  float64: "F64",
  float32: "F32",
  float16: "F16",
  bfloat16: "BF16",
  complex64: "C64",
  int64: "I64",
  int32: "I32",
  int16: "I16",
  int8: "I8",
  uint64: "U64",
  uint32: "U32",
  uint16: "U16",
  uint8: "U8",
  bool: "BOOL",
  float8_e4m3fn: "F8_E4M3",
  float8_e5m2: "F8_E5M2",
  float8_e4m3fnuz: "F8_E4M3FNUZ",
  float8_e5m2fnuz: "F8_E5M2FNUZ",
  float8_e8m0fnu: "F8_E8M0",
  float4_e2m1fn_x2: "F4",
};

/** Legacy storage classes (torch/storage.py, _dtype_to_storage_type_map, 2.13). */
const STORAGES: Readonly<Record<string, Dtype>> = {
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

/** Each gives undefined when its arguments are not what torch writes. */
const FUNCTIONS: Readonly<Record<string, Callable["call"]>> = {
  "collections.OrderedDict": (args) => (args.length === 0 ? new Map<PickleValue, PickleValue>() : undefined),
  "torch.Size": ([sizes]) => (Array.isArray(sizes) ? sizes : undefined),
  "torch._utils._rebuild_tensor_v2": ([storage, offset, shape, strides, _grad, _hooks, flags]) =>
    isStorage(storage) ? rebuild(storage, storage.dtype, offset, shape, strides, flags) : undefined,
  "torch._utils._rebuild_tensor_v3": ([storage, offset, shape, strides, _grad, _hooks, type, flags]) =>
    isStorage(storage) && isDtype(type) ? rebuild(storage, type.dtype, offset, shape, strides, flags) : undefined,
  "torch._utils._rebuild_parameter": ([data]) => (isTensor(data) ? data : undefined),
  "torch._utils._rebuild_parameter_with_state": ([data]) => (isTensor(data) ? data : undefined),
};

const GLOBALS: ReadonlyMap<string, PickleObject> = new Map<string, PickleObject>([
  ...Object.entries(FUNCTIONS).map(([name, call]) => [name, { kind: "function", call }] as const),
  ...Object.entries(STORAGES).map(([name, dtype]) => [`torch.${name}`, { kind: "storage type", dtype }] as const),
  ["torch.storage.UntypedStorage", { kind: "storage type", dtype: undefined } as PickleObject],
  ...Object.entries(DTYPES).map(([name, dtype]) => [`torch.${name}`, { kind: "dtype", dtype }] as const),
]);

/** Gives a pickle machine torch's objects. `at` names the file in errors. */
export function torchHost(at: string): PickleHost {
  return {
    global: (name) => {
      const found = GLOBALS.get(name);
      if (found === undefined)
        refuse(at, `GLOBAL ${cut(name)} is refused: weights need tensors, dicts and plain values only`);
      return found;
    },
    call: (callee, args) => {
      if (!isFunction(callee)) refuse(at, `a call of ${describe(callee)} is refused`);
      const result = callee.call(args);
      if (result === undefined) damaged(at, "has a tensor or dict whose parts are not what torch writes");
      return result;
    },
    build: (target) => {
      // OrderedDict keeps `_metadata` (module versions) as an attribute: nothing that a tensor needs.
      if (!(target instanceof Map)) refuse(at, `setting attributes of ${describe(target)} is refused`);
    },
    persistent: (id) => loadStorage(id) ?? damaged(at, "has a storage whose parts are not what torch writes"),
  };
}

export function isTensor(value: PickleValue | undefined): value is TorchTensor {
  return isObject(value) && value.kind === "tensor";
}

/** What a value is, for a message. */
export function describe(value: PickleValue): string {
  if (value === null) return "None";
  if (Array.isArray(value)) return "a list";
  if (value instanceof Map) return "a dict";
  if (value instanceof Set) return "a set";
  if (value instanceof Uint8Array) return "bytes";
  return typeof value === "object" ? `a ${value.kind}` : `a ${typeof value}`;
}

/** `flags` is a dict with "conj" or "neg" where values are to be changed on reading. */
function rebuild(
  storage: TorchStorage,
  dtype: Dtype | undefined,
  offset: PickleValue | undefined,
  shape: PickleValue | undefined,
  strides: PickleValue | undefined,
  flags: PickleValue | undefined,
): TorchTensor | undefined {
  if (dtype === undefined || !isSize(offset) || !isSizes(shape) || !isSizes(strides)) return undefined;
  if (shape.length !== strides.length) return undefined;
  return { kind: "tensor", storage, dtype, offset, shape, strides, lazy: !isNone(flags) };
}

/** ("storage", type, key, device, number of elements). */
function loadStorage(id: PickleValue): TorchStorage | undefined {
  if (!Array.isArray(id) || id.length !== 5) return undefined;
  const [word, type, key, , count] = id;
  if (word !== "storage" || !isStorageType(type) || typeof key !== "string" || !isSize(count)) return undefined;
  const bytes = count * (type.dtype === undefined ? 1 : blockOf(type.dtype).bytes);
  return Number.isSafeInteger(bytes) ? { kind: "storage", key, dtype: type.dtype, bytes } : undefined;
}

function isNone(flags: PickleValue | undefined): boolean {
  return flags === undefined || flags === null || (flags instanceof Map && flags.size === 0);
}

function isSize(value: PickleValue | undefined): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isSizes(value: PickleValue | undefined): value is number[] {
  return Array.isArray(value) && value.length <= MAX_DIMENSIONS && value.every(isSize);
}

function isObject(value: PickleValue | undefined): value is PickleObject {
  return typeof value === "object" && value !== null && "kind" in value;
}

function isFunction(value: PickleValue): value is Callable {
  return isObject(value) && value.kind === "function";
}

function isStorage(value: PickleValue | undefined): value is TorchStorage {
  return isObject(value) && value.kind === "storage";
}

function isStorageType(value: PickleValue | undefined): value is StorageType {
  return isObject(value) && value.kind === "storage type";
}

function isDtype(value: PickleValue | undefined): value is TorchDtype {
  return isObject(value) && value.kind === "dtype";
}

function cut(name: string): string {
  return quote(name).slice(1, -1);
}

function refuse(at: string, message: string): never {
  throw new ExpandError("unsupported", message, {
    at,
    fix: "Save plain tensors alone: torch.save(model.state_dict(), PATH).",
  });
}

function damaged(at: string, message: string): never {
  throw new ExpandError("damaged", message, { at, fix: "Save it again with torch.save." });
}
