// Models whose text stack is another record. Data only.
import type { Axis } from "../axis.ts";
import type { Wrapper } from "../family.ts";

const LANGUAGE_MODEL = ["language_model.model.", "model.language_model."];
const HEADS = ["language_model.", ""];
const VISION = "{model.,}{vision_tower,multi_modal_projector}.**";

/** Text inside `language_model.`, a vision tower and a projector. */
const llavaLike = (name: string, more: Partial<Wrapper> = {}): Wrapper => ({
  name,
  text: "text_config",
  bases: LANGUAGE_MODEL,
  heads: HEADS,
  outside: `${VISION} {model.,}image_newline?`,
  ...more,
});

/** Qwen's visual features are added behind the first text blocks, by index in code. */
const deepstack: Axis = {
  name: "deepstack",
  sources: [{ from: "leading", field: "vision_config.deepstack_visual_indexes", default: 3, hit: "deepstack" }],
};

const qwenVl = (name: string, family: string, axes: readonly Axis[] = []): Wrapper => ({
  name,
  text: "text_config",
  family,
  bases: ["model.", "model.language_model."],
  heads: [""],
  outside: "{model.,}visual.**",
  axes,
  ...(axes.length === 0
    ? {}
    : { notes: ["Visual features enter behind the first text blocks: test with an image too."] }),
});

export const wrappers: readonly Wrapper[] = [
  llavaLike("llava"),
  llavaLike("llava_next"),
  llavaLike("llava_onevision"),
  llavaLike("paligemma"),
  llavaLike("internvl"),
  llavaLike("mistral3"),
  llavaLike("gemma3", { family: "gemma3_text", bases: [...LANGUAGE_MODEL, "model."] }),
  llavaLike("gemma4", {
    family: "gemma4_text",
    outside: `${VISION} {model.,}{audio_tower,embed_audio,embed_vision}.**`,
  }),
  llavaLike("llama4", { family: "llama4_text", outside: `${VISION} {model.,}vision_model.**` }),
  llavaLike("mllama", {
    family: "mllama_text_model",
    notes: ["Cross-attention blocks run with an image only: test with one."],
    outside: `${VISION} {model.,}vision_model.**`,
  }),
  llavaLike("minimax_m3_vl", {
    family: "minimax_m3_vl_text",
    outside: `${VISION} {model.,}patch_merge_mlp.**`,
  }),
  llavaLike("kimi_k25", {
    family: "deepseek_v3",
    outside: `${VISION} {model.,}mm_projector.**`,
  }),
  llavaLike("idefics3", { bases: ["model.text_model."], outside: "model.{vision_model,connector}.**" }),
  llavaLike("smolvlm", { bases: ["model.text_model."], outside: "model.{vision_model,connector}.**" }),
  llavaLike("step3p7", {
    family: "step3p5",
    bases: ["model.", "model.language_model."],
    outside: "{model.,}{vision_model,vit_large_projector}.**",
  }),
  qwenVl("qwen2_vl", "qwen2"),
  qwenVl("qwen2_5_vl", "qwen2"),
  qwenVl("qwen3_vl", "qwen3", [deepstack]),
  qwenVl("qwen3_vl_moe", "qwen3_moe", [deepstack]),
  qwenVl("qwen3_5", "qwen3_5_text"),
  qwenVl("qwen3_5_moe", "qwen3_5_moe_text"),
];
