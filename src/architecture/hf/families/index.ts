// Every record. Grouped by file for people only; order does not matter.
import type { Family, Refused, Wrapper } from "../family.ts";
import { encoders } from "./encoders.ts";
import { normed } from "./gemma.ts";
import { gpts } from "./gpt.ts";
import { hybrids } from "./hybrid.ts";
import { llamas } from "./llama.ts";
import { moes } from "./moe.ts";
import { textStacks, wrappers } from "./multimodal.ts";
import { refused } from "./refused.ts";
import { remotes } from "./remote.ts";
import { seq2seqs } from "./seq2seq.ts";

export const FAMILIES: {
  readonly families: readonly Family[];
  readonly wrappers: readonly Wrapper[];
  readonly refused: readonly Refused[];
} = {
  families: [...llamas, ...normed, ...gpts, ...moes, ...hybrids, ...textStacks, ...seq2seqs, ...encoders, ...remotes],
  wrappers,
  refused,
};
