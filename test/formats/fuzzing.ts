// Damaged files, given to one reader after the other. FUZZ_RUNS sets how many of each kind, FUZZ_SEED where to begin.
import t from "tap";
import type { FuzzedReader } from "./mutate.ts";

const FIRST_SEED = Number(process.env.FUZZ_SEED ?? 1);
/** Bytes. What this process may take after each kind. */
const MAX_MEMORY = 2 ** 30;

/** One test for each reader, of `runs` files unless FUZZ_RUNS says otherwise. */
export function testDamaged(readers: readonly FuzzedReader[], runs: number): void {
  const count = Number(process.env.FUZZ_RUNS ?? runs);
  for (const { name, damaged, faultOf } of readers) {
    t.test(
      `${name}, damaged at random, are read or refused; nothing is thrown that is not an ExpandError`,
      async (t) => {
        let fault: string | undefined;
        let seed = FIRST_SEED;
        for (; seed < FIRST_SEED + count && fault === undefined; seed++) {
          const data = damaged(seed);
          fault = await faultOf(data);
          if (fault !== undefined)
            t.fail(`FUZZ_SEED=${seed} FUZZ_RUNS=1: ${fault}`, { data: Buffer.from(data).toString("hex") });
        }
        t.equal(fault, undefined, `${seed - FIRST_SEED} files`);
        t.ok(process.memoryUsage().rss < MAX_MEMORY, "memory stays bounded");
      },
    );
  }
}
