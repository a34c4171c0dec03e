// Finds where a checkpoint says how it is quantized, and by which method. Reads settings only; never looks at weights.
import type { Checkpoint } from "../../../checkpoint/checkpoint.ts";
import { ExpandError } from "../../../errors.ts";
import type { JsonObject, JsonValue } from "../../../json.ts";
import { FORMS, REFUSED } from "./forms.ts";

/** One object of quantization settings. */
export interface QuantizationSettings {
  readonly document: string;
  /** Keys from the top of the document to the object; empty when the document is the object. */
  readonly path: readonly string[];
  readonly value: JsonObject;
  readonly method: string;
}

interface Place {
  readonly document: string;
  readonly path: readonly string[];
  /** The method when the object does not name one. */
  readonly fallback?: string;
}

/** transformers 5.23 reads config.json only; the other files are older or other tools' ways to say the same. */
const PLACES: readonly Place[] = [
  { document: "config.json", path: ["quantization_config"] },
  { document: "config.json", path: ["compression_config"], fallback: "compressed-tensors" },
  { document: "config.json", path: ["text_config", "quantization_config"] },
  { document: "config.json", path: ["text_config", "compression_config"], fallback: "compressed-tensors" },
  { document: "hf_quant_config.json", path: ["quantization"], fallback: "modelopt" },
  { document: "quantize_config.json", path: [], fallback: "gptq" },
  { document: "quant_config.json", path: [], fallback: "awq" },
];

/** Every object of quantization settings, all of one method; empty when the checkpoint is not quantized. Throws "unsupported". */
export function findSettings(checkpoint: Checkpoint): readonly QuantizationSettings[] {
  if (checkpoint.config.dialect !== "hf") return [];
  const { documents } = checkpoint.config;
  const found: QuantizationSettings[] = [];
  for (const place of PLACES) {
    const value = documents.get(place.document)?.get(place.path);
    if (value === undefined || value === null) continue;
    found.push({ ...place, value: objectAt(value, place), method: methodOf(objectAt(value, place), place) });
  }
  const [first] = found;
  const other = found.find((settings) => settings.method !== first?.method);
  if (first !== undefined && other !== undefined) {
    throw new ExpandError(
      "unsupported",
      `names the quantization "${other.method}", but ${first.document} names "${first.method}"`,
      { at: other.document, fix: "Remove the settings that do not describe the weights." },
    );
  }
  for (const settings of found) checkVariant(settings);
  return found;
}

function objectAt(value: JsonValue, place: Place): JsonObject {
  if (value !== null && typeof value === "object" && !Array.isArray(value)) return value as JsonObject;
  throw new ExpandError("damaged", `expected an object at ${place.path.join(".")}, found ${JSON.stringify(value)}`, {
    at: place.document,
  });
}

function methodOf(value: JsonObject, place: Place): string {
  const named = value.quant_method;
  if (typeof named === "string" && named !== "") return ALIASES[named.toLowerCase()] ?? named.toLowerCase();
  if (value.load_in_4bit === true || value.load_in_8bit === true) return "bitsandbytes";
  if (place.fallback !== undefined) return place.fallback;
  throw new ExpandError("unsupported", `has a ${place.path.join(".")} without a quant_method`, {
    at: place.document,
    fix: "Add the quant_method that the weights were made with.",
  });
}

/** Spellings seen in published files. */
const ALIASES: Readonly<Record<string, string>> = {
  bitsandbytes_4bit: "bitsandbytes",
  bitsandbytes_8bit: "bitsandbytes",
  "intel/auto-round": "auto-round",
  autoround: "auto-round",
  auto_round: "auto-round",
  compressed_tensors: "compressed-tensors",
  modelopt_fp4: "modelopt",
  modelopt_mixed: "modelopt",
};

/** Keys whose value decides how the bytes are laid out, with the values that FORMS describes. Compared in lower case; absent is fine. */
const VARIANTS: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  gptq: { checkpoint_format: ["gptq", "gptq_v2"] },
  awq: { version: ["gemm", "gemv", "exllama", "ipex"] },
  "auto-round": {
    packing_format: ["auto_gptq", "auto_round:auto_gptq", "auto_round:gptq"],
    backend: ["auto", "auto_gptq", "auto_round:auto_gptq", "auto_round:gptq"],
  },
  "compressed-tensors": {
    format: [
      ...["dense", "float-quantized", "naive-quantized", "int-quantized", "pack-quantized"],
      ...["nvfp4-pack-quantized", "mxfp4-pack-quantized", "mxfp6-pack-quantized"],
      ...["mxfp8-quantized", "mixed-precision"],
    ],
    "sparsity_config.format": ["dense"],
  },
  modelopt: { quant_algo: ["fp8", "nvfp4", "fp8_pb_wo", "fp8_per_channel_per_token", "mixed_precision"] },
};

function checkVariant(settings: QuantizationSettings): void {
  const { document, method, value } = settings;
  if (FORMS[method] === undefined) throw refusal(document, method, REFUSED[method]);
  for (const [key, allowed] of Object.entries(VARIANTS[method] ?? {})) {
    const found = key.split(".").reduce<JsonValue | undefined>(member, value);
    if (found === undefined || found === null) continue;
    if (typeof found === "string" && allowed.includes(found.toLowerCase())) continue;
    throw refusal(document, method, `${key} ${JSON.stringify(found)}`);
  }
  if (method === "auto-round" && value.packing_format === undefined && value.backend === undefined) {
    throw refusal(document, method, "no packing_format");
  }
}

function member(value: JsonValue | undefined, key: string): JsonValue | undefined {
  return value !== null && typeof value === "object" && !Array.isArray(value) ? (value as JsonObject)[key] : undefined;
}

function refusal(document: string, method: string, what: string | undefined): ExpandError {
  if (what === undefined) {
    return new ExpandError("unsupported", `expected a known quant_method, found "${method}"`, {
      at: document,
      fix: "Expand the checkpoint it was quantized from, then quantize the result.",
    });
  }
  return new ExpandError(
    "unsupported",
    `the weights are quantized with ${method} (${what}), which has no exact zero here`,
    {
      at: document,
      fix: "Expand the checkpoint it was quantized from, then quantize the result.",
    },
  );
}
