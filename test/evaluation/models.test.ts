// Models on corpora: what they lose is what their logits say, however they are run; known answers, sabotage, refusals.
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import { tinyLlama, writeTinyHf } from "../../fixtures/hf.ts";
import type { Checkpoint } from "../../src/checkpoint/checkpoint.ts";
import { main } from "../../src/cli/main.ts";
import { convert } from "../../src/commands/convert.ts";
import { type EvaluatedModel, type EvaluationReport, evaluate } from "../../src/commands/evaluate.ts";
import { expand } from "../../src/commands/expand.ts";
import { readSpec } from "../../src/decoder/read.ts";
import { measure } from "../../src/evaluation/measure.ts";
import type { Window } from "../../src/evaluation/window.ts";
import { finish, type RunEvent } from "../../src/events.ts";
import { openCheckpoint } from "../../src/formats/open.ts";
import { GraphBuilder } from "../../src/graph/builder.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { OnnxType } from "../../src/graph/onnx.ts";
import { findInstallation } from "../../src/runtime/installation.ts";
import { openRuntime } from "../../src/runtime/runtime.ts";
import { generator } from "../../src/verification/numeric/inputs.ts";
import { materialise, runStages } from "../decoder/forward.ts";

/** Every printable character of ASCII, and the marks of a document's ends. */
const VOCABULARY = 98;
const LETTERS = Array.from({ length: 95 }, (_, at) => String.fromCharCode(32 + at));
const TOKENIZER = {
  version: "1.0",
  added_tokens: [],
  normalizer: null,
  pre_tokenizer: null,
  post_processor: null,
  decoder: { type: "Fuse" },
  model: {
    type: "BPE",
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    vocab: Object.fromEntries(["</s>", "\n", "<unused>", ...LETTERS].map((letter, id) => [letter, id])),
    merges: [],
  },
};
const SETTINGS = { eos_token: "</s>" };
const TEXT = "The quick brown fox jumps over the lazy dog. It was not the first time.\n".repeat(12);
const PANGRAM = "Sphinx of black quartz, judge my vow; pack my box with five dozen liquor jugs.\n".repeat(9);

function model(
  directory: string,
  name: string,
  { seed = 1, tokenizer = TOKENIZER as object, vocabulary = VOCABULARY } = {},
): string {
  const folder = path.join(directory, name);
  const plain = tinyLlama({ seed });
  const shapes = Object.entries(plain.tensors).map(
    ([key, shape]) => [key, /embed|lm_head/.test(key) ? [vocabulary, shape[1] ?? 0] : shape] as const,
  );
  const files = { "tokenizer.json": JSON.stringify(tokenizer), "tokenizer_config.json": JSON.stringify(SETTINGS) };
  const config = { ...plain.config, vocab_size: vocabulary };
  writeTinyHf(folder, { ...plain, config, tensors: Object.fromEntries(shapes), dtype: "F32", files });
  return folder;
}

function windowsOf(lengths: readonly number[], context: number, vocabulary = VOCABULARY): readonly Window[] {
  const random = generator(3);
  return lengths.flatMap((count, corpus) =>
    Array.from({ length: count }, (_, index) => {
      const ids = Int32Array.from({ length: context + 1 }, () => Math.floor(random() * vocabulary));
      const labels = ids.slice(1);
      if (index % 2 === 0) labels[context - 1] = -100;
      return { corpus, ids: ids.slice(0, context), labels, documents: [index, index] };
    }),
  );
}

async function measured(
  checkpoints: readonly Checkpoint[],
  windows: readonly Window[],
  corpora: readonly string[] = ["a"],
): Promise<readonly EvaluatedModel[]> {
  const runtime = await openRuntime({ device: "cpu", threads: 1, optimization: "basic" });
  try {
    const text = { tokenizer: "same", windows, bytes: corpora.map(() => 1000) };
    const subjects = checkpoints.map((checkpoint) => ({ checkpoint, text }));
    return await finish(measure(subjects, runtime, { corpora, base: 0 }));
  } finally {
    await runtime.close();
  }
}

/** By corpus, from logits held whole. */
async function lossesOf(checkpoint: Checkpoint, windows: readonly Window[], vocabulary: number) {
  const runtime = await openRuntime({ device: "cpu", threads: 1, optimization: "basic" });
  const ids = windows.map((window) => [...window.ids]);
  const positions = ids.map((row) => [...row.keys()]);
  const logits = await runStages(runtime, readSpec(checkpoint), ids, positions);
  await runtime.close();
  const sums = windows
    .slice(-1)
    .flatMap(({ corpus }) => Array.from({ length: corpus + 1 }, () => ({ sum: 0, count: 0 })));
  for (const [row, { corpus, labels }] of windows.entries()) {
    const own = sums[corpus];
    for (const [at, label] of labels.entries()) {
      if (label < 0 || own === undefined) continue;
      const start = (row * labels.length + at) * vocabulary;
      const values = logits.subarray(start, start + vocabulary);
      own.sum += Math.log(values.reduce((all, each) => all + Math.exp(each), 0)) - (values[label] ?? 0);
      own.count++;
    }
  }
  return sums;
}

async function run(...words: string[]): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ["", ""];
  const streams = {
    out: { write: (text: string) => (out += text) },
    err: { write: (text: string) => (err += text), isTTY: false },
  };
  return { code: await main(words, streams), out, err };
}

/** An ONNX model that knows of each token which ones follow it, and no more. */
function lookup({
  output = "logits",
  opset = 23,
  ...more
}: {
  output?: string;
  opset?: number;
  length?: number;
  last?: boolean;
}): Graph {
  const graph = new GraphBuilder("lookup", opset);
  const ids = graph.input("input_ids", OnnxType.INT64, ["batch", more.length ?? "sequence"]);
  const table = graph.floats(
    Array.from({ length: VOCABULARY ** 2 }, (_, at) => Math.sin(at)),
    [VOCABULARY, VOCABULARY],
  );
  const all = graph.node("Gather", [table, ids], { axis: 0 }, more.last === true ? undefined : output);
  if (more.last === true)
    graph.node("Slice", [all, ...[[-1], [9999], [1]].map((each) => graph.ints(each))], {}, output);
  graph.output(output, OnnxType.FLOAT, ["batch", "rows", VOCABULARY]);
  return graph.build();
}

function zeroed(checkpoint: Checkpoint, name: string): Checkpoint {
  const { dtype, shape, bytes } = checkpoint.tensors.get(name) ?? { dtype: "F32", shape: [0], bytes: 0 };
  const zero = { kind: "fill", dtype, shape, bytes, pattern: new Uint8Array(4) } as const;
  return { ...checkpoint, tensors: new Map(checkpoint.tensors).set(name, zero) };
}

const only = findInstallation() === undefined ? { skip: "onnxruntime-node is not installed" } : {};

t.test("models on corpora", only, async (t) => {
  const directory = t.testdir();
  const source = model(directory, "source");
  const opened = await openCheckpoint(source);

  await t.test(
    "a model whose logits are all equal has the perplexity of its vocabulary, and is sure of it",
    async (t) => {
      const [flat] = await measured([zeroed(opened, "lm_head.weight")], windowsOf([5], 20));
      const { perplexity, notFinite, tokens } = flat?.results[0] ?? {};
      t.ok(Math.abs((perplexity?.value ?? 0) / VOCABULARY - 1) < 1e-6, String(perplexity?.value));
      for (const end of perplexity?.interval ?? [0]) t.ok(Math.abs(end / VOCABULARY - 1) < 1e-6);
      t.same([notFinite, tokens], [0, 5 * 20 - 3]);
    },
  );

  await t.test(
    "the loss is that of the logits, position by position, however windows and rows are grouped",
    async (t) => {
      const wide = await openCheckpoint(model(directory, "wide", { vocabulary: 20_000 }));
      const cases: readonly (readonly [Checkpoint, number, readonly number[]])[] = [
        // 60 windows of 64 tokens run in groups of 16, the last of 12; and the corpora part in the middle of one.
        [opened, VOCABULARY, [37, 23]],
        // 1024 positions at once read 8192 rows of the head at a time.
        [wide, 20_000, [16]],
      ];
      for (const [checkpoint, vocabulary, lengths] of cases) {
        const windows = windowsOf(lengths, 64, vocabulary);
        const names = lengths.map((_, corpus) => `corpus ${corpus}`);
        const [report] = await measured([checkpoint], windows, names);
        for (const [corpus, { sum, count }] of (await lossesOf(checkpoint, windows, vocabulary)).entries()) {
          const found = report?.results[corpus];
          t.equal(found?.tokens, count);
          t.ok(Math.abs((found?.loss ?? 0) / (sum / count) - 1) < 1e-6, `${found?.loss} and ${sum / count}`);
        }
      }
    },
  );

  await t.test("an expansion that has not learned changes nothing; a changed original does", async (t) => {
    const out = path.join(directory, "expanded");
    await finish(expand({ source, output: out, add: 2 }));
    const expanded = await openCheckpoint(out);
    const changed = zeroed(opened, "model.layers.2.mlp.down_proj.weight");
    const windows = windowsOf([8], 32);
    const [base, same, other] = await measured([opened, expanded, changed], windows);
    t.same([base?.base, base?.results[0]?.change, base?.results[0]?.shift], [true, undefined, undefined]);
    t.same(same?.results[0]?.change, { value: 0, interval: [0, 0] });
    t.same(same?.results[0]?.shift, { positions: 8 * 32 - 4, unshifted: 1, marginal: 0, shifted: 0 });
    const added = same?.results[0]?.norms?.blocks.map((block) => block.added);
    t.same(
      added?.map((each) => each === 0),
      [false, false, true, false, false, true],
    );
    const { shift, change } = other?.results[0] ?? {};
    t.ok(
      (shift?.unshifted ?? 1) < 1 && (shift?.unshifted ?? 0) + (shift?.marginal ?? 0) + (shift?.shifted ?? 0) > 0.999,
    );
    t.not(change?.value, 0);
  });

  await t.test("an ONNX model gives the losses of its source, and what its blocks add to each corpus", async (t) => {
    const out = path.join(directory, "onnx");
    await finish(convert({ source, output: out, format: "onnx" }));
    // More windows than are read before the time is looked at.
    const windows = windowsOf([10, 9], 24);
    const [base, onnx] = await measured([opened, await openCheckpoint(out)], windows, ["a", "b"]);
    t.equal(onnx?.blocks, 4);
    for (const corpus of [0, 1]) {
      const [was, is] = [base?.results[corpus], onnx?.results[corpus]];
      t.ok(Math.abs((is?.loss ?? 0) / (was?.loss ?? 0) - 1) < 1e-6, `${is?.loss} and ${was?.loss}`);
      t.equal(is?.shift?.unshifted, 1);
      t.equal(is?.norms?.tokens, 4 * 24, "states of the first windows only");
      // Alone, so that nothing of the other corpus can be among them.
      const few = windows.filter((window) => window.corpus === corpus).slice(0, 4);
      const [alone] = await measured(
        [opened],
        few.map((window) => ({ ...window, corpus: 0 })),
      );
      for (const [at, block] of is?.norms?.blocks.entries() ?? []) {
        const { state = 0, added = 0 } = alone?.results[0]?.norms?.blocks[at] ?? {};
        t.ok(Math.abs(block.added / added - 1) + Math.abs(block.state / state - 1) < 1e-4, `block ${at}`);
      }
      const all = windows.filter((window) => window.corpus === corpus).map((window) => ({ ...window, corpus: 0 }));
      const [whole] = await measured([opened], all);
      t.same(
        whole?.results[0]?.norms?.blocks.map(({ added }) => added.toPrecision(6)),
        was?.norms?.blocks.map(({ added }) => added.toPrecision(6)),
      );
    }
  });

  await t.test("losses that are not finite are counted, and never averaged away", async (t) => {
    const { dtype, shape, bytes } = opened.tensors.get("model.norm.weight") ?? { dtype: "F32", shape: [0], bytes: 0 };
    const pattern = new Uint8Array(Float32Array.of(Number.NaN).buffer);
    const tensors = new Map(opened.tensors).set("model.norm.weight", { kind: "fill", dtype, shape, bytes, pattern });
    const [broken] = await measured([{ ...opened, tensors }], windowsOf([2], 10));
    t.equal(broken?.results[0]?.notFinite, 19);
    t.ok(Number.isNaN(broken?.results[0]?.perplexity.value ?? 0));
  });

  await t.test("what cannot be read is refused by name", async (t) => {
    const wide = windowsOf([1], 65);
    const strange = [{ corpus: 0, ids: Int32Array.of(1, 98), labels: Int32Array.of(98, 1), documents: [0] }];
    const onnx = async (name: string, made: Parameters<typeof lookup>[0]): Promise<Checkpoint> => {
      const folder = path.join(directory, name);
      await materialise(lookup(made), folder);
      return openCheckpoint(folder);
    };
    const headless = await onnx("headless", { output: "scores" });
    const fixed = await onnx("fixed", { length: 8 });
    const pruned = await onnx("pruned", { last: true });
    const old = await onnx("old", { opset: 12 });
    const cases: readonly (readonly [Checkpoint, readonly Window[], string, string])[] = [
      [opened, wide, `${source}: was made for 64 tokens, and windows have 65`, "Use --context 64 or less."],
      [
        opened,
        strange,
        `${source}: has token ids 0 to 97, and its tokenizer gives 98`,
        "Give the model's own tokenizer with --tokenizer.",
      ],
      [
        headless,
        windowsOf([1], 8),
        `${headless.location}: has no output "logits", only scores`,
        "Export the model with its language-modelling head.",
      ],
      [fixed, windowsOf([1], 9), `${fixed.location}: takes sequences of exactly 8 tokens, not 9`, "Use --context 8."],
      [
        pruned,
        windowsOf([1], 8),
        `${pruned.location}: gives logits of 1 positions for 8 tokens`,
        "Export the model with logits for every token, not only for the last.",
      ],
      [
        old,
        windowsOf([1], 8),
        `${old.location}: is of opset 12; 13 or later is needed to read logits`,
        "Export the model again with opset 13 or later.",
      ],
    ];
    for (const [checkpoint, windows, message, fix] of cases) {
      await t.rejects(measured([checkpoint], windows), { message, fix });
    }
  });

  await t.test("evaluate: table, files, the base of one's choice", async (t) => {
    const [a, b] = [path.join(directory, "a.txt"), path.join(directory, "b.jsonl")];
    fs.writeFileSync(a, TEXT);
    fs.writeFileSync(
      b,
      PANGRAM.trim()
        .split(/\n|; /)
        .map((text) => JSON.stringify({ body: text }))
        .join("\n"),
    );
    const other = model(directory, "other", { seed: 5 });
    const files = ["html", "json", "md"].map((ending) => path.join(directory, "reports", `report.${ending}`));
    const reports = files.flatMap((file) => ["--report", file]);
    const words = ["--corpus", `prose=${a}`, "--corpus", `pangrams=${b}`, "--field", "body", "--context", "32"];
    const { code, out, err } = await run("evaluate", source, other, ...words, ...reports, "--tokens", "500");
    t.equal(code, 0, err);
    t.match(
      out,
      /^1 {2}\S+source \(4 blocks, [\d,]+ parameters\)\n2 {2}\S+other \(4 blocks, [\d,]+ parameters\)\n\ncorpus/,
    );
    t.match(out, /\nprose +1 +512 +[\d.]+ \[[\d.]+, [\d.]+\] +base +[\d.]+\n +2 +512 +/);
    t.match(
      out,
      /\nwindows of 32 tokens that do not overlap, up to 500 tokens of each corpus, in the order of the files, on cpu; intervals over windows \(prose\), documents \(pangrams\)\n$/,
    );
    const report = JSON.parse(fs.readFileSync(files[1] ?? "", "utf8")) as EvaluationReport;
    t.same(report.corpora, [
      { name: "prose", files: [a] },
      { name: "pangrams", files: [b] },
    ]);
    const [prose, pangrams] = report.models[1]?.results ?? [];
    t.same([prose?.tokens, prose?.bytes, pangrams?.corpus], [512, 512, "pangrams"]);
    t.equal(prose?.shift?.positions, 512);
    t.match(fs.readFileSync(files[0] ?? "", "utf8"), /<h2>Corpus pangrams<\/h2>/);
    t.match(fs.readFileSync(files[2] ?? "", "utf8"), /\n\| prose \| 2 \| 512 \| /);
    const turned = await run("evaluate", source, other, ...words, "--tokens", "500", "--base", other, "--json");
    const again = JSON.parse(turned.out) as EvaluationReport;
    t.same(
      again.models.map(({ base }) => base),
      [false, true],
    );
    const change = 1 / (1 + (prose?.change?.value ?? 0)) - 1;
    t.ok(Math.abs((again.models[0]?.results[0]?.change?.value ?? 0) - change) < 1e-9);
  });

  await t.test(
    "another tokenizer: bits per byte are compared, perplexities and ranks are not, and it says so",
    async (t) => {
      const file = path.join(directory, "c.txt");
      fs.writeFileSync(file, TEXT);
      const lines = path.join(directory, "d.jsonl");
      fs.writeFileSync(
        lines,
        TEXT.trim()
          .split("\n")
          .map((text, at) => JSON.stringify({ text: `${at} ${text}` }))
          .join("\n"),
      );
      const merged = { ...TOKENIZER.model.vocab, "<unused>": undefined, th: 2 };
      const coarse = { ...TOKENIZER, model: { ...TOKENIZER.model, vocab: merged, merges: ["t h"] } };
      const other = model(directory, "coarse", { tokenizer: coarse });
      const report = await finish(
        evaluate({
          models: [source, other],
          corpora: [{ name: "c", sources: [{ path: file }] }],
          context: 32,
          threads: 1,
        }),
      );
      const [was, is] = report.models.map(({ results }) => results[0]);
      t.same([was?.bytes, is?.bytes], [TEXT.length - 1, TEXT.length - 1]);
      t.ok((is?.tokens ?? 0) < (was?.tokens ?? 0));
      t.same([is?.change, is?.shift], [undefined, undefined]);
      const part = (seed?: number): ReturnType<typeof evaluate> => {
        const order = seed === undefined ? {} : { seed };
        const text = { path: lines };
        return evaluate({
          ...{ models: [other, source], base: source, context: 16, threads: 1, tokens: 300 },
          ...order,
          corpora: [{ name: "c", sources: [text] }],
        });
      };
      for (const seed of [undefined, 4]) {
        const limited = await finish(part(seed));
        const [coarseBytes = 0, bytes = 0] = limited.models.map(({ results }) => results[0]?.bytes);
        t.ok(
          bytes >= 300 - 20 && coarseBytes >= bytes && coarseBytes <= bytes + 2 * 16,
          `${coarseBytes} and ${bytes}: not as many tokens, but as much text`,
        );
        t.same((await finish(part(seed))).models, limited.models, "and the same again");
      }
      t.ok(Math.abs((is?.bitsChange ?? 0) - ((is?.bitsPerByte ?? 0) / (was?.bitsPerByte ?? 0) - 1)) < 1e-12);
      const { out } = await run("evaluate", source, other, "--corpus", `c=${file}`, "--context", "32");
      t.match(
        out,
        /\nwarning: \S+coarse: another tokenizer than the base's, so perplexities per token do not compare; bits per byte do, of the same text\n$/,
      );
    },
  );

  await t.test("words that cannot be meant are refused, with what to say instead", async (t) => {
    const file = path.join(directory, "c.txt");
    const bare = path.join(directory, "bare");
    writeTinyHf(bare, tinyLlama());
    const cases: readonly (readonly [readonly string[], string])[] = [
      [
        [source],
        "error: there is no corpus to evaluate on\nfix: Name one: --corpus general=FILE, a .txt, .jsonl or .parquet file or a directory of them.\n",
      ],
      [
        [source, "--corpus", file, "--report", "r.pdf"],
        'error: --report takes a file that ends in .html, .json or .md, not "r.pdf"\nfix: Name FILE.html, FILE.json or FILE.md.\n',
      ],
      [
        [bare, "--corpus", file],
        `error: ${bare}: holds no tokenizer.json, which turns text into tokens\nfix: Pass --tokenizer FILE, the tokenizer.json of the model.\n`,
      ],
    ];
    for (const [words, message] of cases) {
      const { code, err } = await run("evaluate", ...words, "--no-progress");
      t.equal(code, 2);
      t.equal(err, message);
    }
    await t.rejects(finish(evaluate({ models: [], corpora: [] })), { message: "there is no model to evaluate" });
    const one = path.join(directory, "one.txt");
    fs.writeFileSync(one, "T");
    await t.rejects(
      finish(evaluate({ models: [source], corpora: [{ name: "one", sources: [{ path: one }] }], tokens: 1.5 })),
      {
        message: "tokens must be a whole number from 1 up, not 1.5",
      },
    );
  });

  await t.test("what one of the models cannot read is refused before any of them runs", async (t) => {
    const file = path.join(directory, "padded.txt");
    fs.writeFileSync(file, `${TEXT}<pad>${TEXT}`);
    const pad = { id: VOCABULARY, content: "<pad>", single_word: false, lstrip: false, rstrip: false, special: true };
    const tokenizer = { ...TOKENIZER, added_tokens: [{ ...pad, normalized: false }] };
    const wide = model(directory, "with-pad", { tokenizer, vocabulary: VOCABULARY + 1 });
    const narrow = model(directory, "without-pad", { tokenizer });
    const shared = path.join(narrow, "tokenizer.json");
    const cases: readonly (readonly [object, string, string])[] = [
      [
        {},
        `${file} (byte 0): holds "<pad>", which is token 98, and the last of ${narrow} is 97`,
        'Remove "<pad>" from the text.',
      ],
      [
        { tokenizer: shared },
        `${file} (byte 0): holds "<pad>", which is token 98, and the last of ${narrow} is 97`,
        'Remove "<pad>" from the text.',
      ],
      [{ context: 65 }, `${wide}: was made for 64 tokens, and windows have 65`, "Use --context 64 or less."],
    ];
    for (const models of [
      [wide, narrow],
      [narrow, wide],
    ]) {
      for (const [more, message, fix] of cases) {
        const phases: string[] = [];
        const work = evaluate({
          models,
          corpora: [{ name: "c", sources: [{ path: file }] }],
          context: 32,
          threads: 1,
          ...more,
        });
        const note = (event: RunEvent): void => void (event.kind === "phase" && phases.push(event.name));
        await t.rejects(finish(work, note), { message: message.replace(wide, models[0] ?? ""), fix });
        t.notOk(phases.some((name) => name.startsWith("read with")));
      }
    }
  });

  await t.test("a run that is asked to stop stops, between any two events", async (t) => {
    const file = path.join(directory, "c.txt");
    fs.writeFileSync(file, TEXT);
    const corpora = [{ name: "c", sources: [{ path: file }] }];
    const events: RunEvent[] = [];
    await finish(evaluate({ models: [source], corpora, context: 16, threads: 1 }), (event) => events.push(event));
    const tokens = events.flatMap((event) => (event.kind === "tokens" ? [event.done / event.total] : []));
    t.ok(tokens.length >= 5 && tokens.every((each, at) => each > (tokens[at - 1] ?? 0)), tokens.join(" "));
    t.equal(tokens.at(-1), 1);
    for (const stop of [0, 3, events.length - 2]) {
      const controller = new AbortController();
      let seen = 0;
      const work = finish(
        evaluate({ models: [source], corpora, context: 16, threads: 1, signal: controller.signal }),
        () => {
          if (seen++ === stop) controller.abort();
        },
      );
      await t.rejects(work, { message: "interrupted" });
    }
  });
});
