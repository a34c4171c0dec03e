// A whole model, unread: names, shapes, where the bytes are, settings and other files. Immutable.
import type { Graph } from "../graph/graph.ts";
import type { Repository } from "../hub/repository.ts";
import type { JsonDocument, JsonObject } from "../json.ts";
import type { TensorRef } from "../tensor/reference.ts";
import type { ByteSource } from "../tensor/source.ts";
import type { GgufMetadata } from "./gguf-metadata.ts";

export type Format = "safetensors" | "torch" | "gguf" | "onnx";
export type Dialect = "hf" | "gguf" | "onnx";

/** One file that holds tensors. */
export interface Shard {
  /** File name inside the checkpoint. */
  readonly name: string;
  readonly source: ByteSource;
  /** Offset of the first tensor's data, in bytes. */
  readonly dataStart: number;
  /** Tensors in the order of their data. */
  readonly tensors: readonly string[];
  /** safetensors `__metadata__`, in file order. */
  readonly metadata?: ReadonlyMap<string, string>;
}

export type Config =
  | {
      readonly dialect: "hf";
      /** config.json and the other JSON files that may name blocks (generation_config.json, hf_quant_config.json), by file name. */
      readonly documents: ReadonlyMap<string, JsonDocument>;
    }
  | { readonly dialect: "gguf"; readonly metadata: GgufMetadata }
  | {
      readonly dialect: "onnx";
      /** config.json, genai_config.json and generation_config.json, by file name: each may be absent. */
      readonly documents: ReadonlyMap<string, JsonDocument>;
    };

export interface Checkpoint {
  readonly format: Format;
  /** The path or the address that was opened, as given. */
  readonly location: string;
  readonly config: Config;
  /** In the order of the shards and of the data inside them. Of ONNX: the initializers of the main graph, in their order, strings left out. */
  readonly tensors: ReadonlyMap<string, TensorRef>;
  /** Of ONNX: the model file first (its name may be below a directory: onnx/model.onnx), then its external data files. */
  readonly shards: readonly Shard[];
  /** Only of ONNX. */
  readonly graph?: Graph;
  /** Top-level `metadata` of the index file of a sharded HF checkpoint, as stored. */
  readonly index?: JsonObject;
  /** Tokenizer, templates, licence, code: copied byte for byte, by path relative to the checkpoint. Holds no weights of blocks and no settings. */
  readonly assets: ReadonlyMap<string, ByteSource>;
  /** Weights that stand beside those that were opened and are not read: another form of the model, or an adapter. By path, as in `assets`. */
  readonly leftOut?: readonly string[];
  /** Where it is read from, when it is on the Hub. */
  readonly repository?: Repository;
}
