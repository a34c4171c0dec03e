// The tokenizer of a checkpoint: its own, or the one that the user names. Guesses none.
import fs from "node:fs";
import path from "node:path";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { openTokenizer, type Tokenizer } from "../corpus/tokenizer.ts";
import { ExpandError } from "../errors.ts";
import { type ByteSource, fileSource } from "../tensor/source.ts";

const FILE = "tokenizer.json";
const CONFIG = "tokenizer_config.json";
const FIX = "Pass --tokenizer FILE, the tokenizer.json of the model.";

/** `given`: a tokenizer.json, or a directory that holds one. Throws "usage" where there is none. */
export async function tokenizerOf(checkpoint: Checkpoint, given: string | undefined): Promise<Tokenizer> {
  const file = given === undefined ? undefined : fileOf(given);
  const tokenizer = file === undefined ? checkpoint.assets.get(FILE) : fileSource(file);
  if (tokenizer === undefined) {
    const message = `holds no ${FILE}, which turns text into tokens`;
    throw new ExpandError("usage", message, { at: checkpoint.location, fix: FIX });
  }
  const config = file === undefined ? checkpoint.assets.get(CONFIG) : configBeside(file);
  return openTokenizer({ tokenizer, ...(config === undefined ? {} : { config }) });
}

function fileOf(given: string): string {
  const isFolder = fs.statSync(given, { throwIfNoEntry: false })?.isDirectory() === true;
  const file = isFolder ? path.join(given, FILE) : given;
  if (fs.existsSync(file)) return file;
  throw new ExpandError("usage", "does not exist", { at: file, fix: FIX });
}

function configBeside(file: string): ByteSource | undefined {
  const beside = path.join(path.dirname(file), CONFIG);
  return fs.existsSync(beside) ? fileSource(beside) : undefined;
}
