// `delta extract`: the copies of an expanded checkpoint as one file that gives back all of it, byte for byte, on the base it was made from.
import path from "node:path";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { fingerprint } from "../checkpoint/fingerprint.ts";
import { ExpandError } from "../errors.ts";
import type { Run, RunOptions } from "../events.ts";
import { type AssembledFile, type KnownRun, takeApart } from "../expansion/delta/assembly.ts";
import { type DeltaBase, keptTensor, planDelta, storable } from "../expansion/delta/delta-file.ts";
import { digestAll, runOf } from "../expansion/delta/digest.ts";
import { openCheckpoint } from "../formats/open.ts";
import type { NamedTensor } from "../formats/safetensors/layout.ts";
import { JsonDocument, type JsonValue } from "../json.ts";
import { claimOutput } from "../storage/output.ts";
import { writeFiles } from "../storage/write.ts";
import type { TensorRef } from "../tensor/reference.ts";
import type { ByteSource } from "../tensor/source.ts";
import { type BaseContents, baseContents, type ExpandedContents, expandedContents } from "./delta-contents.ts";
import { filesOf } from "./delta-files.ts";
import { findCopies } from "./mask.ts";
import { refuseInsideSource } from "./source-guard.ts";
import { understandCheckpoint } from "./understanding.ts";

export interface ExtractOptions extends RunOptions {
  /** An expanded checkpoint, trained or not. */
  readonly expanded: string;
  /** A .safetensors file. */
  readonly output: string;
  /** The checkpoint that was expanded, or a repository of the Hub. */
  readonly base: string;
  readonly stack?: string;
  readonly token?: string;
  readonly force?: boolean;
}

export interface ExtractReport {
  readonly output: string;
  /** Bytes of the delta, and of the files that it gives back. */
  readonly bytes: number;
  readonly expandedBytes: number;
  readonly sha256: string;
  readonly base: { readonly location: string; readonly headers: string };
  readonly copies: readonly number[];
  /** Tensors in the delta. */
  readonly tensors: number;
  /** Those of them that are no copy's, and that the base has not byte for byte. */
  readonly others: readonly string[];
  readonly files: readonly string[];
  /** Those of them that are not what the manifest says: they changed after they were written. */
  readonly changed: readonly string[];
  /** Names beside the checkpoint that the delta does not hold. */
  readonly leftOut: readonly string[];
}

/** Reads both checkpoints to the end. Throws "input" when the base has nothing of the expanded checkpoint, and what opening throws. */
export async function* extractDelta(options: ExtractOptions): Run<ExtractReport> {
  const { output, signal, force = false } = options;
  checkName(output);
  yield { kind: "phase", name: "read headers" };
  const base = await openCheckpoint(options.base, options);
  const expanded = await openCheckpoint(options.expanded, options);
  const { place, files, listed, leftOut } = filesOf(expanded);
  const { copies, names } = await copiedTensors(expanded, options);
  const [directory, name] = [path.dirname(path.resolve(output)), path.basename(output)];
  for (const source of [base, expanded]) refuseInsideSource(source, { directory, file: name });
  const write = { key: `delta of ${fingerprint(expanded).headers}`, resume: false } as const;
  claimOutput(directory, [name], { ...write, force, alone: false });
  yield { kind: "phase", name: "hash the base" };
  const known = yield* baseContents(base, signal);
  yield { kind: "phase", name: "hash the checkpoint" };
  const contents = yield* expandedContents(expanded, files, signal);
  const taken = takeAllApart(expanded, files, contents, known, names);
  refuseStranger(base, expanded, taken);
  const plan = await planOf(files.get(place.sidecar("plan.json")));
  const delta = {
    plan,
    base: { format: base.format, headers: fingerprint(base).headers, tensors: known.tensors, files: taken.taken },
    expanded: { format: expanded.format, headers: fingerprint(expanded).headers },
    copies,
    own: yield* ownDigests(taken, contents, signal),
    files: taken.files,
  };
  const file = planDelta(name, delta, taken.tensors);
  const how = { ...write, hash: true, sparse: false, link: false, ...(signal === undefined ? {} : { signal }) };
  const [written] = yield* writeFiles(directory, [file], () => [], how);
  return {
    output,
    bytes: file.size,
    expandedBytes: taken.files.reduce((sum, { size }) => sum + size, 0),
    sha256: written?.sha256 ?? "",
    base: { location: base.location, headers: delta.base.headers },
    copies,
    tensors: taken.own.length,
    others: taken.own.filter((tensor) => !names.has(tensor)),
    files: taken.files.map((each) => each.name),
    changed: [...contents.files].flatMap(([each, digest]) => ((listed.get(each) ?? digest) === digest ? [] : [each])),
    leftOut,
  };
}

function checkName(output: string): void {
  if (/[^/\\]\.safetensors$/i.test(output)) return;
  throw new ExpandError("usage", "a delta is one .safetensors file", { at: output, fix: "Name it delta.safetensors." });
}

/** The copies by mask.json, else the blocks that add nothing; where neither says it, the base alone decides what is new. */
async function copiedTensors(
  opened: Checkpoint,
  options: ExtractOptions,
): Promise<{ readonly copies: readonly number[]; readonly names: ReadonlySet<string> }> {
  const { checkpoint, architecture } = await understandCheckpoint(opened, options.stack);
  const wishes = { ...options, source: opened.location };
  const copies = await findCopies(checkpoint, architecture, wishes).then(
    (found) => found.copies,
    (error: unknown) => {
      if (error instanceof ExpandError && error.tag === "plan") return [];
      throw error;
    },
  );
  const names = copies.flatMap((index) => [...(architecture.blocks[index]?.tensors.values() ?? [])]);
  const aliases = names.map((each) => architecture.aliases?.get(each) ?? each);
  return { copies, names: new Set(aliases.filter((each) => opened.tensors.has(each))) };
}

/** Of everything in the delta, so that it is known to be whole before anything is written by it. */
async function* ownDigests(
  { own, tensors }: TakenApart,
  contents: ExpandedContents,
  signal: AbortSignal | undefined,
): Run<Readonly<Record<string, string>>> {
  const kept = tensors.flatMap(([name, tensor]) => {
    const run = contents.tensors.has(name) ? undefined : runOf(tensor);
    return run === undefined ? [] : [{ name, run }];
  });
  const digests = yield* digestAll(
    kept.map(({ run }) => run),
    signal,
  );
  return Object.fromEntries([
    ...own.map((name) => [name, contents.tensors.get(name) ?? ""] as const),
    ...kept.map(({ name }, at) => [name, digests[at] ?? ""] as const),
  ]);
}

interface TakenApart {
  readonly files: readonly AssembledFile[];
  readonly tensors: readonly NamedTensor[];
  /** Names of the checkpoint's tensors that the delta holds. */
  readonly own: readonly string[];
  /** Files of the base that are taken over, with their SHA-256. */
  readonly taken: DeltaBase["files"];
  /** Tensors that are the base's. */
  readonly shared: number;
}

function takeAllApart(
  expanded: Checkpoint,
  files: ReadonlyMap<string, ByteSource>,
  contents: ExpandedContents,
  base: BaseContents,
  copied: ReadonlySet<string>,
): TakenApart {
  const runs = knownRuns(expanded, contents, base, copied);
  const own = new Map<string, TensorRef>();
  const kept: NamedTensor[] = [];
  const taken: Record<string, string> = {};
  let shared = 0;
  const parts = [...files].map(([name, source]): AssembledFile => {
    const sha256 = contents.files.get(name) ?? "";
    const same = base.fileOf.get(`${sha256}:${source.size}`);
    if (same !== undefined) taken[same] = sha256;
    const apart =
      same === undefined
        ? takeApart(source, runs.get(source.path ?? "") ?? [])
        : { pieces: [{ file: same }], kept: [] };
    for (const piece of apart.pieces) {
      if ("tensor" in piece) shared++;
      if ("own" in piece) own.set(piece.own, tensorIn(expanded, piece.own));
    }
    if (apart.kept.length > 0) kept.push(keptTensor(name, apart.kept));
    return { name, size: source.size, sha256, pieces: apart.pieces };
  });
  const tensors = [...[...own].map(([name, tensor]) => [name, storable(tensor)] as const), ...kept];
  return { files: parts, tensors, own: [...own.keys()], taken, shared };
}

/** By path of the file: where tensors lie, and who has their bytes. A copy's are the delta's own, unless an original shares them. */
function knownRuns(
  expanded: Checkpoint,
  contents: ExpandedContents,
  base: BaseContents,
  copied: ReadonlySet<string>,
): ReadonlyMap<string, readonly KnownRun[]> {
  const runs = new Map<string, KnownRun[]>();
  const add = (name: string, piece: (digest: string, length: number) => KnownRun["piece"] | undefined): void => {
    const run = runOf(tensorIn(expanded, name));
    const found = run && piece(contents.tensors.get(name) ?? "", run.length);
    if (run?.source.path === undefined || found === undefined) return;
    const list = runs.get(run.source.path) ?? [];
    runs.set(run.source.path, list);
    list.push({ offset: run.offset, length: run.length, piece: found });
  };
  // Originals come first: of equal runs, the first is taken.
  const names = [...expanded.tensors.keys()].sort((a, b) => Number(copied.has(a)) - Number(copied.has(b)));
  for (const name of names) {
    add(name, (digest, length) => {
      const tensor = copied.has(name) ? undefined : base.tensorOf.get(`${digest}:${length}`);
      return tensor === undefined ? { own: name } : { tensor };
    });
  }
  return runs;
}

function tensorIn({ tensors, location }: Checkpoint, name: string): TensorRef {
  const tensor = tensors.get(name);
  if (tensor === undefined) throw new ExpandError("bug", `there is no tensor "${name}"`, { at: location });
  return tensor;
}

/** A delta against a stranger would hold the whole model. */
function refuseStranger(base: Checkpoint, expanded: Checkpoint, { shared }: TakenApart): void {
  if (shared > 0) return;
  throw new ExpandError("input", `has not one tensor of ${expanded.location}`, {
    at: base.location,
    fix: "Name the checkpoint that was expanded.",
  });
}

async function planOf(source: ByteSource | undefined): Promise<JsonValue> {
  return source === undefined ? null : JsonDocument.parse(source.name, await source.read(0, source.size)).value;
}
