// What two checkpoints hold, by the SHA-256 of their tensors and files: the ground on which a delta is taken and applied. Reads all of both.
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import type { Run } from "../events.ts";
import { type DigestRun, digestAll, runOf } from "../expansion/delta/digest.ts";
import { type ByteSource, memorySource } from "../tensor/source.ts";

export interface BaseContents {
  /** Name to SHA-256. */
  readonly tensors: Readonly<Record<string, string>>;
  /** SHA-256 and bytes to name, of tensors and of other files. */
  readonly tensorOf: ReadonlyMap<string, string>;
  readonly fileOf: ReadonlyMap<string, string>;
}

export async function* baseContents(base: Checkpoint, signal: AbortSignal | undefined): Run<BaseContents> {
  const stored = [...base.tensors].flatMap(([name, tensor]) => {
    const run = runOf(tensor);
    return run === undefined ? [] : [{ name, run }];
  });
  const others = [...otherFiles(base)];
  const runs = [...stored.map(({ run }) => run), ...others.map(([, source]) => whole(source))];
  const digests = yield* digestAll(runs, signal);
  const tensors: Record<string, string> = {};
  const tensorOf = new Map<string, string>();
  for (const [at, { name, run }] of stored.entries()) {
    const digest = digests[at] ?? "";
    tensors[name] = digest;
    const key = `${digest}:${run.length}`;
    if (!tensorOf.has(key)) tensorOf.set(key, name);
  }
  const fileOf = new Map(
    others.map(([name, source], at) => [`${digests[stored.length + at]}:${source.size}`, name] as const),
  );
  return { tensors, tensorOf, fileOf };
}

/** Settings and assets. */
export function otherFiles({ config, assets }: Checkpoint): ReadonlyMap<string, ByteSource> {
  const documents = config.dialect === "gguf" ? [] : [...config.documents];
  return new Map([
    ...documents.map(([name, { text }]) => [name, memorySource(name, Buffer.from(text))] as const),
    ...assets,
  ]);
}

function whole(source: ByteSource): DigestRun {
  return { source, offset: 0, length: source.size };
}

export interface ExpandedContents {
  readonly tensors: ReadonlyMap<string, string>;
  readonly files: ReadonlyMap<string, string>;
}

export async function* expandedContents(
  expanded: Checkpoint,
  files: ReadonlyMap<string, ByteSource>,
  signal: AbortSignal | undefined,
): Run<ExpandedContents> {
  const stored = [...expanded.tensors].flatMap(([name, tensor]) => {
    const run = runOf(tensor);
    return run?.source.path === undefined ? [] : [{ name, run }];
  });
  const runs = [...stored.map(({ run }) => run), ...[...files.values()].map(whole)];
  const digests = yield* digestAll(runs, signal);
  return {
    tensors: new Map(stored.map(({ name }, at) => [name, digests[at] ?? ""])),
    files: new Map([...files.keys()].map((name, at) => [name, digests[stored.length + at] ?? ""])),
  };
}
