// The tokenizer of a checkpoint: its own, or the one that the user names. Guesses none.
import fs from "node:fs";
import path from "node:path";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { type Tokenizer, tokenizerAmong, tokenizerWithin } from "../corpus/tokenizer.ts";
import { ExpandError } from "../errors.ts";
import { type ByteSource, fileSource } from "../tensor/source.ts";
import { modelLimits } from "./model-limits.ts";

const FILE = "tokenizer.json";
const CONFIG = "tokenizer_config.json";

/** `given`: a tokenizer.json, or a directory that holds one. Throws "usage" where there is none, or one of another model. */
export async function tokenizerOf(checkpoint: Checkpoint, given: string | undefined): Promise<Tokenizer> {
  const assets = given === undefined ? checkpoint.assets : filesAt(given);
  const tokenizer = await tokenizerAmong(assets, checkpoint.location);
  const { vocabulary } = modelLimits(checkpoint);
  return vocabulary === undefined ? tokenizer : tokenizerWithin(tokenizer, vocabulary, checkpoint.location);
}

function filesAt(given: string): ReadonlyMap<string, ByteSource> {
  const isFolder = fs.statSync(given, { throwIfNoEntry: false })?.isDirectory() === true;
  const file = isFolder ? path.join(given, FILE) : given;
  if (!fs.existsSync(file))
    throw new ExpandError("usage", "does not exist", {
      at: file,
      fix: `Pass --tokenizer FILE, the ${FILE} of the model.`,
    });
  const config = path.join(path.dirname(file), CONFIG);
  const files = new Map([[FILE, fileSource(file)]]);
  return fs.existsSync(config) ? files.set(CONFIG, fileSource(config)) : files;
}
