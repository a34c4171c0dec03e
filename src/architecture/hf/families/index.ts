// Every record. Grouped by file for people only; order does not matter.
import type { Family, Refused, Wrapper } from "../family.ts";
import { normed } from "./gemma.ts";
import { gpts } from "./gpt.ts";
import { hybrids } from "./hybrid.ts";
import { llamas } from "./llama.ts";
import { moes } from "./moe.ts";
import { remotes } from "./remote.ts";

export const FAMILIES: {
  readonly families: readonly Family[];
  readonly wrappers: readonly Wrapper[];
  readonly refused: readonly Refused[];
} = {
  families: [...llamas, ...normed, ...gpts, ...moes, ...hybrids, ...remotes],
  wrappers: [],
  refused: [],
};
