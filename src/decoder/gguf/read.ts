// A GGUF model to the spec of what llama.cpp v0.5.0 computes with it. Refuses every key and tensor that it has no place for.
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { type GgufMetadata, ggufString } from "../../checkpoint/gguf-metadata.ts";
import { ExpandError } from "../../errors.ts";
import type { BlockSpec, DecoderSpec, Embedding, Head } from "../spec.ts";
import { Weights } from "../weights.ts";
import { readAttention } from "./attention.ts";
import { GGUF_FAMILIES } from "./families.ts";
import type { GgufFamily, Norms } from "./family.ts";
import { type GgufModel, readModel } from "./model.ts";
import { readMlp, streamNorm, takes } from "./parts.ts";
import { type Ropes, readRopes } from "./rope.ts";
import { GgufSettings } from "./settings.ts";

const FIX = "Use verify --mode structure, or train --export: both do without a forward pass.";
const PRE_NORM: Norms = { attention: "attn_norm", mlp: "ffn_norm" };

/** Throws "unsupported" naming the architecture, the key or the tensor that is not understood; "damaged" for missing ones. */
export function readGguf(checkpoint: Checkpoint, metadata: GgufMetadata): DecoderSpec {
  const entry = metadata.entries.get("general.architecture");
  const name = entry === undefined ? "" : ggufString(entry);
  const family = Object.hasOwn(GGUF_FAMILIES, name) ? GGUF_FAMILIES[name] : undefined;
  if (family === undefined) {
    const message = `no forward pass is known for the GGUF architecture "${name}"`;
    throw new ExpandError("unsupported", message, { at: checkpoint.location, fix: FIX });
  }
  if (metadata.bigEndian) {
    throw new ExpandError("unsupported", "weights in big-endian order cannot be computed with", {
      at: checkpoint.location,
      fix: "Convert the file to little-endian with gguf_convert_endian.py of llama.cpp.",
    });
  }
  const settings = new GgufSettings(metadata, name);
  const weights = new Weights(checkpoint.tensors);
  const spec = build(settings, weights, family);
  settings.finish();
  weights.finish(name);
  return spec;
}

function build(settings: GgufSettings, weights: Weights, family: GgufFamily): DecoderSpec {
  const model = readModel(settings, family);
  const rule = family.attention.rope;
  const ropes = rule === undefined ? undefined : readRopes(settings, weights, rule, model);
  const embedding = readEmbedding(settings, weights, model, family);
  const blocks = Array.from({ length: model.blocks }, (_, index) =>
    readBlock(settings, weights.under(`blk.${index}.`), model, family, ropes, index),
  );
  // Blocks that predict further tokens come last and take no part in the next one.
  for (let index = model.blocks; index < model.stored; index++) weights.ignore(new RegExp(`^blk\\.${index}\\.`));
  return {
    family: settings.family,
    hidden: model.hidden,
    vocabulary: embedding.weight.tensor.shape[0] ?? 0,
    context: model.context,
    embedding,
    blocks,
    finalNorm: streamNorm(weights, "output_norm", model, family),
    head: readHead(settings, weights, embedding, family),
  };
}

function readEmbedding(settings: GgufSettings, weights: Weights, model: GgufModel, family: GgufFamily): Embedding {
  const { hidden, context } = model;
  const rule = family.embedding ?? {};
  const vocabulary = weights.find("token_embd.weight")?.shape[0] ?? 0;
  const root = rule.scaled === true ? Math.fround(Math.sqrt(hidden)) : 1;
  const scale = (family.multipliers === true && settings.number("embedding_scale", 0)) || root;
  return {
    weight: weights.get("token_embd.weight", [vocabulary, hidden]),
    scale,
    ...(takes(weights, "position_embd.weight", rule.positions)
      ? { positions: { weight: weights.get("position_embd.weight", [context, hidden]), offset: 0 } }
      : {}),
    ...(rule.norm === true ? { norm: streamNorm(weights, "token_embd_norm", model, family) } : {}),
  };
}

function readHead(settings: GgufSettings, weights: Weights, embedding: Embedding, { head = {} }: GgufFamily): Head {
  const { shape } = embedding.weight.tensor;
  const { weight = "optional", bias, scale, softcap } = head;
  const own = weight !== "never" && takes(weights, "output.weight", weight);
  const stored = scale === undefined ? 0 : settings.number("logit_scale", scale.key === "optional" ? 0 : undefined);
  const cap = softcap === undefined ? 0 : settings.number("final_logit_softcapping", softcap);
  const factor = scale?.divides === true ? 1 / stored : stored || 1;
  return {
    weight: own ? weights.get("output.weight", shape) : embedding.weight,
    ...(takes(weights, "output.bias", bias) ? { bias: weights.get("output.bias", [shape[0] ?? 0]) } : {}),
    scale: factor,
    ...(cap === 0 ? {} : { softcap: cap }),
  };
}

function readBlock(
  settings: GgufSettings,
  weights: Weights,
  model: GgufModel,
  family: GgufFamily,
  ropes: Ropes | undefined,
  index: number,
): BlockSpec {
  const names = normsOf(weights, family);
  const norm = (name: string | undefined) =>
    name === undefined ? undefined : streamNorm(weights, name, model, family);
  const [attentionNorm, mlpNorm] = [norm(names.attention), norm(names.mlp)];
  const [attentionOutputNorm, mlpOutputNorm] = [norm(names.attentionOutput), norm(names.mlpOutput)];
  return {
    residual: residualOf(settings, family, names),
    residualMultiplier: model.residualMultiplier,
    attention: readAttention(settings, weights, model, family, ropes, index),
    mlp: readMlp(settings, weights, model, family, index),
    ...(attentionNorm === undefined ? {} : { attentionNorm }),
    ...(mlpNorm === undefined ? {} : { mlpNorm }),
    ...(attentionOutputNorm === undefined ? {} : { attentionOutputNorm }),
    ...(mlpOutputNorm === undefined ? {} : { mlpOutputNorm }),
  };
}

function normsOf(weights: Weights, { norms = PRE_NORM }: GgufFamily): Norms {
  if (norms === "stablelm") return weights.has("ffn_norm.weight") ? PRE_NORM : { attention: "attn_norm" };
  // The second norm is attention's: the network reads attn_norm either way.
  if (norms !== "falcon") return norms;
  return weights.has("attn_norm_2.weight")
    ? { attention: "attn_norm_2", mlp: "attn_norm" }
    : { attention: "attn_norm" };
}

function residualOf(settings: GgufSettings, { residual }: GgufFamily, names: Norms): BlockSpec["residual"] {
  if (residual === "key") return settings.flag("use_parallel_residual") ? "parallel" : "sequential";
  if (residual === "shared norm") return names.mlp === undefined ? "parallel" : "sequential";
  return residual ?? "sequential";
}
