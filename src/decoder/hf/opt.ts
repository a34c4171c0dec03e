// Reader of OPT: learned positions from row 2 on, and a narrower embedding in some. Refuses OPT-350M, whose norms come after the sum.
import type { Activation, BlockSpec, DecoderSpec, Embedding, Head, Norm } from "../spec.ts";
import type { Weights } from "../weights.ts";
import { skip } from "./names.ts";
import { ACTIVATIONS, type Heads, headOf, plainAttention, plainEmbedding, readHeads } from "./parts.ts";
import { blocksOf, plainMlp, sequentialBlock } from "./plain.ts";
import type { HfReaders } from "./reader.ts";
import type { Settings } from "./settings.ts";

/** Rows of the table before position 0. */
const OFFSET = 2;

interface Frame extends Heads {
  readonly inner: number;
  readonly activation: Activation;
  readonly bias: boolean;
  /** Norms have gains and biases. */
  readonly affine: boolean;
}

function readOpt(settings: Settings, weights: Weights): DecoderSpec {
  const frame: Frame = {
    ...readHeads(settings),
    inner: settings.count("ffn_dim"),
    activation: settings.choice("activation_function", ACTIVATIONS, "relu"),
    bias: settings.flag("enable_bias", true),
    affine: settings.flag("layer_norm_elementwise_affine", true),
  };
  settings.only("do_layer_norm_before", true);
  settings.only("learned_embeddings", true);
  // Leaves out blocks while training.
  skip(settings, ["layerdrop"]);
  const bare = settings.flag("_remove_final_layer_norm", false);
  const context = settings.count("max_position_embeddings", 2048);
  const root = weights.root("model.").under("decoder.");
  const embedding = readEmbedding(settings, root, frame.hidden, context);
  return {
    family: "opt",
    hidden: frame.hidden,
    vocabulary: settings.count("vocab_size"),
    context,
    embedding,
    blocks: blocksOf(root, "layers.", settings.count("num_hidden_layers"), (own) => optBlock(own, frame)),
    ...(bare ? {} : { finalNorm: optNorm(root, "final_layer_norm", frame) }),
    head: readHead(settings, weights, root, frame.hidden, embedding),
  };
}

function readEmbedding(settings: Settings, root: Weights, hidden: number, context: number): Embedding {
  const width = settings.optionalCount("word_embed_proj_dim") ?? hidden;
  return {
    ...plainEmbedding(root, "embed_tokens", settings.count("vocab_size"), width),
    ...(width === hidden ? {} : { projection: root.linear("project_in", width, hidden, false) }),
    positions: { weight: root.get("embed_positions.weight", [context + OFFSET, hidden]), offset: OFFSET },
  };
}

function readHead(settings: Settings, weights: Weights, root: Weights, hidden: number, embedding: Embedding): Head {
  const [, width = hidden] = embedding.weight.tensor.shape;
  const head = headOf(settings, weights, "lm_head", embedding, true);
  return width === hidden ? head : { ...head, projection: root.linear("project_out", hidden, width, false) };
}

function optNorm(weights: Weights, name: string, { hidden, affine }: Frame): Norm {
  // nn.LayerNorm's own epsilon: OPT has no setting for it.
  return affine ? weights.layer(name, hidden, 1e-5, true) : { kind: "layer", epsilon: 1e-5, gainOffset: 0 };
}

function optBlock(weights: Weights, frame: Frame): BlockSpec {
  const { bias } = frame;
  const own = weights.under("self_attn.");
  return sequentialBlock(
    {
      attention: optNorm(weights, "self_attn_layer_norm", frame),
      mlp: optNorm(weights, "final_layer_norm", frame),
    },
    {
      attention: plainAttention(own, frame, { qkv: bias, output: bias }, "out_proj"),
      mlp: plainMlp(weights, { up: "fc1", down: "fc2" }, frame, frame.activation, bias),
    },
  );
}

export const OPT_READERS: HfReaders = { opt: readOpt };
