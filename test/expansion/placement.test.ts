import t from "tap";
import { copyCount, type Layout } from "../../src/architecture/layout.ts";
import { ExpandError } from "../../src/errors.ts";
import { type PlacementOptions, placeCopies, type Stack } from "../../src/expansion/placement.ts";

const stackOf = (blocks: number, period = 1, periodIsOptional = true): Stack => ({ blocks, period, periodIsOptional });
const copiesAt = (layout: Layout): number[] => layout.flatMap((block, at) => (block.kind === "copy" ? [at] : []));
const copiesOf = (layout: Layout): number[] => layout.flatMap((block) => (block.kind === "copy" ? [block.from] : []));

function refusal(stack: Stack, options: PlacementOptions): string {
  try {
    placeCopies(stack, options);
  } catch (error) {
    if (error instanceof ExpandError) return `${error.tag}: ${error.message} | ${error.fix}`;
    throw error;
  }
  return "not refused";
}

t.test("N copies end groups as even as can be, and follow the group's top P blocks", async (t) => {
  const rows: readonly [blocks: number, add: number, perGroup: number, copied: number[], at: number[]][] = [
    [32, 8, 1, [3, 7, 11, 15, 19, 23, 27, 31], [4, 9, 14, 19, 24, 29, 34, 39]],
    [32, 8, 2, [6, 7, 14, 15, 22, 23, 30, 31], [8, 9, 18, 19, 28, 29, 38, 39]],
    [32, 8, 4, [12, 13, 14, 15, 28, 29, 30, 31], [16, 17, 18, 19, 36, 37, 38, 39]],
    [32, 4, 1, [7, 15, 23, 31], [8, 17, 26, 35]],
    [48, 2, 1, [23, 47], [24, 49]],
    [8, 2, 1, [3, 7], [4, 9]],
    [4, 2, 1, [1, 3], [2, 5]],
    [28, 8, 1, [2, 6, 9, 13, 16, 20, 23, 27], [3, 8, 12, 17, 21, 26, 30, 35]],
    [30, 8, 1, [2, 6, 10, 14, 17, 21, 25, 29], [3, 8, 13, 18, 22, 27, 32, 37]],
    [36, 8, 1, [3, 8, 12, 17, 21, 26, 30, 35], [4, 10, 15, 21, 26, 32, 37, 43]],
    [26, 4, 1, [5, 12, 18, 25], [6, 14, 21, 29]],
    [32, 12, 1, [1, 4, 7, 9, 12, 15, 17, 20, 23, 25, 28, 31], [2, 6, 10, 13, 17, 21, 24, 28, 32, 35, 39, 43]],
  ];
  for (const [blocks, add, perGroup, copied, at] of rows) {
    const layout = placeCopies(stackOf(blocks), { add, perGroup });
    t.equal(layout.length, blocks + add, `${blocks} + ${add}: ${layout.length} blocks`);
    t.same(copiesOf(layout), copied, `${blocks} + ${add}, ${perGroup} per group: copied blocks`);
    t.same(copiesAt(layout), at, `${blocks} + ${add}, ${perGroup} per group: where they stand`);
  }
});

t.test("for every L <= 64, C <= L and P that divides C: C copies, originals once and in order", async (t) => {
  let tried = 0;
  for (let blocks = 1; blocks <= 64; blocks++) {
    for (let add = 1; add <= blocks; add++) {
      for (let perGroup = 1; perGroup <= add; perGroup++) {
        const groups = add / perGroup;
        if (!Number.isInteger(groups) || Math.floor(blocks / groups) < perGroup) continue;
        const layout = placeCopies(stackOf(blocks), { add, perGroup });
        const originals = layout.filter((block) => block.kind === "original").map((block) => Number(block.from));
        const ordered = originals.length === blocks && originals.every((from, at) => from === at);
        if (copyCount(layout) !== add || !ordered) t.fail(`${blocks} + ${add}, ${perGroup} per group`);
        tried++;
      }
    }
  }
  t.ok(tried > 5000, `${tried} layouts`);
});

t.test("the default is one copy per four blocks", async (t) => {
  t.same(copiesOf(placeCopies(stackOf(32), {})), [3, 7, 11, 15, 19, 23, 27, 31]);
  t.same(copiesOf(placeCopies(stackOf(3), {})), [2]);
});

t.test("--every M copies every M-th block; --after copies the named ones, twice when named twice", async (t) => {
  t.same(copiesOf(placeCopies(stackOf(10), { every: 4 })), [3, 7]);
  t.same(copiesOf(placeCopies(stackOf(10), { every: 4, perGroup: 2 })), [2, 3, 6, 7]);
  t.same(copiesOf(placeCopies(stackOf(32), { after: [3, 7, 11] })), [3, 7, 11]);
  t.same(copiesAt(placeCopies(stackOf(4), { after: [1, 1] })), [2, 3]);
});

t.test("suffix copies the top blocks behind the last one, prefix the bottom ones before the first", async (t) => {
  t.same(copiesAt(placeCopies(stackOf(32), { add: 8, place: "suffix" })), [32, 33, 34, 35, 36, 37, 38, 39]);
  t.same(copiesOf(placeCopies(stackOf(32), { add: 2, place: "suffix" })), [30, 31]);
  t.same(copiesAt(placeCopies(stackOf(8), { add: 2, place: "prefix" })), [0, 1]);
  t.same(copiesOf(placeCopies(stackOf(8), { add: 2, place: "prefix" })), [0, 1]);
});

t.test("kinds with period p: whole periods, at boundaries that are multiples of p", async (t) => {
  t.same(copiesOf(placeCopies(stackOf(26, 2), { add: 4 })), [10, 11, 24, 25]);
  t.same(
    copiesOf(placeCopies(stackOf(26, 6), { add: 6 })),
    [18, 19, 20, 21, 22, 23],
    "the last whole period ends at 23",
  );
  t.same(copyCount(placeCopies(stackOf(48, 4), {})), 12, "the default copies whole periods");
  for (const [blocks, period, add] of [
    [26, 2, 4],
    [62, 6, 12],
    [48, 4, 16],
  ] as const) {
    const layout = placeCopies(stackOf(blocks, period), { add });
    t.ok(
      layout.every((block, at) => block.from % period === at % period),
      `${blocks} + ${add}: every block keeps its place in the period of ${period}`,
    );
  }
});

t.test("a number that breaks the period spreads single copies where a list can say so", async (t) => {
  t.same(copiesOf(placeCopies(stackOf(26, 2, true), { add: 1 })), [25]);
});

t.test("impossible requests are refused before anything is read", async (t) => {
  const rows: readonly [Stack, PlacementOptions, string][] = [
    [stackOf(32), { add: 4, every: 4 }, "usage: --add, --every and --after exclude each other | Keep one of them."],
    [
      stackOf(32),
      { add: 4, perGroup: 3 },
      "plan: 4 copies do not split into groups of 3 | Use --add 3 or --add 6, or another --per-group.",
    ],
    [
      stackOf(4),
      { add: 5 },
      "plan: 5 groups do not fit into 4 blocks | Use --add 4 at most, or --after with repeated numbers.",
    ],
    [stackOf(4), { every: 5 }, "plan: --every 5 places nothing: the source has 4 blocks | Use --every 4 or less."],
    [
      stackOf(32),
      { after: [32] },
      "plan: there is no block 32: the source has blocks 0 to 31 | Use numbers from 0 to 31.",
    ],
    [
      stackOf(4),
      { after: [0], perGroup: 2 },
      "plan: 2 blocks cannot be copied after block 0: only 1 stand there | Use --per-group 1 or less.",
    ],
    [
      stackOf(26, 6, false),
      { add: 8 },
      "plan: block kinds repeat every 6 blocks, so 8 copies would shift the kinds of later originals | Use --add 6 or --add 12.",
    ],
    [
      stackOf(26, 6, false),
      { add: 30 },
      "plan: 5 copied periods of 6 blocks do not fit into the 4 of the source | Use --add 24 at most.",
    ],
    [
      stackOf(8),
      { place: "suffix", every: 2 },
      "usage: --place suffix takes --add only | Remove --every, --after and --per-group.",
    ],
    [
      stackOf(8),
      { place: "prefix", add: 9 },
      "plan: 9 copies at one end need as many source blocks, there are 8 | Use --add 8 at most.",
    ],
  ];
  for (const [stack, options, expected] of rows) t.equal(refusal(stack, options), expected);
});
