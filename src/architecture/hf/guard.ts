// Stops at settings that look as if they counted blocks, when no rule covers them. Names what it found; never guesses what it means.
import { ExpandError } from "../../errors.ts";
import type { JsonDocument, JsonValue } from "../../json.ts";
import { escaped } from "./names.ts";
import { CONFIG, isList, isObject } from "./settings.ts";

export interface GuardContext {
  readonly count: number;
  /** Paths in config.json and other documents ("generation_config.json:alignment_heads") that a rule covers. */
  readonly covered: ReadonlySet<string>;
  /** Objects of config.json that hold this stack's settings. */
  readonly scopes: readonly string[];
  /** Text in front of a block's index: "model.layers.". */
  readonly blockPrefixes: readonly string[];
}

/** Settings that hold lists or numbers for other reasons. Last key of a path. */
const HARMLESS: ReadonlySet<string> = new Set([
  ...[
    "architectures",
    "auto_map",
    "id2label",
    "label2id",
    "rope_scaling",
    "rope_parameters",
    "rope_ratio",
    "torch_dtype",
  ],
  ...["mrope_section", "image_size", "patch_size", "image_grid_pinpoints", "image_mean", "image_std", "crop_size"],
  ...["attention_bias", "task_specific_params", "problem_type", "languages", "lang_to_id", "task_to_id", "prefix"],
  ...["conv_dim", "conv_stride", "conv_kernel", "tdnn_dim", "tdnn_dilation", "tdnn_kernel", "kernel_sizes"],
  ...["time_step_limit", "time_step_range", "depths", "num_heads", "window_size", "pretrained_window_sizes"],
  ...["out_features", "stage_names", "out_indices", "pool_scales", "classifier_activations", "pruned_heads"],
  ...[
    "max_length",
    "no_speech_threshold",
    "logprob_threshold",
    "embd_pdrop",
    "suppress_tokens",
    "begin_suppress_tokens",
  ],
]);
const HARMLESS_NAME = /(?:^|_)(?:tokens?|token_ids?|token_index|ids|token_indices|dropout|pdrop)$/;
/** Owned by the quantization next door, or written for people. */
const SKIPPED: ReadonlySet<string> = new Set(["quantization_config", "compression_config", "expand_checkpoint"]);
const COUNT_NAME =
  /^(?:num_hidden_layers|n_layers?|num_layers|num_blocks|n_blocks|num_decoder_layers|num_transformer_layers)$/;

export function guardSettings(documents: ReadonlyMap<string, JsonDocument>, context: GuardContext): void {
  for (const [name, document] of documents) {
    if (name === "hf_quant_config.json") continue;
    visit(document.value, [], name, context);
  }
}

function visit(value: JsonValue, path: readonly string[], document: string, context: GuardContext): void {
  const key = path.at(-1) ?? "";
  const full = path.join(".");
  if (SKIPPED.has(key) || context.covered.has(document === CONFIG ? full : `${document}:${full}`)) return;
  const own = document !== CONFIG || belongs(full, context.scopes);
  const reason = suspicion(key, value, own, context);
  if (reason !== undefined) {
    throw new ExpandError("unsupported", `${full} ${reason}, and no rule of this record covers it`, {
      at: document,
      fix: `Report the model, or remove ${full} if nothing reads it.`,
    });
  }
  if (HARMLESS.has(key) || HARMLESS_NAME.test(key)) return;
  if (isObject(value))
    for (const [name, part] of Object.entries(value)) visit(part, [...path, name], document, context);
  if (isList(value)) for (const part of value) if (typeof part === "string") visit(part, path, document, context);
}

/** False for the settings of another stack (vision_config, audio_config): its lists count other blocks. */
function belongs(path: string, scopes: readonly string[]): boolean {
  const top = path.split(".")[0] ?? "";
  if (!/(?:_config|^encoder|^decoder)$/.test(top) || path === top) return true;
  return scopes.some((scope) => scope !== "" && (path === scope || path.startsWith(`${scope}.`)));
}

function suspicion(key: string, value: JsonValue, own: boolean, context: GuardContext): string | undefined {
  const named = typeof value === "string" ? blockIn(value, context) : undefined;
  if (named !== undefined) return `names a block (${JSON.stringify(named)})`;
  if (!own || HARMLESS.has(key) || HARMLESS_NAME.test(key)) return undefined;
  if (isList(value)) return listSuspicion(value, context.count);
  if (isObject(value)) {
    const named = Object.keys(value).find((name) => blockIn(name, context) !== undefined);
    if (named !== undefined) return `has a key that names a block (${JSON.stringify(named)})`;
    return indexKeys(value, context.count) ? "is keyed by block indices" : undefined;
  }
  if (COUNT_NAME.test(key) && value === context.count) return `is ${context.count}, the number of blocks`;
  return undefined;
}

function listSuspicion(value: readonly JsonValue[], count: number): string | undefined {
  if (value.length > 1 && value.length === count) return `has ${count} entries, one per block`;
  const numbers = value.filter((item): item is number => typeof item === "number" && Number.isInteger(item));
  if (numbers.length === 0 || numbers.length !== value.length) return undefined;
  const rising = numbers.every((item, at) => at === 0 || item > (numbers[at - 1] ?? 0));
  const inside = numbers.every((item) => item >= 0 && item <= count);
  return rising && inside ? `[${numbers.join(", ")}] looks like block indices` : undefined;
}

function indexKeys(value: Readonly<Record<string, JsonValue>>, count: number): boolean {
  const keys = Object.keys(value);
  return keys.length > 0 && keys.every((key) => /^[0-9]+$/.test(key) && Number(key) < count);
}

function blockIn(text: string, context: GuardContext): string | undefined {
  return context.blockPrefixes
    .filter((prefix) => prefix !== "")
    .map((prefix) => new RegExp(`(?:^|[^A-Za-z0-9_])${escaped(prefix)}[0-9]+`).exec(text)?.[0])
    .find((found) => found !== undefined);
}
