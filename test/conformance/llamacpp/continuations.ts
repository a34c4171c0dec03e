// SmolLM2-135M's greedy continuation of prompts of 32 tokens, by our forward graph with its cache and by llama.cpp, 32 tokens each.
import path from "node:path";
import type { Checkpoint } from "../../../src/checkpoint/checkpoint.ts";
import { ggufArray } from "../../../src/checkpoint/gguf-metadata.ts";
import { buildDecoder } from "../../../src/decoder/build.ts";
import { readSpec } from "../../../src/decoder/read.ts";
import type { DecoderSpec } from "../../../src/decoder/spec.ts";
import { ExpandError } from "../../../src/errors.ts";
import { openCheckpoint } from "../../../src/formats/open.ts";
import type { Runtime, Session } from "../../../src/runtime/runtime.ts";
import { emptyCache, ints, materialise, nextCache } from "../decoder_logits.ts";
import { inF32, oracle } from "./oracle.ts";

/**
 * Ordinary prose, then texts that leave little choice; the first 32 tokens of each count. Their words and signs are tokens of SmolLM2, so
 * that no tokenizer is needed.
 */
const TEXTS: readonly string[] = [
  "The United States of America is a country in North America. It has fifty states, and its capital is Washington, D.C. The largest city is New York, and the official",
  "Once upon a time, there was a little girl who lived in a small house near the forest with her mother and her father. Every morning she went to the river",
  "To make a cup of tea, first boil some water in a kettle. Then put a tea bag in a cup and pour the hot water over it. Wait for three",
  "The sun is a star at the center of the solar system. It is made of hydrogen and helium, and it gives light and heat to the Earth. The Earth moves",
  "The days of the week are Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday. The months of the year are January, February, March, April",
  "In the beginning God created the heaven and the earth. And the earth was without form, and void; and darkness was upon the face of the deep. And",
  "Four score and seven years ago our fathers brought forth on this continent, a new nation, conceived in Liberty, and dedicated to the proposition that all men are created",
  "Water is a molecule made of two atoms of hydrogen and one atom of oxygen. At normal pressure it freezes at zero degrees and boils at one hundred degrees. It is",
  "The human heart is a muscle that pumps blood through the body. It has four chambers: two on the left side and two on the right side. The blood carries",
  "Regular exercise is good for your health. It makes your heart strong, helps you sleep better, and can reduce stress. Doctors recommend that adults should exercise for at least",
  "The months of the year are January, February, March, April, May, June, July, August, September, October, November and December. The first month is January, the",
  "One, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, thirteen, fourteen, fifteen, sixteen, seventeen",
  "A is for apple, B is for ball, C is for cat, D is for dog, E is for elephant, F is for fish, G is for",
  "The wheels on the bus go round and round, round and round, round and round. The wheels on the bus go round and round, all through the town. The wheels",
  "Row, row, row your boat, gently down the stream. Row, row, row your boat, gently down the stream. Row, row, row your boat",
  "The cat sat on the mat. The dog sat on the mat. The cow sat on the mat. The horse sat on the mat. The cat sat on the mat",
  "Monday is the first day of the week. Tuesday is the second day of the week. Wednesday is the third day of the week. Thursday is the fourth day of",
  "The capital of France is Paris. The capital of Germany is Berlin. The capital of Italy is Rome. The capital of Spain is Madrid. The capital of Portugal is Lisbon",
  "Two plus two is four. Three plus three is six. Four plus four is eight. Five plus five is ten. Six plus six is twelve. Seven plus seven is",
  "Happy birthday to you. Happy birthday to you. Happy birthday, dear friend. Happy birthday to you. Happy birthday to you. Happy birthday to you. Happy birthday",
];
/** Tokens of a prompt, and of its continuation. */
const TOKENS = 32;
/** Prompts on which llama.cpp must say the same of the Q4_1 file itself. */
const WHOLE = 5;
/** How far below llama.cpp's best our choice may be where its rounding decides; logits of SmolLM2 are some tens wide. */
const NEAR = 1;

/**
 * llama.cpp, given prompt and our continuation, must choose every token of it, and so would have said the same by itself. On the Q4_1 file
 * it rounds activations to 8 bits before it multiplies, which decides near ties otherwise and which nothing repeats that adds in another
 * order (rounding our activations too was tried: as many near ties, other ones). So at least five prompts must be continued alike on the
 * file itself, the rate of all is told, and where one is not, it must be with the same weights in F32.
 */
export async function continuations(
  runtime: Runtime,
  file: string,
  work: string,
  report: (good: boolean, title: string) => void,
): Promise<void> {
  const checkpoint = await openCheckpoint(file);
  const spec = readSpec(checkpoint);
  const session = await runtime.open(await materialise(buildDecoder(spec), path.join(work, "smollm2")));
  const words = vocabularyOf(checkpoint);
  const exact = await inF32(work, file);
  const rounded: (readonly number[])[] = [];
  for (const text of TEXTS) {
    const prompt = (text.match(/ ?\w+|\W/g) ?? []).slice(0, TOKENS);
    const ids = prompt.map((word) => words.indexOf(word.replace(" ", "\u0120")));
    const ours = ids.includes(-1) || ids.length !== TOKENS ? [] : await continueGreedily(session, spec, ids);
    const said = ours
      .map((id) => words[id])
      .join("")
      .replaceAll("\u0120", " ")
      .replaceAll("\u010a", "|");
    const title = `SmolLM2-135M continues "${prompt.join("")}" as llama.cpp does`;
    const gaps = gapsOf(oracle(work, file, [...ids, ...ours]), ours);
    rounded.push(gaps);
    if (equal(gaps) === TOKENS) report(true, `${title}: ${said}`);
    else {
      const same = equal(gapsOf(oracle(work, exact, [...ids, ...ours]), ours)) === TOKENS;
      report(same, `${title} in F32, and ${equal(gaps)} of ${TOKENS} tokens as it does in Q4_1: ${said}`);
    }
  }
  await session.close();
  const whole = rounded.filter((gaps) => equal(gaps) === TOKENS).length;
  const all = rounded.flat();
  const largest = Math.max(...all);
  report(
    whole >= WHOLE && largest <= NEAR,
    `SmolLM2-135M in Q4_1: ${whole} of ${TEXTS.length} prompts are continued as by llama.cpp, all ${TOKENS} tokens (${WHOLE} are asked for); ` +
      `of all prompts ${equal(all)} of ${all.length} tokens are, the others ${largest.toFixed(2)} of ${NEAR} below its best`,
  );
}

/** How far each of our tokens is below llama.cpp's best, from its logits of prompt and continuation. */
function gapsOf(logits: Float32Array, ours: readonly number[]): readonly number[] {
  const vocabulary = logits.length / (TOKENS + ours.length);
  return ours.map((id, i) => {
    const row = logits.subarray((TOKENS - 1 + i) * vocabulary, (TOKENS + i) * vocabulary);
    return (row[bestOf(row)] ?? 0) - (row[id] ?? 0);
  });
}

function equal(gaps: readonly number[]): number {
  return gaps.filter((gap) => gap === 0).length;
}

function vocabularyOf({ config }: Checkpoint): readonly string[] {
  const entry = config.dialect === "gguf" ? config.metadata.entries.get("tokenizer.ggml.tokens") : undefined;
  return entry === undefined
    ? []
    : ggufArray(entry).map((token) => (token instanceof Uint8Array ? Buffer.from(token).toString("utf8") : ""));
}

async function continueGreedily(session: Session, spec: DecoderSpec, prompt: readonly number[]): Promise<number[]> {
  const made: number[] = [];
  let cache = emptyCache(spec, 1);
  let fed: readonly number[] = [...prompt];
  let length = 0;
  while (made.length < TOKENS) {
    length += fed.length;
    const outputs = await session.run({
      input_ids: ints([fed]),
      attention_mask: ints([Array.from({ length }, () => 1)]),
      position_ids: ints([fed.map((_, i) => length - fed.length + i)]),
      ...cache,
    });
    const { logits } = outputs;
    if (logits === undefined) throw new ExpandError("bug", "the model gave no logits");
    const id = bestOf((logits.data as Float32Array).subarray(-spec.vocabulary));
    made.push(id);
    fed = [id];
    cache = nextCache(outputs);
  }
  return made;
}

function bestOf(logits: Float32Array): number {
  return logits.indexOf(logits.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY));
}
