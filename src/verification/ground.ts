// Finds what a comparison can stand on: the meaning of BEFORE's tensor names, and AFTER's names read by it. Reads no weights.
import type { Architecture } from "../architecture/architecture.ts";
import { understand } from "../architecture/detect.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError } from "../errors.ts";
import type { RunEvent } from "../events.ts";
import { findNumbering, type Numbering } from "./numbering.ts";
import type { Evidence } from "./pairs.ts";
import type { Finding, FoundBlock } from "./report.ts";

export interface Ground {
  readonly architecture: Architecture;
  readonly numbering: Numbering;
  /** Only of ONNX: both sides with a tensor for each use of a weight, and what is to be proved beyond the blocks' tensors. */
  readonly graphs?: {
    readonly before: Checkpoint;
    readonly after: Checkpoint;
    prove(evidence: Evidence, blocks: readonly FoundBlock[]): AsyncGenerator<RunEvent, readonly Finding[], void>;
  };
}

/** Or why there is none. Throws what `understand` throws, except that it does not support BEFORE. */
export async function findGround(
  before: Checkpoint,
  after: Checkpoint,
  stack: string | undefined,
): Promise<Ground | { readonly reason: string }> {
  if (before.graph === undefined || after.graph === undefined) return groundByNames(before, after, stack);
  // What reads graphs is loaded for graphs only.
  const { findGraphGround } = await import("./graph/ground.ts");
  return findGraphGround({ ...before, graph: before.graph }, { ...after, graph: after.graph });
}

async function groundByNames(
  before: Checkpoint,
  after: Checkpoint,
  stack: string | undefined,
): Promise<Ground | { readonly reason: string }> {
  if (before.config.dialect !== after.config.dialect) {
    return {
      reason: `BEFORE is ${before.format} and AFTER is ${after.format}: their tensors have other names and bytes, so only numbers can be compared (--mode numbers)`,
    };
  }
  if (
    before.config.dialect === "gguf" &&
    after.config.dialect === "gguf" &&
    before.config.metadata.bigEndian !== after.config.metadata.bigEndian
  ) {
    return { reason: "BEFORE and AFTER store their values in different byte orders, so only numbers can be compared" };
  }
  try {
    const ground = await onStack(before, after, stack);
    if (stack !== undefined || ground.numbering.blocks !== ground.architecture.blocks.length) return ground;
    const others = ground.architecture.stacks.filter((each) => each !== ground.architecture.stack);
    for (const other of others) {
      const grown = await tryStack(before, after, other);
      if (grown !== undefined) return grown;
    }
    return ground;
  } catch (error) {
    if (!(error instanceof ExpandError) || error.tag !== "unsupported") throw error;
    return { reason: `BEFORE is not understood: ${error.message}` };
  }
}

async function onStack(before: Checkpoint, after: Checkpoint, stack: string | undefined): Promise<Ground> {
  const architecture = await understand(before, stack === undefined ? {} : { stack });
  return { architecture, numbering: findNumbering(architecture, after.tensors.keys()) };
}

/** The other stack, if it grew. One that cannot be expanded is no candidate. */
async function tryStack(before: Checkpoint, after: Checkpoint, stack: string): Promise<Ground | undefined> {
  try {
    const ground = await onStack(before, after, stack);
    return ground.numbering.blocks === ground.architecture.blocks.length ? undefined : ground;
  } catch (error) {
    if (error instanceof ExpandError && error.tag === "unsupported") return undefined;
    throw error;
  }
}
