// The settings file of onnxruntime-genai, as its own model builder writes it. Holds only what the model itself says.
import type { DecoderSpec } from "../decoder/spec.ts";
import type { JsonValue } from "../json.ts";
import type { SpecialTokens } from "./special-tokens.ts";

/**
 * Names that onnxruntime-genai runs as a plain decoder with these inputs and outputs (its src/models/model_type.h); everything else is
 * called "decoder" there, which is run the same way.
 */
const KNOWN: ReadonlySet<string> = new Set([
  "gemma",
  "gemma2",
  "granite",
  "llama",
  "mistral",
  "olmo",
  "phi",
  "phi3",
  "qwen2",
  "qwen3",
  "smollm3",
]);

/** Undefined when blocks differ in heads: the file has one number for all. */
export function genaiConfig(spec: DecoderSpec, tokens: SpecialTokens, model: string): JsonValue | undefined {
  const first = spec.blocks[0]?.attention;
  if (first === undefined) return undefined;
  const same = spec.blocks.every(
    ({ attention }) =>
      attention.heads === first.heads && attention.kvHeads === first.kvHeads && attention.headSize === first.headSize,
  );
  if (!same) return undefined;
  const last = typeof tokens.eos === "number" ? tokens.eos : tokens.eos?.[0];
  const pad = tokens.pad ?? last;
  return {
    model: {
      ...(tokens.bos === undefined ? {} : { bos_token_id: tokens.bos }),
      ...(spec.context === undefined ? {} : { context_length: spec.context }),
      decoder: {
        session_options: { log_id: "onnxruntime-genai", provider_options: [] },
        filename: model,
        head_size: first.headSize,
        hidden_size: spec.hidden,
        inputs: {
          input_ids: "input_ids",
          attention_mask: "attention_mask",
          position_ids: "position_ids",
          past_key_names: "past_key_values.%d.key",
          past_value_names: "past_key_values.%d.value",
        },
        outputs: {
          logits: "logits",
          present_key_names: "present.%d.key",
          present_value_names: "present.%d.value",
        },
        num_attention_heads: first.heads,
        num_hidden_layers: spec.blocks.length,
        num_key_value_heads: first.kvHeads,
      },
      ...(tokens.eos === undefined ? {} : { eos_token_id: Array.isArray(tokens.eos) ? [...tokens.eos] : tokens.eos }),
      ...(pad === undefined ? {} : { pad_token_id: pad }),
      type: KNOWN.has(spec.family) ? spec.family : "decoder",
      vocab_size: spec.vocabulary,
    } as JsonValue,
    // Greedy; caches grow with the sequence, so past and present cannot share a buffer.
    search: {
      do_sample: false,
      ...(spec.context === undefined ? {} : { max_length: spec.context }),
      num_beams: 1,
      past_present_share_buffer: false,
    },
  };
}
