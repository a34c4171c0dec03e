// The proofs that `verify` and `expand` share: by bytes, by numbers, or both. Loads what runs models only when they are to be run.
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError } from "../errors.ts";
import type { Run, RunOptions } from "../events.ts";
import type { Device } from "../runtime/protocol.ts";
import type { NumbersOptions } from "../verification/numeric/options.ts";
import type { VerificationReport } from "../verification/report.ts";
import { verifyStructure } from "../verification/structure.ts";

export interface ProverOptions extends NumbersOptions, RunOptions {
  /** Default "structure". */
  readonly mode?: VerificationReport["mode"];
  /** Stack of blocks that was expanded, where a model has several. */
  readonly stack?: string;
  /** Where models run. Default "cpu". */
  readonly device?: Device;
  /** Which of several CUDA devices. Default: the first. */
  readonly deviceId?: number;
  /** One sequence, tokenized by BEFORE's tokenizer.json, instead of seeded ones. */
  readonly prompt?: string;
  /** Of mode "trained": path of the mask. Default: the one beside BEFORE, else its copies are found. */
  readonly mask?: string;
  /** Threads inside an operator. Default: the number of cores. */
  readonly threads?: number;
}

export interface Prover {
  prove(before: Checkpoint, after: Checkpoint): Run<VerificationReport>;
  close(): Promise<void>;
}

/** Throws "backend" at once, before anything is read or written, when models are to be run and cannot be. */
export async function openProver(options: ProverOptions): Promise<Prover> {
  const { mode = "structure", device = "cpu", deviceId, threads, signal } = options;
  if (options.prompt !== undefined && options.tokenIds !== undefined) {
    throw new ExpandError("usage", "--prompt and --token-ids both say what to run on", { fix: "Give one of them." });
  }
  if (mode === "structure") {
    return { prove: (before, after) => verifyStructure(before, after, options), close: async () => undefined };
  }
  if (mode === "trained") {
    const { verifyTrained } = await import("../verification/trained.ts");
    const { trainableTensors } = await import("./trainable.ts");
    return {
      prove: async function* (before, after) {
        return yield* verifyTrained(before, after, await trainableTensors(before, options), options);
      },
      close: async () => undefined,
    };
  }
  const { openRuntime } = await import("../runtime/runtime.ts");
  const { verifyBoth, verifyNumbers } = await import("../verification/verify.ts");
  const runtime = await openRuntime({
    device,
    // Beyond "basic", onnxruntime fuses sums into norms, in another order of additions wherever the graph around them allows it: models
    // that compute the same would differ by their rounding.
    optimization: "basic",
    ...(deviceId === undefined ? {} : { deviceId }),
    ...(threads === undefined ? {} : { threads }),
    ...(signal === undefined ? {} : { signal }),
  });
  const run = mode === "both" ? verifyBoth : verifyNumbers;
  return {
    prove: async function* (before, after) {
      const { promptIds } = await import("../verification/numeric/prompt.ts");
      const prompt = options.prompt === undefined ? {} : { tokenIds: await promptIds(before, options.prompt) };
      return yield* run(before, after, runtime, { ...options, ...prompt });
    },
    close: () => runtime.close(),
  };
}
