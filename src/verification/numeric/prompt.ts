// A text as token ids, by the checkpoint's own tokenizer. Adds no special tokens.
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { tokenizerAmong } from "../../corpus/tokenizer.ts";
import { ExpandError } from "../../errors.ts";

/** Throws "usage" when the checkpoint has no tokenizer.json, or one that is not read here. */
export async function promptIds(checkpoint: Checkpoint, text: string): Promise<readonly number[]> {
  try {
    return (await tokenizerAmong(checkpoint.assets, "BEFORE")).encode(text);
  } catch (error) {
    if (!(error instanceof ExpandError)) throw error;
    throw new ExpandError("usage", `--prompt cannot be tokenized: ${error.message}`, {
      fix: "Tokenize the text yourself and pass --token-ids.",
      cause: error,
    });
  }
}
