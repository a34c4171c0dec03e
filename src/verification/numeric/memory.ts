// What a user is told whose tokens do not fit into memory. Frees nothing and tries nothing again.
import { ExpandError } from "../../errors.ts";
import type { Sitting } from "./inputs.ts";

/** As src/runtime says it of a run; of a model that is being opened it says something else, and no choice of tokens would help. */
const OUT_OF_MEMORY = /onnxruntime ran out of memory on (\w+): .*while running/;
/** Bytes that were asked for at last, in onnxruntime's words. */
const ASKED = /buffer of size (\d+)/;

/** Throws "backend", naming --tokens, where a run fails for want of memory. */
export async function withinMemory<Result>({ batch, length }: Sitting, run: () => Promise<Result>): Promise<Result> {
  try {
    return await run();
  } catch (error) {
    const found = error instanceof ExpandError ? OUT_OF_MEMORY.exec(error.message) : null;
    if (!(error instanceof ExpandError) || found === null) throw error;
    const asked = ASKED.exec(error.message)?.[1];
    const last = asked === undefined ? "" : `; the last piece it asked for has ${(Number(asked) / 1e9).toFixed(1)} GB`;
    throw new ExpandError(
      "backend",
      `${batch} x ${length} tokens take more memory than there is on ${found[1]}${last}`,
      {
        ...(error.at === undefined ? {} : { at: error.at }),
        fix: "Give a smaller --tokens (memory grows with its square) or a smaller --samples.",
        cause: error,
      },
    );
  }
}
