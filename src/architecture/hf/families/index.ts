// Every record. Grouped by file for people only; order does not matter.
import type { Family, Refused, Wrapper } from "../family.ts";
import { deepseeks } from "./deepseek.ts";
import { encoders } from "./encoders.ts";
import { normed } from "./gemma.ts";
import { gpts } from "./gpt.ts";
import { hybrids } from "./hybrid.ts";
import { linears } from "./linear.ts";
import { llamas } from "./llama.ts";
import { moes } from "./moe.ts";
import { textStacks } from "./multimodal.ts";
import { refused } from "./refused.ts";
import { remotes } from "./remote.ts";
import { seq2seqs } from "./seq2seq.ts";
import { visions } from "./vision.ts";
import { wrappers } from "./wrappers.ts";

export const FAMILIES: {
  readonly families: readonly Family[];
  readonly wrappers: readonly Wrapper[];
  readonly refused: readonly Refused[];
} = {
  families: [
    ...llamas,
    ...normed,
    ...gpts,
    ...moes,
    ...deepseeks,
    ...hybrids,
    ...linears,
    ...textStacks,
    ...seq2seqs,
    ...encoders,
    ...visions,
    ...remotes,
  ],
  wrappers,
  refused,
};
