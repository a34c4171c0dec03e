// What an ONNX model is fed: token ids, masks and positions by their names, empty caches, seeded numbers for the rest. Reads no weights.
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { ExpandError, quote } from "../../errors.ts";
import { tensorAttribute } from "../../graph/attributes.ts";
import type { TensorProto } from "../../graph/onnx.ts";
import { nodesIn } from "../../graph/walk.ts";
import type { Value, ValueInfo, Values } from "../../runtime/values.ts";
import { emptyData, type ValueData } from "../../runtime/values.ts";
import { generator, type Sitting } from "./inputs.ts";

/** Pixels of a side, or steps, where a model leaves an image's size open: divides by every usual stride. */
const SIDE = 320;

const IDS = /^(?:input_ids|input|decoder_input_ids)$/;
const CACHE = /past|cache/;
/** What exporters call the last size of a cache. */
const WIDTH = /dim|head_size|per_head/i;
/** Operators that leave token ids as they are. */
const VIEWS = new Set(["Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"]);

/** What an input is called on both sides, where its name is another. */
export type Aliases = ReadonlyMap<string, string>;

export interface Feeding {
  readonly seed: number;
  readonly aliases?: Aliases;
  /** Values that a cache holds a token and head, for models whose inputs do not say it. */
  readonly headSize?: number;
}

/** One run's feeds. Equal names (or aliases) and shapes get equal values on both sides. */
export function feedsFor(inputs: readonly ValueInfo[], sitting: Sitting, feeding: Feeding): Values {
  const { seed, aliases, headSize } = feeding;
  return Object.fromEntries(
    inputs.map((input) => {
      const own = seed + hash(aliases?.get(input.name) ?? input.name);
      return [input.name, valueFor(input, sitting, own, headSize)];
    }),
  );
}

function valueFor(input: ValueInfo, sitting: Sitting, seed: number, headSize: number | undefined): Value {
  const { name, dtype } = input;
  if (dtype === undefined) throw cannot(name, "is not a tensor of a type that is known here");
  const shape = input.shape.map((size, at) => {
    if (typeof size === "number") return size;
    if (!CACHE.test(name) || at !== input.shape.length - 1 || !WIDTH.test(size))
      return sizeOf(input, size, at, sitting);
    if (headSize === undefined) throw cannot(name, `has a size ${quote(size)} that no config.json beside it says`);
    return headSize;
  });
  const count = shape.reduce((product, size) => product * size, 1);
  return { dtype, shape, data: fill(input, emptyData(dtype, count), sitting, seed) };
}

/** A dimension's size by what it is called, else by where it stands. */
function sizeOf({ name, shape }: ValueInfo, size: string, at: number, { batch, length, past = 0 }: Sitting): number {
  if (/batch/i.test(size) || (at === 0 && shape.length > 1 && !CACHE.test(size))) return batch;
  // "past_sequence_length + sequence_length" is the length of both; "past_sequence_length" alone is what caches hold.
  if (/\+|total/.test(size)) return past + length;
  if (CACHE.test(size) || (CACHE.test(name) && at === shape.length - 2)) return past;
  if (/mask/.test(name) && at === shape.length - 1) return past + length;
  return shape.length === 4 && !CACHE.test(name) ? SIDE : length;
}

function fill(
  { name, dtype }: ValueInfo,
  data: ValueData,
  { ids, positions, length, past = 0 }: Sitting,
  seed: number,
): ValueData {
  if (data instanceof BigInt64Array || data instanceof Int32Array) {
    const integer = (at: number): bigint => {
      if (IDS.test(name)) return BigInt(ids[at] ?? 0);
      if (/mask/.test(name)) return 1n;
      if (/position/.test(name)) return positions[at] ?? 0n;
      // Lengths as GroupQueryAttention wants them.
      if (/seqlens_k/.test(name)) return BigInt(past + length - 1);
      return /total|seq/.test(name) ? BigInt(past + length) : 0n;
    };
    if (data instanceof BigInt64Array) for (const at of data.keys()) data[at] = integer(at);
    else for (const at of data.keys()) data[at] = Number(integer(at));
  } else if (data instanceof Float32Array || data instanceof Float64Array) {
    const random = generator(seed);
    for (const at of data.keys()) data[at] = /mask/.test(name) ? 1 : 2 * random() - 1;
  } else if (dtype === "float16") {
    const random = generator(seed);
    // Halves in [0.5, 1) with either sign: 0x3800 is 0.5.
    for (const at of data.keys()) data[at] = 0x3800 + Math.floor(random() * 0x400) + (random() < 0.5 ? 0x8000 : 0);
  }
  return data;
}

/** Rows of the table that token ids are looked up in. Throws "unsupported" where it cannot be found. */
export function vocabularyOf({ graph, config, location }: Checkpoint): number {
  const main = graph?.model.graph;
  const nodes = [...nodesIn(main?.node ?? [])];
  const constants = nodes.filter(({ opType }) => opType === "Constant");
  const tables = new Map<string, TensorProto | undefined>([
    ...(main?.initializer ?? []).map((each) => [each.name, each] as const),
    ...constants.map((node) => [node.output[0] ?? "", tensorAttribute(node, "value")] as const),
  ]);
  const ids = new Set(main?.input.map(({ name }) => name).filter((name) => IDS.test(name)));
  for (const { opType, input, output } of nodes) {
    const [first = "", second = ""] = input;
    if (VIEWS.has(opType) && ids.has(first)) ids.add(output[0] ?? "");
    const embeds = opType === "EmbedLayerNormalization" && ids.has(first);
    if (!embeds && !(opType.startsWith("Gather") && ids.has(second))) continue;
    const rows = Number(tables.get(embeds ? (input[2] ?? "") : first)?.dims[0] ?? 0);
    if (rows > 0) return rows;
  }
  const said = config.dialect === "onnx" ? config.documents.get("config.json")?.get(["vocab_size"]) : undefined;
  if (typeof said === "number" && said > 0) return said;
  if (ids.size === 0) return 1;
  throw new ExpandError("unsupported", "nothing says how many token ids the model has", {
    at: location,
    fix: "Put the model's config.json, with its vocab_size, beside it.",
  });
}

/** Values that all caches of an ONNX model hold a token, as far as its inputs and the settings beside it say. */
export function cacheWidth(checkpoint: Checkpoint): number {
  const inputs = (checkpoint.graph?.model.graph?.input ?? []).filter(({ name }) => CACHE.test(name));
  const widths = inputs.map(({ type }) => {
    const dims = type?.value.case === "tensorType" ? (type.value.value.shape?.dim ?? []) : [];
    const sizes = dims.map(({ value }) => (value.case === "dimValue" ? Number(value.value) : undefined));
    const open = sizes.length > 0 && sizes.at(-1) === undefined ? (headSizeOf(checkpoint) ?? 1) : 1;
    return sizes.reduce<number>((product, size) => product * (size ?? 1), open);
  });
  return widths.reduce((sum, each) => sum + each, 0);
}

/** As genai_config.json or config.json beside an ONNX model says it. */
export function headSizeOf({ config }: Checkpoint): number | undefined {
  if (config.dialect !== "onnx") return undefined;
  const [genai, own] = [config.documents.get("genai_config.json"), config.documents.get("config.json")];
  const said = genai?.get(["model", "decoder", "head_size"]) ?? own?.get(["head_dim"]);
  if (typeof said === "number" && said > 0) return said;
  const [hidden, heads] = [own?.get(["hidden_size"]), own?.get(["num_attention_heads"])];
  return typeof hidden === "number" && typeof heads === "number" && heads > 0 ? hidden / heads : undefined;
}

function cannot(name: string, message: string): ExpandError {
  return new ExpandError("unsupported", message, { at: `input ${quote(name)}`, fix: "Use --mode structure." });
}

/** FNV-1a. */
function hash(text: string): number {
  let state = 0x811c9dc5;
  for (const byte of Buffer.from(text)) state = Math.imul(state ^ byte, 0x01000193);
  return state >>> 0;
}
