// What is made of logits: losses and ranks merged over runs of the vocabulary, means with intervals, token shift, bytes, norms.
import t from "tap";
import { Terminal } from "../../src/cli/terminal.ts";
import { Norms } from "../../src/evaluation/norms.ts";
import { BEST, LOWEST, type PartialReading, Reading } from "../../src/evaluation/reading.ts";
import { shiftOf } from "../../src/evaluation/shift.ts";
import { differenceOf, exponential, Losses, meanOf, studentT } from "../../src/evaluation/statistics.ts";
import { bytesIn, countedIn, type Window } from "../../src/evaluation/window.ts";
import { generator } from "../../src/verification/numeric/inputs.ts";

function window(
  labels: readonly number[],
  ids: readonly number[] = labels,
  corpus = 0,
  documents: readonly number[] = [0],
): Window {
  return { corpus, ids: Int32Array.from(ids), labels: Int32Array.from(labels), documents };
}

/** What a session gives of columns [from, to) of logits [positions, V]. */
function part(
  logits: readonly (readonly number[])[],
  labels: readonly number[],
  from: number,
  to: number,
): PartialReading {
  const rows = logits.map((row) => row.slice(from, to).map(Math.fround));
  const order = rows.map((row) => [...row.keys()].sort((a, b) => (row[b] ?? 0) - (row[a] ?? 0) || a - b));
  const k = Math.min(BEST, to - from);
  return {
    from,
    at: 0,
    rows: to - from,
    best: Float32Array.from(rows.flatMap((row, at) => order[at]?.slice(0, k).map((id) => row[id] ?? 0) ?? [])),
    bestIds: Int32Array.from(order.flatMap((ids) => ids.slice(0, k))),
    sum: Float32Array.from(rows, (row) => {
      const max = Math.max(LOWEST, ...row);
      return row.reduce((sum, each) => sum + Math.exp(each - max), 0);
    }),
    label: Float32Array.from(rows, (row, at) => row[Math.min(Math.max(labels[at] ?? 0, from), to - 1) - from] ?? 0),
  };
}

function read(logits: readonly (readonly number[])[], labels: readonly number[], cuts: readonly number[]): Reading {
  const reading = new Reading([window(labels)]);
  for (const [at, from] of cuts.entries()) {
    reading.add(part(logits, labels, from, cuts[at + 1] ?? logits[0]?.length ?? 0));
  }
  return reading;
}

t.test("runs of the vocabulary, merged, say what all logits at once say", async (t) => {
  const random = generator(1);
  const logits = Array.from({ length: 20 }, () => Array.from({ length: 50 }, () => Math.fround(20 * random() - 10)));
  const labels = logits.map(() => Math.floor(random() * 50));
  for (const cuts of [[0], [0, 25], [0, 1, 3, 49], [0, 48], Array.from({ length: 50 }, (_, at) => at)]) {
    const reading = read(logits, labels, cuts);
    for (const [at, row] of logits.entries()) {
      const max = Math.max(...row);
      const all = max + Math.log(row.reduce((sum, each) => sum + Math.exp(each - max), 0));
      const expected = all - (row[labels[at] ?? 0] ?? 0);
      t.ok(Math.abs(reading.loss(at) - expected) < 1e-6, `${cuts.length} runs, position ${at}`);
      const order = [...row.keys()].sort((a, b) => (row[b] ?? 0) - (row[a] ?? 0));
      t.same([...reading.best.subarray(at * BEST, at * BEST + BEST)], order.slice(0, BEST));
    }
  }
});

t.test("of equal logits the lower id comes first, whatever the runs", async (t) => {
  const logits = [[1, 2, 2, 0, 2, 2]];
  for (const cuts of [[0], [0, 3], [0, 1, 2, 3, 4, 5]]) t.same([...read(logits, [0], cuts).best], [1, 2, 4]);
  t.same([...read([[5, 7]], [0], [0, 1]).best], [1, 0, -1], "fewer than three tokens leave places empty");
});

t.test("equal logits give the logarithm of the vocabulary, infinities are nothing, NaN stays NaN", async (t) => {
  const flat = [Array.from({ length: 300 }, () => 3)];
  t.ok(Math.abs(read(flat, [299], [0, 100, 200]).loss(0) - Math.log(300)) < 1e-12);
  const infinity = Number.NEGATIVE_INFINITY;
  t.ok(Math.abs(read([[infinity, infinity, 1, 1]], [2], [0, 2]).loss(0) - Math.log(2)) < 1e-6);
  t.equal(read([[infinity, 1, 1, 1]], [0], [0, 2]).loss(0), Number.POSITIVE_INFINITY);
  t.ok(Number.isNaN(read([[1, Number.NaN, 1, 1]], [0], [0, 2]).loss(0)));
});

t.test("the error of a mean is that of a ratio of sums over units", async (t) => {
  const sums = Float64Array.of(2, 6, 1);
  const counts = Int32Array.of(2, 3, 1);
  const { mean, error, margin } = meanOf({ sums, counts });
  t.equal(mean, 1.5);
  t.ok(Math.abs((error ?? 0) - Math.sqrt((3 / 2) * (1 + 2.25 + 0.25)) / 6) < 1e-15);
  t.equal(margin, (error ?? 0) * studentT(2));
  t.same(meanOf({ sums: Float64Array.of(3), counts: Int32Array.of(2) }), { mean: 1.5 }, "one unit has no error");
  const same = meanOf({ sums: Float64Array.of(2, 4, 6), counts: Int32Array.of(1, 2, 3) });
  t.same([same.mean, same.error], [2, 0]);
  const { value, interval } = exponential({ mean: Math.log(3), margin: Math.log(2) });
  t.ok(Math.abs(value - 3) + Math.abs((interval?.[0] ?? 0) - 1.5) + Math.abs((interval?.[1] ?? 0) - 6) < 1e-12);
});

t.test("Student's t is that of the tables", async (t) => {
  const table = { 1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 10: 2.2281, 30: 2.0423, 100: 1.984 };
  for (const [freedom, value] of Object.entries(table))
    t.ok(Math.abs(studentT(Number(freedom)) - value) < 1e-3, freedom);
});

t.test("95 % of intervals hold what they are of, and differences of the same windows have narrower ones", async (t) => {
  const random = generator(2);
  const [runs, windows] = [1000, 20];
  const hits = { mean: 0, difference: 0 };
  let narrower = 0;
  for (let run = 0; run < runs; run++) {
    const counts = Int32Array.from({ length: windows }, () => 50 + Math.floor(random() * 50));
    // Losses of mean 3 a token whose windows differ by up to 1; the other model's are 0.1 lower, give or take 0.05.
    const means = [...counts].map(() => 2.5 + random());
    const base = { counts, sums: Float64Array.from(counts, (count, at) => count * (means[at] ?? 0)) };
    const other = { counts, sums: base.sums.map((sum, at) => sum - (counts[at] ?? 0) * (0.05 + 0.1 * random())) };
    const [mean, difference] = [meanOf(base), differenceOf(other, base)];
    if (Math.abs(mean.mean - 3) <= (mean.margin ?? 0)) hits.mean++;
    if (Math.abs(difference.mean + 0.1) <= (difference.margin ?? 0)) hits.difference++;
    if ((difference.margin ?? 0) < (mean.margin ?? 0) / 5) narrower++;
  }
  t.ok(hits.mean > 0.92 * runs && hits.mean < 0.98 * runs, `${hits.mean} of ${runs}`);
  t.ok(hits.difference > 0.92 * runs && hits.difference < 0.98 * runs, `${hits.difference} of ${runs}`);
  t.equal(narrower, runs);
});

t.test(
  "losses are summed by document, across windows and within them; by window where documents are few",
  async (t) => {
    const end = -100;
    // Document 0 ends in the second window, where 1 begins; 2 has no token that is predicted.
    const first = [window([1, 1], [0, 0], 0, [0]), window([1, end, 1], [0, 0, 0], 0, [0, 1])];
    const windows = [
      ...first,
      ...[2, 3, 4, 5, 6, 7, 8].map((each) => window(each === 2 ? [end] : [1], [0], 0, [each])),
    ];
    const read = (some: readonly Window[]): Losses => {
      const losses = new Losses(some);
      for (const [at, each] of some.entries())
        losses.add(each, (position) => (at === 8 ? Number.NaN : at + position / 10));
      return losses;
    };
    const all = read(windows);
    t.same([all.unit, all.documents, all.windows, all.notFinite], ["documents", 8, 9, 1]);
    t.same([...all.counts], [3, 1, 0, 1, 1, 1, 1, 1, 1]);
    t.same([...all.sums].slice(0, 4), [0 + 0.1 + 1, 1.2, 0, 3]);
    const few = read(windows.slice(0, 8));
    t.same([few.unit, few.documents, [...few.counts], few.notFinite], ["windows", 7, [2, 2, 0, 1, 1, 1, 1, 1], 0]);
    t.same([...few.sums].slice(0, 2), [0.1, 2.2]);
  },
);

t.test(
  "tokens of one document are not independent: intervals over documents hold what they are of all the same",
  async (t) => {
    const random = generator(7);
    const [runs, documents, parts] = [400, 12, 10];
    const hits = { documents: 0, windows: 0 };
    for (let run = 0; run < runs; run++) {
      const windows: Window[] = [];
      const values: number[] = [];
      for (let document = 0; document < documents; document++) {
        // Of mean 3; what a document is about moves all of its windows.
        const own = 2.5 + random();
        for (let part = 0; part < parts; part++) {
          windows.push(window([1, 1, 1, 1], [0, 0, 0, 0], 0, [document]));
          values.push(own + 0.2 * (random() - 0.5));
        }
      }
      const losses = new Losses(windows);
      for (const [at, each] of windows.entries()) losses.add(each, () => values[at] ?? 0);
      const byWindow = {
        sums: Float64Array.from(values, (each) => 4 * each),
        counts: new Int32Array(values.length).fill(4),
      };
      for (const [name, tally] of [
        ["documents", losses],
        ["windows", byWindow],
      ] as const) {
        const { mean, margin = 0 } = meanOf(tally);
        if (Math.abs(mean - 3) <= margin) hits[name]++;
      }
    }
    t.ok(hits.documents > 0.92 * runs && hits.documents < 0.98 * runs, `${hits.documents} of ${runs}`);
    t.ok(hits.windows < 0.6 * runs, `as if windows were independent, ${hits.windows} of ${runs} would`);
  },
);

t.test("where a model says nothing finite, no token has shifted or stayed", async (t) => {
  const none = [-1, -1, -1];
  const [own, base] = [
    [...none, 5, 6, 7, ...none, 5, 6, 7],
    [...none, ...none, 5, 6, 7, 6, 5, 7],
  ];
  const found = shiftOf([window([1, 1, 1, 1])], 0, Int32Array.from(own), Int32Array.from(base));
  t.same(found, { positions: 1, unshifted: 0, marginal: 1, shifted: 0 });
});

t.test(
  "token shift counts the ranks of the first token under the base, at counted positions of one corpus",
  async (t) => {
    const windows = [window([1, 1, -100, 1]), window([1, 1, 1, 1], [0, 0, 0, 0], 1)];
    const base = Int32Array.from(windows.flatMap(() => [5, 6, 7, 5, 6, 7, 5, 6, 7, 5, 6, 7]));
    const best = Int32Array.from(
      [5, 6, 9, 6].flatMap((id) => [id, 0, 0]).concat([5, 7, 8, 9].flatMap((id) => [id, 0, 0])),
    );
    const third = 1 / 3;
    t.same(shiftOf(windows, 0, best, base), { positions: 3, unshifted: third, marginal: 2 * third, shifted: 0 });
    t.same(shiftOf(windows, 1, best, base), { positions: 4, unshifted: 0.25, marginal: 0.25, shifted: 0.5 });
    t.equal(shiftOf(windows, 2, best, base), undefined);
  },
);

t.test("bytes are those of the counted text; marks of a document's ends are none", async (t) => {
  const texts = ["<s>", "</s>", "a", " bc", "é", "😀"];
  // As tokenizers do that strip the space in front of a text.
  const decode = (ids: readonly number[]): string =>
    ids
      .map((id) => texts[id] ?? "")
      .join("")
      .replace(/^ /, "");
  const tokenizer = { beginOfText: 0, endOfText: 1, decode };
  const bytes = (ids: readonly number[], labels: readonly number[]): number => bytesIn(window(labels, ids), tokenizer);
  t.equal(bytes([0, 2, 3, 4], [2, 3, 4, 5]), 1 + 3 + 2 + 4);
  t.equal(bytes([2, 3, 1, 0], [3, 1, -100, 3]), 3 + 0 + 2, "the last one begins a document, so its space is none");
  t.equal(bytes([3, 3], [-100, -100]), 0);
  t.equal(countedIn(window([1, -100, 3])), 2);
});

t.test("norms are root mean squares of states and of what blocks add; what is not finite is left out", async (t) => {
  const norms = new Norms(2, 1);
  norms.enter(0, Float32Array.of(3, 4), 2);
  norms.block(0, 0, Float32Array.of(3, 4), Float32Array.of(4, 6));
  norms.block(0, 0, Float32Array.of(1, 1), Float32Array.of(Number.NaN, Number.POSITIVE_INFINITY));
  const root = Math.sqrt;
  t.same(norms.of(0), { tokens: 2, embedding: root(12.5), blocks: [{ state: root(26), added: root(2.5) }] });
  t.equal(norms.of(1), undefined);
});

t.test("progress says the share, the rate and the time left, on the live line only", async (t) => {
  const written = (isTTY: boolean): string => {
    let err = "";
    const streams = { out: { write: () => undefined }, err: { write: (text: string) => (err += text), isTTY } };
    const terminal = new Terminal(streams, { quiet: false, verbose: false, progress: true, color: false });
    terminal.onEvent({ kind: "phase", name: "read with model" });
    terminal.onEvent({ kind: "tokens", done: 250, total: 1000 });
    return err;
  };
  t.match(written(true), /read with model 25% of 1 K tokens, [\d.]+ ?K? tokens\/s, \d+ s left$/);
  t.equal(written(false), "read with model\n");
});
