// `delta apply`: a base and a delta in, the expanded checkpoint out, byte for byte. Writes nothing before base and delta are proved to be
// the ones.
import { createHash } from "node:crypto";
import path from "node:path";
import type { Checkpoint, Shard } from "../checkpoint/checkpoint.ts";
import { fingerprint } from "../checkpoint/fingerprint.ts";
import { ExpandError } from "../errors.ts";
import type { Run, RunOptions } from "../events.ts";
import { type AssembledFile, keptBytes, putTogether } from "../expansion/delta/assembly.ts";
import { type Delta, keptName, parseDelta } from "../expansion/delta/delta-file.ts";
import { type DigestRun, digestAll, runOf } from "../expansion/delta/digest.ts";
import { openCheckpoint } from "../formats/open.ts";
import { openSafetensorsFile } from "../formats/safetensors/read.ts";
import type { FilePlan, WrittenFile } from "../storage/file-plan.ts";
import type { TensorRef } from "../tensor/reference.ts";
import { fileSource, memorySource } from "../tensor/source.ts";
import { listed } from "../verification/report.ts";
import { otherFiles } from "./delta-contents.ts";
import { type RestoreOptions, writeRestored } from "./delta-write.ts";

export interface ApplyOptions extends RunOptions, RestoreOptions {
  /** The checkpoint that the delta was extracted against, or a repository of the Hub. */
  readonly base: string;
  /** What `delta extract` wrote. */
  readonly delta: string;
  readonly token?: string;
}

export interface ApplyReport {
  readonly output: string;
  readonly files: readonly WrittenFile[];
  readonly copies: readonly number[];
  readonly bytes: number;
}

/** Throws "input" when the base is another one or the delta is damaged, before anything is written. */
export async function* applyDelta(options: ApplyOptions): Run<ApplyReport> {
  const { signal } = options;
  yield { kind: "phase", name: "read headers" };
  const source = fileSource(path.resolve(options.delta), options.delta);
  const opened = await openSafetensorsFile(source, path.basename(options.delta));
  const delta = parseDelta(options.delta, opened.shard.metadata);
  const base = await openCheckpoint(options.base, options);
  checkHeaders(base, delta);
  yield { kind: "phase", name: "hash the base" };
  yield* checkContents(base, delta, signal);
  yield { kind: "phase", name: "hash the delta" };
  yield* checkOwn(opened.shard, opened.tensors, delta, signal);
  const others = otherFiles(base);
  const parts = {
    tensor: (name: string) => base.tensors.get(name) ?? lost(options.base, `tensor ${JSON.stringify(name)}`),
    own: (name: string) => opened.tensors.get(name) ?? lost(options.delta, `tensor ${JSON.stringify(name)}`),
    file: (name: string) => others.get(name) ?? lost(options.base, `file ${JSON.stringify(name)}`),
  };
  const plans = delta.files.map(
    (file): FilePlan => putTogether(file, { ...parts, kept: keptOf(file, opened.tensors, options.delta) }),
  );
  const key = createHash("sha256")
    .update(JSON.stringify([delta.expanded, delta.base.headers, delta.files]))
    .digest("hex");
  const files = yield* writeRestored(base, options, delta.files, plans, key);
  return {
    output: options.output,
    files,
    copies: delta.copies,
    bytes: files.reduce((sum, { size }) => sum + size, 0),
  };
}

/** Cheap, and says most: another model, or other settings. */
function checkHeaders(base: Checkpoint, delta: Delta): void {
  const found = fingerprint(base).headers;
  if (found === delta.base.headers) return;
  throw new ExpandError(
    "input",
    `is not the base of this delta: its headers are ${found.slice(0, 12)}, those of the base were ${delta.base.headers.slice(0, 12)}`,
    { at: base.location, fix: "Name the checkpoint that was expanded, with its settings as they were." },
  );
}

/** Headers say nothing of values: the bytes of every tensor must be what they were. */
async function* checkContents(base: Checkpoint, delta: Delta, signal: AbortSignal | undefined): Run<void> {
  const others = otherFiles(base);
  const wanted: { readonly what: string; readonly sha256: string; readonly run: DigestRun | undefined }[] = [];
  for (const [name, sha256] of Object.entries(delta.base.tensors)) {
    const tensor = base.tensors.get(name);
    wanted.push({ what: name, sha256, run: tensor && runOf(tensor) });
  }
  for (const [name, sha256] of Object.entries(delta.base.files)) {
    const source = others.get(name);
    wanted.push({ what: name, sha256, run: source && { source, offset: 0, length: source.size } });
  }
  const nothing = { source: memorySource("nothing", new Uint8Array(0)), offset: 0, length: 0 };
  const digests = yield* digestAll(
    wanted.map(({ run }) => run ?? nothing),
    signal,
  );
  const wrong = wanted.filter(({ sha256, run }, at) => run === undefined || digests[at] !== sha256);
  if (wrong.length === 0) return;
  const names = listed(wrong.map(({ what }) => what));
  throw new ExpandError(
    "input",
    `is not the base of this delta: ${wrong.length} of ${wanted.length} tensors and files have other bytes (${names})`,
    { at: base.location, fix: "Name the checkpoint that was expanded, untrained and unchanged." },
  );
}

async function* checkOwn(
  { source }: Shard,
  tensors: ReadonlyMap<string, TensorRef>,
  delta: Delta,
  signal: AbortSignal | undefined,
): Run<void> {
  const entries = Object.entries(delta.own);
  const runs = entries.map(([name]) => {
    const tensor = tensors.get(name);
    return (tensor && runOf(tensor)) ?? { source, offset: 0, length: 0 };
  });
  const digests = yield* digestAll(runs, signal);
  const wrong = entries.filter(([, sha256], at) => digests[at] !== sha256).map(([name]) => name);
  if (wrong.length === 0) return;
  throw new ExpandError(
    "damaged",
    `${wrong.length} of its tensors ${wrong.length === 1 ? "has" : "have"} other bytes than it says (${listed(wrong)})`,
    {
      at: source.name,
      fix: "Copy or extract the delta again.",
    },
  );
}

function keptOf(
  file: AssembledFile,
  tensors: ReadonlyMap<string, TensorRef>,
  delta: string,
): { readonly source: Shard["source"]; readonly offset: number; readonly length: number } {
  if (keptBytes(file.pieces) === 0) return { source: memorySource(file.name, new Uint8Array(0)), offset: 0, length: 0 };
  const tensor = tensors.get(keptName(file.name));
  return (tensor && runOf(tensor)) ?? lost(delta, `bytes of ${JSON.stringify(file.name)}`);
}

function lost(at: string, what: string): never {
  throw new ExpandError("damaged", `has no ${what}, which the delta asks for`, { at, fix: "Extract the delta again." });
}
