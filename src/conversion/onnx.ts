// A checkpoint as a runnable ONNX model: forward graph, weights, settings for the programs that load it. Plans files; writes none.
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { buildDecoder } from "../decoder/build.ts";
import { readSpec } from "../decoder/read.ts";
import type { DecoderSpec } from "../decoder/spec.ts";
import { ExpandError } from "../errors.ts";
import { checkGraph } from "../graph/check.ts";
import type { Graph } from "../graph/graph.ts";
import { encodeModel } from "../graph/onnx.ts";
import type { JsonDocument } from "../json.ts";
import type { FilePlan } from "../storage/file-plan.ts";
import { decodedSource } from "../tensor/decode.ts";
import { elementCount } from "../tensor/dtype.ts";
import type { TensorRef } from "../tensor/reference.ts";
import { genaiConfig } from "./genai.ts";
import { packData } from "./pack.ts";
import { nameSizes } from "./sizes.ts";
import { specialTokens } from "./special-tokens.ts";

export const MODEL_FILE = "model.onnx";
/** Bytes. What a browser can hold in one buffer. */
const DATA_FILE_LIMIT = 2_000_000_000;
/** Types that `f32` widens; every value of the 16-bit ones is an f32. */
const WIDENED: ReadonlySet<string> = new Set(["F16", "BF16"]);

export interface OnnxOptions {
  /** keep: weights as they are stored, where ONNX has the type; else f32. f32: all of them. Computed in f32 in any case. Default keep. */
  readonly dtype?: "keep" | "f32";
  /** Bytes; no data file is larger unless one tensor alone is. Default 2 GB. */
  readonly shardSize?: number;
  /** Take the source's files as data files where the model uses most of them, so that they can be linked. */
  readonly link?: boolean;
}

export interface OnnxConversion {
  readonly spec: DecoderSpec;
  /** As it will be in the file. */
  readonly graph: Graph;
  /** Data files, settings and assets. */
  readonly files: readonly FilePlan[];
  /** To be written when everything else is there. */
  readonly model: FilePlan;
  readonly notes: readonly string[];
}

/** Throws "unsupported" when the forward pass of the model is not known. Reads headers, and tensors below 1 KiB. */
export async function planOnnxConversion(checkpoint: Checkpoint, options: OnnxOptions = {}): Promise<OnnxConversion> {
  const spec = specOf(options.dtype === "f32" ? widened(checkpoint) : checkpoint);
  const { shardSize: limit = DATA_FILE_LIMIT, link = false } = options;
  const built = buildDecoder(spec, { decodedName: `${MODEL_FILE}_data` });
  const { graph, files } = await packData(built, { name: `${MODEL_FILE}_data`, limit, link });
  nameSizes(graph.model);
  checkGraph(graph);
  const { documents, notes } = settingsOf(checkpoint, spec, files.length);
  return {
    spec,
    graph,
    files: [...files, ...documents, ...assetsOf(checkpoint)],
    model: bytesFile(MODEL_FILE, encodeModel(graph.model)),
    notes,
  };
}

function specOf(checkpoint: Checkpoint): DecoderSpec {
  try {
    return readSpec(checkpoint);
  } catch (error) {
    if (!(error instanceof ExpandError) || error.tag !== "unsupported") throw error;
    const fix = "Convert a model whose forward pass is known; the README lists them.";
    throw new ExpandError("unsupported", error.message, { fix, cause: error });
  }
}

function widened(checkpoint: Checkpoint): Checkpoint {
  const wide = (ref: TensorRef): TensorRef => {
    if (!WIDENED.has(ref.dtype)) return ref;
    const bytes = 4 * (elementCount(ref.shape) ?? 0);
    return { kind: "stored", dtype: "F32", shape: ref.shape, bytes, source: decodedSource(ref), offset: 0 };
  };
  return { ...checkpoint, tensors: new Map([...checkpoint.tensors].map(([name, ref]) => [name, wide(ref)])) };
}

interface Settings {
  readonly documents: readonly FilePlan[];
  readonly notes: readonly string[];
}

/** `chunks`: how many data files there are. */
function settingsOf(checkpoint: Checkpoint, spec: DecoderSpec, chunks: number): Settings {
  const notes: string[] = [];
  const documents: FilePlan[] = [];
  if (checkpoint.config.dialect === "hf") {
    const { "config.json": config, "generation_config.json": generation } = Object.fromEntries(
      checkpoint.config.documents,
    );
    if (config !== undefined) documents.push(bytesFile("config.json", withChunks(config, chunks).text));
    if (generation !== undefined) documents.push(bytesFile("generation_config.json", generation.text));
  } else {
    notes.push("The source holds its tokenizer inside of its GGUF file; it is not converted, so add tokenizer.json.");
  }
  const genai = genaiConfig(spec, specialTokens(checkpoint), MODEL_FILE);
  if (genai === undefined) notes.push("Blocks differ in heads, which genai_config.json cannot say; it is left out.");
  else documents.push(bytesFile("genai_config.json", `${JSON.stringify(genai, null, 2)}\n`));
  return { documents, notes };
}

/** transformers.js reads from config.json how many data files belong to the model. */
function withChunks(config: JsonDocument, chunks: number): JsonDocument {
  const key = "transformers.js_config";
  const whole = config.get([key]) === undefined ? config.with([key], {}) : config;
  return whole.with([key, "use_external_data_format"], { [MODEL_FILE]: chunks });
}

function assetsOf(checkpoint: Checkpoint): readonly FilePlan[] {
  return [...checkpoint.assets].map(([name, source]) => ({
    name,
    size: source.size,
    segments: source.size === 0 ? [] : [{ kind: "copy", to: 0, length: source.size, source, from: 0 }],
  }));
}

function bytesFile(name: string, content: string | Uint8Array): FilePlan {
  const data = typeof content === "string" ? Buffer.from(content) : content;
  return { name, size: data.length, segments: data.length === 0 ? [] : [{ kind: "bytes", to: 0, data }] };
}
