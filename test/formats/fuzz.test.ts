// Damaged files of every kind: a reader may refuse them with an ExpandError, and may do nothing else. FUZZ_RUNS sets how many of each
// kind, FUZZ_SEED where to begin.
import t from "tap";
import { faultOf, mutated } from "./fuzz/gguf.ts";
import { jsonDocuments } from "./fuzz/json.ts";
import { onnxFiles } from "./fuzz/onnx.ts";
import { indexFiles, safetensorsFiles, safetensorsHeaders } from "./fuzz/safetensors.ts";
import { torchArchives, torchPickles, torchPrograms } from "./fuzz/torch.ts";
import type { FuzzedReader } from "./mutate.ts";

const RUNS = Number(process.env.FUZZ_RUNS ?? 5000);
const FIRST_SEED = Number(process.env.FUZZ_SEED ?? 1);
/** Bytes. What this process may take after each kind. */
const MAX_MEMORY = 2 ** 30;

const READERS: readonly FuzzedReader[] = [
  safetensorsFiles,
  safetensorsHeaders,
  indexFiles,
  torchArchives,
  torchPickles,
  torchPrograms,
  jsonDocuments,
  onnxFiles,
  { name: "GGUF files", damaged: mutated, faultOf },
];

for (const { name, damaged, faultOf } of READERS) {
  t.test(`${name}, damaged at random, are read or refused; nothing is thrown that is not an ExpandError`, async (t) => {
    let fault: string | undefined;
    let seed = FIRST_SEED;
    for (; seed < FIRST_SEED + RUNS && fault === undefined; seed++) {
      const data = damaged(seed);
      fault = await faultOf(data);
      if (fault !== undefined)
        t.fail(`FUZZ_SEED=${seed} FUZZ_RUNS=1: ${fault}`, { data: Buffer.from(data).toString("hex") });
    }
    t.equal(fault, undefined, `${seed - FIRST_SEED} files`);
    t.ok(process.memoryUsage().rss < MAX_MEMORY, "memory stays bounded");
  });
}
