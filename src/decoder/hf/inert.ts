// Settings of config.json that no forward pass reads. A setting that is neither read by a reader nor listed here stops the run.

/** Names as saved by transformers, and by tools that people save checkpoints with. */
const INERT: ReadonlySet<string> = new Set([
  "model_type",
  "architectures",
  "auto_map",
  "dtype",
  "torch_dtype",
  "transformers_version",
  "initializer_range",
  "initializer_factor",
  "use_cache",
  "cache_implementation",
  "pretraining_tp",
  "return_dict",
  "return_dict_in_generate",
  "chunk_size_feed_forward",
  "problem_type",
  "finetuning_task",
  "id2label",
  "label2id",
  "num_labels",
  "task_specific_params",
  "prefix",
  "tokenizer_class",
  "is_decoder",
  "ddp_find_unused_parameters",
  "min_length",
  "max_length",
  "max_new_tokens",
  "temperature",
  "top_k",
  "top_p",
  "typical_p",
  "do_sample",
  "num_beams",
  "num_beam_groups",
  "num_return_sequences",
  "early_stopping",
  "length_penalty",
  "repetition_penalty",
  "no_repeat_ngram_size",
  "encoder_no_repeat_ngram_size",
  "diversity_penalty",
  "bad_words_ids",
  "begin_suppress_tokens",
  "suppress_tokens",
  "exponential_decay_length_penalty",
  "remove_invalid_values",
  "tokenizer_model_max_length",
  "model_max_length",
  "max_sequence_length",
  "seq_length",
  "neftune_noise_alpha",
  "tie_encoder_decoder",
  "use_return_dict",
  "n_ctx",
  "attn_implementation",
  "_attn_implementation",
  "router_aux_loss_coef",
  "output_router_logits",
  "router_jitter_noise",
  "output_hidden_states",
  "output_attentions",
  "transformers.js_config",
  "is_llama_config",
  "gradient_checkpointing",
]);

/** Token numbers, dropout (training only), notes that tools leave. */
const INERT_PATTERN = /^_|_token_ids?$|dropout|_pdrop$|_version$|^summary_|^unsloth|^init_/;

/** True for settings that cannot change what the model computes, by name or because they are empty. */
export function isInert(name: string, value: unknown): boolean {
  if (value === null || value === false) return true;
  if (typeof value === "object" && Object.keys(value).length === 0) return true;
  return INERT.has(name) || INERT_PATTERN.test(name);
}
