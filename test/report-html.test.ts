// The report as a page: what it says, that it needs nothing else, and that no name in it becomes markup.
import t from "tap";
import type { Metric, MetricsHead } from "../src/training/metrics.ts";
import { means } from "../src/training/report/line-chart.ts";
import { trainingPage } from "../src/training/report/page.ts";
import { htmlText } from "../src/verification/report/html.ts";
import {
  type BlockComparison,
  type FoundBlock,
  finding,
  type NumericComparison,
  type VerificationReport,
} from "../src/verification/report.ts";
import { VERSION } from "../src/version.ts";

const ZERO = [
  { branch: "attention", factor: "projection", tensors: ["model.layers.1.self_attn.o_proj.weight"] },
  { branch: "mlp", factor: "norm-gain", tensors: ["model.layers.1.post_feedforward_layernorm.weight"] },
];
const BLOCKS: readonly FoundBlock[] = [
  { kind: "original", from: 0 },
  { kind: "copy", from: 0, closed: ZERO },
  { kind: "original", from: 1 },
];

function side(location: string): VerificationReport["before"] {
  return { location, format: "safetensors", tensors: 20, bytes: 2_500_000, headers: "0123456789abcdef".repeat(4) };
}

function report(more: Partial<VerificationReport> = {}): VerificationReport {
  return {
    schema: "expand-checkpoint/verification/1",
    mode: "structure",
    verdict: "identity",
    before: side("base"),
    after: side("expanded"),
    family: "gemma2",
    blocks: BLOCKS,
    findings: [],
    skipped: [],
    bytesCompared: 5_000_000,
    seconds: 1.25,
    ...more,
  };
}

function numeric(
  blocks: readonly Partial<BlockComparison>[],
  more: Partial<NumericComparison> = {},
): NumericComparison {
  return {
    device: "cpu",
    method: "streamed",
    samples: 4,
    tokens: 64,
    seed: 7,
    tolerance: 0,
    logits: { maxAbs: 0, maxRel: 0, differing: 0, total: 131072 },
    blocks: blocks.map((block, at) => ({
      at,
      from: at,
      kind: "original",
      norm: 1,
      maxAbs: 0,
      maxRel: 0,
      nonFinite: 0,
      ...block,
    })),
    ...more,
  };
}

/** What a reader reads: no style, no tags, white space as one space. */
function words(page: string): string {
  const body = page.slice(page.indexOf("<body>")).replace(/<[^>]*>/g, " ");
  const entities = { lt: "<", gt: ">", quot: '"', "#39": "'", amp: "&" } as const;
  return body
    .replace(/\s+/g, " ")
    .replace(/&(lt|gt|quot|#39|amp);/g, (_all, name: keyof typeof entities) => entities[name])
    .trim();
}

const VOID = new Set(["meta", "br", "!doctype"]);

/** Tags that do not match, and attributes that are not in double quotes. */
function faults(page: string): string[] {
  const found: string[] = [];
  const open: string[] = [];
  const text = page.replace(/<style>[\s\S]*?<\/style>/, "");
  for (const [whole, slash, name = "", rest = ""] of text.matchAll(/<(\/?)([!\w-]+)([^>]*)>/g)) {
    if (slash === "/") {
      const last = open.pop();
      if (last !== name) found.push(`</${name}> closes <${last}>`);
    } else if (!VOID.has(name) && !rest.endsWith("/")) open.push(name);
    const attributes = rest.replace(/\/$/, "").replaceAll(/ [\w:-]+="[^"<]*"/g, "");
    if (attributes.trim() !== "" && whole !== "<!doctype html>") found.push(whole);
  }
  if (/<(?!\/?[!a-z])/.test(text)) found.push("a bare <");
  return [...found, ...open];
}

const EVIL = "</title><script>alert(1)</script><img src=x onerror='y'>\"&\u202egpj.exe\u0007\n\ud800";

t.test("an identity in bytes: verdict, both sides, the picture, and what closes each copy", async (t) => {
  const page = htmlText(report());
  t.same(faults(page), []);
  const said = words(page);
  for (const text of [
    "✓ identity: AFTER is an identity expansion of BEFORE Compared: stored bytes and settings. No model was run. 5.0 MB, 1.3 s.",
    "BEFORE base safetensors, 20 tensors, 2.5 MB headers, SHA-256 0123456789abcdef",
    "Architecture: gemma2",
    "Findings None.",
    "2 original blocks, 1 copy. The residual stream runs from block 0 to block 2.",
    "block 0: original block 0 0 block 1: copy of block 0; attention closed by projection; mlp closed by norm-gain 1 copy of 0 attention mlp",
    "1 copy of 0 attention: projection model.layers.1.self_attn.o_proj.weight mlp: norm-gain model.layers.1.post_feedforward_layernorm.weight",
    "every branch of every copy is closed passed",
    `expand-checkpoint ${VERSION}, expand-checkpoint/verification/1`,
  ]) {
    t.match(said, text);
  }
  t.notMatch(said, "Numbers");
});

t.test("the page loads nothing, runs nothing and leads nowhere", async (t) => {
  const numbers = numeric([{}, { kind: "copy" }, { maxAbs: 0.5 }]);
  const page = htmlText(report({ mode: "both", numeric: numbers, findings: [finding("asset-missing", "a", "b")] }));
  t.notMatch(page, /\b(?:src|href|srcset|action|on\w+)\s*=/i);
  t.notMatch(page, /https?:|url\(|@import|<script|<link|<iframe/i);
  t.match(page, "default-src 'none'; style-src 'unsafe-inline'");
});

t.test("names of strangers stay text, wherever they stand", async (t) => {
  const block: FoundBlock = { kind: "copy", from: 0, closed: [{ branch: EVIL, factor: EVIL, tensors: [EVIL] }] };
  const page = htmlText(
    report({
      verdict: "inconclusive",
      reason: EVIL,
      before: { ...side(EVIL), format: EVIL, headers: EVIL },
      family: EVIL,
      blocks: [{ kind: "original", from: 0 }, block],
      findings: [finding("tensor-added", EVIL, EVIL, { fix: EVIL, tensors: [EVIL], block: 1 })],
      numeric: numeric([{ norm: Number.NaN }, { nonFinite: 3 }]),
    }),
  );
  t.same(faults(page), []);
  t.notMatch(page, /<script|<img|\u202e|(?!\n)\p{Cc}|\p{Cs}/u);
  const shown = "</title><script>alert(1)</script><img src=x onerror='y'>\"&\\u202egpj.exe\\u0007\\u000a\\ud800";
  t.equal(words(page).split(shown).length - 1, 14, "each of them is there to be read");
});

t.test("a finding and a number that refute mark their blocks", async (t) => {
  const page = htmlText(
    report({
      mode: "both",
      verdict: "not-identity",
      findings: [
        finding("original-differs", "x.weight", "differs", { block: 0 }),
        finding("asset-changed", "tokenizer.json", "differs", { block: 1 }),
      ],
      numeric: numeric([{}, {}, { maxAbs: 0.25, maxRel: 0.125 }], {
        logits: { maxAbs: 0.5, maxRel: 0.125, differing: 100, total: 1000 },
        firstDifference: { block: 2, maxAbs: 0.25 },
      }),
    }),
  );
  const tiles = [...page.matchAll(/<li class="([^"]+)" title="([^"]+)"/g)].map((match) => match[1]);
  t.same(tiles, ["original fault", "copy", "original fault"]);
  const said = words(page);
  for (const text of [
    "✗ not-identity",
    "refutes: original-differs x.weight differs Write AFTER again; tensors of BEFORE are copied byte for byte.",
    "warning: asset-changed tokenizer.json",
    "logits 100 of 1000 differ largest difference 0.5, 0.125 of the largest logit tolerance 0: equality inputs 4 × 64 tokens, seed 7",
    "run on cpu, block by block, one block's weights at a time first difference block 2, by 0.25",
    "Smallest 0 at block 0, largest 0.125 at block 2.",
    "every original block is there, in order, byte for byte failed",
  ]) {
    t.match(said, text);
  }
});

t.test(
  "charts: a bar for each block, logarithmic where values are far apart, full and red where there is no number",
  async (t) => {
    const bars = (page: string): string[] =>
      [...page.matchAll(/<rect class="(\w+)"[^>]* height="([\d.]+)"><title>([^<]*)/g)].map((bar) =>
        bar.slice(1).join(" "),
      );
    const near = htmlText(report({ numeric: numeric([{ norm: 2 }, { norm: 4, kind: "copy" }, { norm: 3 }]) }));
    t.same(bars(near), ["original 50 block 0: 2", "copy 100 block 1: 4", "original 75 block 2: 3"]);
    t.match(words(near), "every copy gives back exactly its input");
    const far = htmlText(report({ numeric: numeric([{ norm: 0.01 }, { norm: 1 }, { norm: 100 }]) }));
    t.same(bars(far), ["original 4 block 0: 0.01", "original 52 block 1: 1", "original 100 block 2: 100"]);
    t.match(words(far), "logarithmic scale");
    const lost = htmlText(
      report({ numeric: numeric([{ norm: Number.NaN, maxAbs: Number.NaN, maxRel: Number.NaN, nonFinite: 9 }, {}]) }),
    );
    t.same(bars(lost), [
      "fault 100 block 0: NaN",
      "original 100 block 1: 1",
      "fault 100 block 0: NaN",
      "original 0 block 1: 0",
    ]);
    t.match(words(lost), "Not a finite number at 1 of 2 blocks.");
  },
);

t.test("a tolerance is a line in the chart, and a difference below it no fault, but for copies", async (t) => {
  const blocks = [
    { maxAbs: 1, maxRel: 1e-7 },
    { maxAbs: 1, maxRel: 0.002 },
    { kind: "copy", maxAbs: 1e-9 },
  ] as const;
  const page = htmlText(
    report({ mode: "numbers", numeric: numeric(blocks, { tolerance: 0.001, device: "cuda", method: "whole" }) }),
  );
  t.match(page, '<line class="limit"');
  t.match(words(page), "Smallest 0 at block 2, largest 0.002 at block 1. The dashed line is the tolerance, 0.001.");
  t.match(words(page), "Compared: what the models compute. Their bytes were not compared.");
  const looks = [...page.matchAll(/<rect class="(\w+)"/g)].map((match) => match[1]);
  t.same(looks, ["original", "original", "copy", "original", "fault", "fault"]);
});

t.test("when nothing could be compared, the page says why and draws nothing", async (t) => {
  const reason = "BEFORE is safetensors and AFTER is gguf";
  const page = htmlText(report({ verdict: "inconclusive", reason, blocks: [], bytesCompared: 0 }));
  t.same(faults(page), []);
  t.match(words(page), `? inconclusive: neither proved nor refuted: ${reason}`);
  t.notMatch(page, /<h2>(?:Blocks|Checks|Numbers)|<svg/);
});

t.test("two hundred blocks: every one is in the picture, the charts and the table, in less than 200 kB", async (t) => {
  const many = Array.from({ length: 200 }, (_each, at): FoundBlock => {
    return at % 5 === 4 ? { kind: "copy", from: at - 1, closed: ZERO } : { kind: "original", from: at };
  });
  const page = htmlText(
    report({
      mode: "both",
      blocks: many,
      numeric: numeric(many.map(({ kind }) => ({ kind, maxAbs: 1e-6, maxRel: 1e-6 }))),
    }),
  );
  t.same(faults(page), []);
  t.equal(page.match(/<li class="(?:original|copy)/g)?.length, 200);
  t.equal(page.match(/<rect /g)?.length, 400);
  t.equal(page.match(/<th scope="row">\d/g)?.length, 200);
  t.ok(page.length < 200_000, `${page.length}`);
});

type Step = Extract<Metric, { kind: "step" }>;

/** As metrics.jsonl gives it back: what is not finite is null there. */
function trained(
  count: number,
  more: (step: number) => Partial<Step> = () => ({}),
  others: readonly Metric[] = [],
): string {
  const recipe = {
    ...{
      schema: "expand-checkpoint/training/1",
      steps: Math.max(1, count),
      batch: 8,
      accumulate: 1,
      context: 64,
      dtype: "f32",
    },
    ...{
      schedule: { kind: "cosine", peak: 2e-4, warmup: 6 },
      adam: { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, decay: 0.1 },
    },
    ...{ device: "cpu", layout: "host", seed: 0 },
  } as unknown as MetricsHead["recipe"];
  const steps = Array.from({ length: count }, (_, at): Metric => {
    const plain = { loss: 4 - (2 * at) / count, rate: 1e-4, norm: 1, tokens: 500, seconds: at + 1 };
    return { kind: "step", step: at + 1, ...plain, ...more(at + 1) };
  });
  const lines = JSON.parse(JSON.stringify([...steps, ...others])) as Metric[];
  return trainingPage({ kind: "run", source: EVIL, recipe }, lines);
}

function evaluation(step: number, loss: number): Metric {
  return { kind: "evaluation", step, name: EVIL, loss, tokens: 100 };
}

t.test("training: what is not finite is no 0, and is said", async (t) => {
  const page = trained(50, (step) => (step % 10 === 0 ? { loss: Number.NaN, norm: Number.POSITIVE_INFINITY } : {}), [
    evaluation(0, 3),
    evaluation(50, Number.NaN),
  ]);
  t.same(faults(page), []);
  t.notMatch(page, /<script|<img/);
  const said = words(page);
  t.match(said, "mean of 2 steps: from 4 to 2.1.");
  t.match(said, "norm: from 1 to 1. Not a finite number at 5 of 50.");
  t.match(said, ": 3 at step 0. Not a finite number at 1 of 2.");
  t.same(
    means(
      [
        [1, 2],
        [2, Number.NaN],
        [3, 4],
        [4, 6],
      ],
      2,
    ),
    [
      [1, 2],
      [3, 3],
      [4, 5],
    ],
  );
});

t.test("training: one step is a dot, and no step is no heading", async (t) => {
  const one = trained(1, undefined, [evaluation(0, 3), evaluation(1, 2)]);
  t.same(faults(one), []);
  t.equal([...one.matchAll(/ dot" points="([\d.]+,[\d.]+) \1"/g)].length, 3, "loss, rate, norm");
  t.match(words(one), "loss: 4 at step 1.");
  const none = trained(0);
  t.same(faults(none), []);
  t.notMatch(none, /<h2>(?:Loss|Steps)/);
});

t.test("training: the curves of 200 blocks are one crowd, and the table names each", async (t) => {
  const blocks = Array.from({ length: 200 }, (_, at) => ({ block: String(at), norm: at / 100, start: 10 }));
  const saves = [10, 20].map((step): Metric => ({ kind: "update", step, blocks }));
  const page = trained(20, undefined, saves);
  t.same(faults(page), []);
  t.match(words(page), "200 curves; at the end from 0 (block 0) to 1.99 (block 199).");
  t.equal(page.match(/curve crowd/g)?.length, 200);
  t.equal(page.match(/<th scope="row">block/g)?.length, 200);
  t.notMatch(page, /<li><i/);
  t.ok(page.length < 100_000, `${page.length}`);
});

t.test("training: 100,000 steps are 60 kB, and no peak of them is lost or flattens the rest", async (t) => {
  const page = trained(100_000, (step) => (step === 70_001 ? { norm: 500, loss: 9 } : {}));
  t.same(faults(page), []);
  t.ok(page.length < 60_000, `${page.length}`);
  t.match(page, '<span class="top">500</span><span class="foot">1</span>');
  t.match(page, "700.01,0");
  t.match(words(page), "logarithmic scale");
  t.match(page, '<span class="top">9</span>');
});
