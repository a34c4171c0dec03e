// Documents and token ids as this package has them, for corpus.py to compare.
// Usage: tsx corpus.ts JOB   reads {tokenizers: [directory], texts: [text], files: [file]} and prints {ids, around, documents} as JSON.
import fs from "node:fs";
import path from "node:path";
import { openFiles } from "../../src/corpus/files.ts";
import { openTokenizer } from "../../src/corpus/tokenizer.ts";
import { fileSource } from "../../src/tensor/source.ts";

interface Job {
  readonly tokenizers: readonly string[];
  readonly texts: readonly string[];
  readonly files: readonly string[];
}

const job: Job = JSON.parse(fs.readFileSync(process.argv[2] ?? "", "utf8"));
const ids: Record<string, unknown> = {};
const around: Record<string, unknown> = {};
const documents: Record<string, unknown> = {};
for (const directory of job.tokenizers) {
  const name = path.basename(directory);
  try {
    const config = path.join(directory, "tokenizer_config.json");
    const tokenizer = await openTokenizer({
      tokenizer: fileSource(path.join(directory, "tokenizer.json")),
      ...(fs.existsSync(config) ? { config: fileSource(config) } : {}),
    });
    ids[name] = job.texts.map((text) => tokenizer.encode(text));
    around[name] = [tokenizer.beginOfText ?? null, tokenizer.endOfText ?? null, tokenizer.vocabulary];
  } catch (error) {
    ids[name] = String(error);
  }
}
for (const file of job.files) documents[path.basename(file)] = await documentsOf(file).catch(String);
process.stdout.write(JSON.stringify({ ids, around, documents }));

async function documentsOf(file: string): Promise<readonly string[]> {
  const texts: string[] = [];
  for (const opened of await openFiles(file, undefined)) {
    for (let part = 0; part < opened.parts; part++) {
      for await (const { text } of opened.documents(part)) texts.push(text);
    }
  }
  return texts;
}
