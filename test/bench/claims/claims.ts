// The paper's claims in shape, on stories260K: every arm is trained on the same JavaScript with the same steps, and measured on stories that
// the source told itself, on prose and on JavaScript that nobody was trained on.
//
//   npx tsx test/bench/claims/claims.ts [--source DIR] [--arms NAME,...] [--seeds 3] [--steps 100] [--batch 8] [--context 128] [--rate 1e-3]
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { measure } from "../../../src/evaluation/measure.ts";
import type { CorpusResult } from "../../../src/evaluation/report.ts";
import { readText, type Text } from "../../../src/evaluation/text.ts";
import { finish } from "../../../src/events.ts";
import { openCheckpoint } from "../../../src/formats/open.ts";
import { openRuntime } from "../../../src/runtime/runtime.ts";
import { ARMS, type Arm } from "./arms.ts";
import { type Outcome, runArm, type Settings } from "./run.ts";
import { claimLines, type Outcomes, table } from "./table.ts";
import { writeTexts } from "./texts.ts";

const { values } = parseArgs({
  options: {
    source: { type: "string", default: path.resolve(import.meta.dirname, "../../../../shared/data/stories260K/hf") },
    arms: { type: "string", default: ARMS.map(({ name }) => name).join(";") },
    seeds: { type: "string", default: "3" },
    steps: { type: "string", default: "100" },
    batch: { type: "string", default: "8" },
    context: { type: "string", default: "128" },
    rate: { type: "string", default: "1e-3" },
    json: { type: "string" },
  },
});

/** Runs at a time, each on one thread: matrices of this size gain nothing from two. */
const LANES = 2;
/** Tokens of each text, the same on the way and in the end. */
const MEASURED = 4096;

const work = fs.mkdtempSync(path.join(os.tmpdir(), "claims-"));
try {
  await main();
} finally {
  fs.rmSync(work, { recursive: true, force: true });
}

async function main(): Promise<void> {
  const begun = performance.now();
  const { source } = values;
  const texts = await writeTexts(source, path.join(work, "texts"));
  const settings: Settings = {
    ...{ source, work, steps: Number(values.steps), batch: Number(values.batch), context: Number(values.context) },
    ...{ rate: Number(values.rate), looked: MEASURED / (Number(values.batch) * Number(values.context)) },
  };
  const corpora = Object.entries(texts.measured).map(([name, file]) => ({ name, sources: [{ path: file }] }));
  const text = await readText(texts.tokenizer, corpora, { context: settings.context, until: { tokens: MEASURED } });
  const chosen = values.arms.split(";").map(armOf);
  const outcomes = new Map<Arm, Outcome[]>(chosen.map((arm) => [arm, []]));
  const jobs = Array.from({ length: Number(values.seeds) }, (_, seed) => chosen.map((arm) => ({ arm, seed }))).flat();
  // What is the same for all seeds is made once, before lanes could make it twice.
  for (const arm of chosen) await arm.start(source, work, 0);
  const lane = async (): Promise<void> => {
    for (let job = jobs.shift(); job !== undefined; job = jobs.shift()) {
      const outcome = await runArm(job.arm, job.seed, texts, settings);
      outcomes.get(job.arm)?.push(outcome);
      process.stderr.write(`${job.arm.name}, seed ${job.seed}: ${outcome.seconds.toFixed(0)} s\n`);
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  const named = await evaluated([...outcomes], text);
  const { steps, batch, context, rate } = settings;
  console.log(`${steps} steps of ${batch} x ${context} tokens of JavaScript, rate ${rate}, ${values.seeds} seeds\n`);
  console.log(table(named));
  console.log(`\n${claimLines(named).join("\n")}`);
  console.log(`\n${((performance.now() - begun) / 60_000).toFixed(1)} min`);
  if (values.json !== undefined)
    fs.writeFileSync(
      values.json,
      JSON.stringify(Object.fromEntries(named.arms), (key, value) => (key === "checkpoint" ? undefined : value), 1),
    );
}

/** Every result against the source, as `evaluate` does it. */
async function evaluated(
  outcomes: readonly (readonly [arm: Arm, outcomes: readonly Outcome[]])[],
  text: Text,
): Promise<Outcomes> {
  const runtime = await openRuntime({ device: "cpu", optimization: "basic" });
  const all = outcomes.flatMap(([, each]) => each.map(({ checkpoint }) => ({ checkpoint, text })));
  const subjects = [{ checkpoint: await openCheckpoint(values.source), text }, ...all];
  const models = await finish(measure(subjects, runtime, { corpora: ["stories", "prose", "code"], base: 0 }));
  await runtime.close();
  let at = 0;
  const next = (): readonly CorpusResult[] => models[++at]?.results ?? [];
  const arms = new Map(outcomes.map(([{ name }, each]) => [name, each.map((own) => ({ ...own, results: next() }))]));
  return { source: models[0]?.results ?? [], arms };
}

function armOf(name: string): Arm {
  const arm = ARMS.find((each) => each.name === name.trim());
  if (arm !== undefined) return arm;
  throw new TypeError(`there is no arm "${name}"; there are ${ARMS.map((each) => each.name).join("; ")}`);
}
