// Learning rates, AdamW, clipping and the loss scale against their formulas, number by number.
import t from "tap";
import { type Adam, coefficientsOf, sumOfSquares, updateTensor } from "../../src/training/optimizer/adamw.ts";
import { clipFactor } from "../../src/training/optimizer/clipping.ts";
import { nextScale, SCALE_INTERVAL, SCALE_START } from "../../src/training/optimizer/scale.ts";
import { learningRate, type Schedule } from "../../src/training/optimizer/schedule.ts";
import { generator } from "../../src/verification/numeric/inputs.ts";

t.test("a schedule gives these rates", async (t) => {
  const table: readonly [Schedule, readonly [step: number, rate: number][]][] = [
    [
      { kind: "constant", peak: 2, warmup: 0, total: 4 },
      [
        [0, 2],
        [3, 2],
        [9, 2],
      ],
    ],
    [
      { kind: "constant", peak: 2, warmup: 4, total: 8 },
      [
        [0, 0.5],
        [1, 1],
        [3, 2],
        [4, 2],
        [7, 2],
      ],
    ],
    [
      { kind: "linear", peak: 1, warmup: 0, total: 4 },
      [
        [0, 1],
        [1, 0.75],
        [2, 0.5],
        [3, 0.25],
        [4, 0],
        [5, 0],
      ],
    ],
    [
      { kind: "linear", peak: 1, warmup: 2, total: 6, floor: 0.2 },
      [
        [0, 0.5],
        [1, 1],
        [2, 1],
        [4, 0.6],
        [6, 0.2],
      ],
    ],
    [
      { kind: "cosine", peak: 1, warmup: 0, total: 4 },
      [
        [0, 1],
        [1, (1 + Math.SQRT1_2) / 2],
        [2, 0.5],
        [4, 0],
        [9, 0],
      ],
    ],
    [
      { kind: "cosine", peak: 2, warmup: 1, total: 3, floor: 1 },
      [
        [0, 2],
        [1, 2],
        [2, 1.5],
        [3, 1],
      ],
    ],
    [
      { kind: "cosine", peak: 1, warmup: 5, total: 5 },
      [
        [4, 1],
        [5, 1],
        [6, 0],
      ],
    ],
  ];
  for (const [schedule, points] of table) {
    for (const [step, rate] of points) {
      const found = learningRate(schedule, step);
      t.ok(Math.abs(found - rate) < 1e-15, `${schedule.kind} of ${schedule.total}, step ${step}: ${found} for ${rate}`);
    }
  }
});

const ADAM: Adam = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, decay: 0.1 };

for (const count of [1, 3, 4, 7, 16384, 16385, 40001]) {
  t.test(`AdamW on ${count} values is torch's formula, every operation rounded to f32`, async (t) => {
    const [weight, m, v] = [draw(count, 1), draw(count, 2), draw(count, 3).map(Math.abs)];
    const expected = { weight: weight.slice(), m: m.slice(), v: v.slice() };
    for (let update = 1; update <= 3; update++) {
      const gradient = draw(count, 10 + update);
      const coefficients = coefficientsOf(ADAM, 3e-3, update);
      updateTensor({ weight, m, v }, gradient, 0.7, ADAM, coefficients);
      written(expected, gradient, 0.7, 3e-3, update);
    }
    for (const name of ["weight", "m", "v"] as const) {
      const bad = expected[name].findIndex((value, at) => !Object.is(value, { weight, m, v }[name][at]));
      t.equal(bad, -1, `${name}[${bad}]`);
    }
  });
}

t.test("sums of squares are exact to f64, and not finite where a value is not", async (t) => {
  for (const count of [0, 1, 5, 16384, 30001]) {
    const values = draw(count, count);
    const plain = values.reduce((sum, value) => sum + value * value, 0);
    t.ok(Math.abs(sumOfSquares(values) - plain) <= 1e-12 * plain, `${count} values`);
  }
  t.equal(sumOfSquares(Float32Array.of(3, 4)), 25);
  t.equal(sumOfSquares(new Float32Array(100).fill(3e38)), 100 * Math.fround(3e38) ** 2, "beyond f32");
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    for (const at of [0, 4, 17]) {
      const values = new Float32Array(18);
      values[at] = bad;
      t.notOk(Number.isFinite(sumOfSquares(values)), `${bad} at ${at}`);
    }
  }
  t.equal(sumOfSquares(Float32Array.of(1, 1)), 2, "what an earlier call left is not counted");
});

t.test("gradients beyond the limit are scaled down to it, others are left alone", async (t) => {
  t.equal(clipFactor(0.5, 1), 1);
  t.equal(clipFactor(1e9, undefined), 1);
  t.equal(clipFactor(4, 1), 1 / (4 + 1e-6));
  t.equal(clipFactor(0, 1), 1);
});

t.test("the loss scale doubles after a long finite run and halves at once", async (t) => {
  let state = SCALE_START;
  t.same(state, { scale: 65536, good: 0 });
  for (let step = 1; step < SCALE_INTERVAL; step++) state = nextScale(state, true);
  t.same(state, { scale: 65536, good: 1999 });
  state = nextScale(state, true);
  t.same(state, { scale: 131072, good: 0 });
  state = nextScale(nextScale(state, true), false);
  t.same(state, { scale: 65536, good: 0 });
});

/** In (-1, 1). */
function draw(count: number, seed: number): Float32Array {
  const random = generator(seed);
  return Float32Array.from({ length: count }, () => 2 * random() - 1);
}

/** One update as torch.optim.AdamW (not fused) computes it. */
function written(
  { weight, m, v }: Record<"weight" | "m" | "v", Float32Array>,
  gradient: Float32Array,
  scale: number,
  rate: number,
  step: number,
): void {
  const f = Math.fround;
  const keep = f(1 - rate * ADAM.decay);
  const size = f(rate / (1 - ADAM.beta1 ** step));
  const root = f(Math.sqrt(1 - ADAM.beta2 ** step));
  for (const [i, raw] of gradient.entries()) {
    const g = f(raw * f(scale));
    const m0 = m[i] ?? 0;
    const m1 = f(m0 + f(f(1 - ADAM.beta1) * f(g - m0)));
    const v1 = f(f(f(ADAM.beta2) * (v[i] ?? 0)) + f(f(f(1 - ADAM.beta2) * g) * g));
    const spread = f(f(f(Math.sqrt(v1)) / root) + f(ADAM.epsilon));
    m[i] = m1;
    v[i] = v1;
    weight[i] = f(f((weight[i] ?? 0) * keep) - f(f(size * m1) / spread));
  }
}
