// Evaluates models for evaluate.py:  tsx evaluate.ts TEXTS CONTEXT MODEL ...   Prints one JSON object a model: the windows as they were
// read, and what they lose.
import { evaluate } from "../../src/commands/evaluate.ts";
import { tokenizerOf } from "../../src/commands/tokenizer.ts";
import { readText } from "../../src/evaluation/text.ts";
import { finish } from "../../src/events.ts";
import { openCheckpoint } from "../../src/formats/open.ts";

const [texts = "", context = "64", ...models] = process.argv.slice(2);
const corpora = [{ name: "texts", sources: [{ path: texts }] }];
for (const model of models) {
  const tokenizer = await tokenizerOf(await openCheckpoint(model), undefined);
  const size = { context: Number(context), tokens: Number.MAX_SAFE_INTEGER };
  const { windows } = await readText(tokenizer, corpora, { context: size.context, until: { tokens: size.tokens } });
  const report = await finish(evaluate({ models: [model], corpora, ...size, threads: 1 }));
  const [result] = report.models[0]?.results ?? [];
  const rows = windows.map(({ ids, labels }) => ({ ids: [...ids], labels: [...labels] }));
  console.log(JSON.stringify({ model, windows: rows, result }));
}
