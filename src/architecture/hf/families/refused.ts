// Model types that are known and cannot be expanded, each with its reason. Data only.
import type { Refused } from "../family.ts";

const POST_LN =
  "a LayerNorm stands behind every residual addition: with zeroed branches a block is LayerNorm(x), not x, so no copy can be identity";

export const refused: readonly Refused[] = [
  {
    types: [
      ...["bert", "roberta", "xlm-roberta", "xlm_roberta", "camembert", "distilbert", "electra", "ernie", "mpnet"],
      ...["deberta", "deberta-v2", "deberta_v2", "layoutlmv3", "nomic_bert", "openai-gpt", "bart", "marian"],
    ],
    reason: POST_LN,
    fix: "Choose a pre-norm model of the same kind (modernbert, eurobert, roberta-prelayernorm, mbart).",
  },
  {
    types: ["wav2vec2-conformer", "wav2vec2_conformer"],
    reason: "final_layer_norm inside each block normalises the residual stream itself",
  },
  {
    types: ["parakeet", "parakeet_ctc", "parakeet_encoder", "parakeet_tdt"],
    reason: "norm_out inside each block normalises the residual stream itself",
  },
  {
    types: ["albert"],
    reason:
      "one block is applied num_hidden_layers times, so there are no blocks to insert between, and its norms stand behind the additions",
  },
  {
    types: ["diffllama"],
    reason:
      "lambda_init = 0.8 - 0.6 * exp(-0.3 * block index) is computed in code, without a setting: every block behind an inserted one would change",
  },
  {
    types: ["minimax", "minimax_text_01"],
    reason:
      "the residual is the normalised stream times alpha, and the decay of lightning attention follows the block index and count in code",
  },
  {
    types: ["bailing_moe_linear"],
    reason: "which blocks use linear attention, and its decay, follow the block index and count in code",
  },
  {
    types: ["gemma3n", "gemma3n_text"],
    reason:
      "AltUp mixes four streams in every block and the Laurel branch scales the stream by 1/sqrt(2): zeroed branches do not give back x",
    fix: "Choose Gemma 2 or Gemma 3, which can be expanded.",
  },
  {
    types: ["deepseek_v4"],
    reason:
      "hyper-connections mix several copies of the stream with a learned matrix that cannot be set to identity exactly",
  },
  {
    types: ["zaya"],
    reason:
      "every block scales and shifts the stream with learned vectors, and router state passes from block to block",
  },
  {
    types: ["zamba"],
    reason: "one shared transformer block is used at several places and tied by block index",
    fix: "Choose zamba2, whose plain mamba blocks can be copied.",
  },
  {
    types: ["hrm_text"],
    reason: "its blocks are applied in recurrent cycles, and num_hidden_layers counts applications, not blocks",
  },
  {
    types: ["afm7"],
    reason: "the last blocks reuse keys and values of an earlier block by a count (num_kv_reuse_layers)",
  },
  {
    types: ["inkling"],
    reason:
      "its recurrent states, hybrid blocks and per-block lists have not been analysed, and guessing could change what it computes",
  },
];
