// The verb `inspect`: what a checkpoint is made of. Reads headers, and of each block's closing tensors as much as shows whether
// they are closed.
import type { Block } from "../architecture/architecture.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { type Fingerprint, fingerprint } from "../checkpoint/fingerprint.ts";
import { ExpandError, throwIfAborted } from "../errors.ts";
import type { Run, RunOptions } from "../events.ts";
import { isIdentityBlock } from "../expansion/liveness.ts";
import { openCheckpoint } from "../formats/open.ts";
import { elementCount } from "../tensor/dtype.ts";
import { type Understood, understandCheckpoint } from "./understanding.ts";

export interface InspectOptions extends RunOptions {
  readonly source: string;
  /** For repositories of the Hub; otherwise the environment's. */
  readonly token?: string;
  readonly stack?: string;
  /** Also list every tensor. */
  readonly tensors?: boolean;
}

export interface InspectedBlock {
  readonly index: number;
  readonly kind: string;
  readonly tensors: number;
  readonly parameters: number;
  readonly bytes: number;
  readonly dtypes: readonly string[];
  /** True when every branch is closed: the block adds exactly nothing. */
  readonly identity: boolean;
}

export interface InspectReport {
  readonly checkpoint: Fingerprint;
  readonly shards: readonly { readonly name: string; readonly bytes: number; readonly tensors: number }[];
  /** Per storage type: number of tensors, values and bytes. */
  readonly dtypes: Readonly<
    Record<string, { readonly tensors: number; readonly parameters: number; readonly bytes: number }>
  >;
  readonly parameters: number;
  /** Absent when the architecture is not understood; `refusal` then says why. */
  readonly architecture?: {
    readonly family: string;
    readonly modelType: string;
    readonly stack: string;
    readonly stacks: readonly string[];
    readonly period: number;
    readonly tail: number;
    readonly outside: number;
    readonly notes: readonly string[];
    readonly blocks: readonly InspectedBlock[];
  };
  /** For a repository of the Hub: the commit that was read, and the bytes that it took. */
  readonly hub?: { readonly commit: string; readonly received: number };
  readonly refusal?: { readonly message: string; readonly fix?: string };
  readonly tensors?: readonly { readonly name: string; readonly dtype: string; readonly shape: readonly number[] }[];
}

export async function* inspect(options: InspectOptions): Run<InspectReport> {
  yield { kind: "phase", name: "read headers" };
  const checkpoint = await openCheckpoint(options.source, options);
  const understood = await attempt(checkpoint, options.stack);
  const architecture = "refusal" in understood ? undefined : await describe(understood, options.signal);
  return {
    checkpoint: fingerprint(checkpoint),
    shards: checkpoint.shards.map(({ name, source, tensors }) => ({
      name,
      bytes: source.size,
      tensors: tensors.length,
    })),
    ...totals(checkpoint),
    ...(checkpoint.repository === undefined
      ? {}
      : { hub: { commit: checkpoint.repository.commit, received: checkpoint.repository.received } }),
    ...(architecture === undefined ? {} : { architecture }),
    ...("refusal" in understood ? { refusal: understood.refusal } : {}),
    ...(options.tensors === true ? { tensors: listTensors(checkpoint) } : {}),
  };
}

/** A refused architecture is a finding here, not a failure: sizes and names can be shown all the same. */
async function attempt(
  checkpoint: Checkpoint,
  stack: string | undefined,
): Promise<Understood | { refusal: { message: string; fix?: string } }> {
  try {
    return await understandCheckpoint(checkpoint, stack);
  } catch (error) {
    if (!(error instanceof ExpandError) || error.tag === "bug" || error.tag === "usage") throw error;
    return { refusal: { message: error.message, ...(error.fix === undefined ? {} : { fix: error.fix }) } };
  }
}

async function describe(
  { checkpoint, architecture }: Understood,
  signal: AbortSignal | undefined,
): Promise<NonNullable<InspectReport["architecture"]>> {
  const { family, modelType, stack, stacks, period, notes, tail, outside } = architecture;
  const blocks: InspectedBlock[] = [];
  for (const block of architecture.blocks) {
    throwIfAborted(signal);
    blocks.push(await describeBlock(checkpoint, block));
  }
  return { family, modelType, stack, stacks, period, tail: tail.length, outside: outside.length, notes, blocks };
}

async function describeBlock(checkpoint: Checkpoint, block: Block): Promise<InspectedBlock> {
  const dtypes = new Set<string>();
  let parameters = 0;
  let bytes = 0;
  for (const name of block.tensors.values()) {
    const tensor = checkpoint.tensors.get(name);
    if (tensor === undefined) continue;
    dtypes.add(tensor.dtype);
    parameters += elementCount(tensor.shape) ?? 0;
    bytes += tensor.bytes;
  }
  const { index, kind, tensors } = block;
  const identity = await isIdentityBlock(checkpoint, block);
  return { index, kind, tensors: tensors.size, parameters, bytes, dtypes: [...dtypes], identity };
}

function totals(checkpoint: Checkpoint): Pick<InspectReport, "dtypes" | "parameters"> {
  const dtypes: Record<string, { tensors: number; parameters: number; bytes: number }> = {};
  let parameters = 0;
  for (const { dtype, shape, bytes } of checkpoint.tensors.values()) {
    const values = elementCount(shape) ?? 0;
    const row = dtypes[dtype] ?? { tensors: 0, parameters: 0, bytes: 0 };
    dtypes[dtype] = { tensors: row.tensors + 1, parameters: row.parameters + values, bytes: row.bytes + bytes };
    parameters += values;
  }
  return { dtypes, parameters };
}

function listTensors(checkpoint: Checkpoint): NonNullable<InspectReport["tensors"]> {
  return [...checkpoint.tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
}
