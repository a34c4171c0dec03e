// Every record. Grouped by file for people only; order does not matter.
import type { Family, Refused, Wrapper } from "../family.ts";
import { gemmas } from "./gemma.ts";
import { gpts } from "./gpt.ts";
import { llamas } from "./llama.ts";
import { moes } from "./moe.ts";

export const FAMILIES: {
  readonly families: readonly Family[];
  readonly wrappers: readonly Wrapper[];
  readonly refused: readonly Refused[];
} = {
  families: [...llamas, ...gemmas, ...gpts, ...moes],
  wrappers: [],
  refused: [],
};
