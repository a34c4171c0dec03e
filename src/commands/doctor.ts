// The verb `doctor`: is this machine, or this checkpoint, fit for work? Changes nothing and prints no secret.
import { createHash } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { Architecture } from "../architecture/architecture.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError, throwIfAborted } from "../errors.ts";
import type { Run, RunOptions } from "../events.ts";
import { openCheckpoint } from "../formats/open.ts";
import { VERSION } from "../version.ts";
import { type ManifestEntry, readManifest } from "./output.ts";
import { type DoctorCheck, runtimeChecks } from "./runtime-checks.ts";

export type { DoctorCheck } from "./runtime-checks.ts";

import { understandCheckpoint } from "./understanding.ts";

export interface DoctorOptions extends RunOptions {
  /** A checkpoint to examine; absent: the environment. */
  readonly checkpoint?: string;
}

export interface DoctorReport {
  readonly checks: readonly DoctorCheck[];
  readonly healthy: boolean;
}

export async function* doctor(options: DoctorOptions): Run<DoctorReport> {
  const checks =
    options.checkpoint === undefined
      ? await environmentChecks()
      : yield* checkpointChecks(options.checkpoint, options.signal);
  return { checks, healthy: checks.every((check) => check.status !== "broken") };
}

async function environmentChecks(): Promise<DoctorCheck[]> {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  const fits = (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major >= 24;
  const { bavail, bsize } = fs.statfsSync(process.cwd());
  return [
    { name: "expand-checkpoint", status: "ok", detail: VERSION },
    {
      name: "node",
      status: fits ? "ok" : "broken",
      detail: `${process.versions.node} on ${process.platform} ${process.arch}; 20.19, 22.12 or 24 and later are supported`,
      ...(fits ? {} : { fix: "Install a supported Node.js." }),
    },
    { name: "processors", status: "ok", detail: `${os.availableParallelism()}; two shards are written at a time` },
    { name: "disk", status: "ok", detail: `${Math.floor((bavail * bsize) / 1e9)} GB free here (${process.cwd()})` },
    ...(await runtimeChecks()),
    tokenCheck(),
  ];
}

/** Says where a Hub token would come from, never what it is. */
function tokenCheck(): DoctorCheck {
  const home = process.env.HF_HOME ?? path.join(os.homedir(), ".cache", "huggingface");
  const file = process.env.HF_TOKEN_PATH ?? path.join(home, "token");
  const found = process.env.HF_TOKEN !== undefined ? "HF_TOKEN" : fs.existsSync(file) ? file : undefined;
  const detail = found === undefined ? "no Hugging Face token; none is needed for local files" : `found in ${found}`;
  return { name: "token", status: found === undefined ? "note" : "ok", detail };
}

async function* checkpointChecks(location: string, signal: AbortSignal | undefined): Run<DoctorCheck[]> {
  yield { kind: "phase", name: "read headers" };
  const checks: DoctorCheck[] = [];
  const checkpoint = await examine(checks, "files", async () => {
    const opened = await openCheckpoint(location);
    return {
      value: opened,
      detail: `${opened.shards.length} ${opened.shards.length === 1 ? "file" : "files"}, ${opened.tensors.size} tensors, headers consistent`,
    };
  });
  if (checkpoint === undefined) return checks;
  const architecture = await examine(checks, "architecture", async () => {
    const { architecture: value } = await understandCheckpoint(checkpoint, undefined);
    return { value, detail: `${value.family}, ${value.blocks.length} blocks, every tensor claimed` };
  });
  if (architecture !== undefined) await examine(checks, "settings", async () => settingsCheck(architecture));
  yield* manifestCheck(checks, checkpoint, signal);
  return checks;
}

/** Settings per block must fit the number of blocks: adapting them to the blocks as they stand must change nothing. */
function settingsCheck(architecture: Architecture): { value: true; detail: string } {
  const layout = architecture.blocks.map((block) => ({ kind: "original" as const, from: block.index }));
  const stale = architecture
    .adapt(layout)
    .edits.filter((edit) => JSON.stringify(edit.before) !== JSON.stringify(edit.after));
  const [first] = stale;
  if (first === undefined) return { value: true, detail: "every per-block setting fits the blocks" };
  throw new ExpandError("damaged", `expected ${JSON.stringify(first.after)}, found ${JSON.stringify(first.before)}`, {
    at: `${first.document} ${first.path}`,
    fix: `Set ${first.path} to the expected value.`,
  });
}

async function* manifestCheck(
  checks: DoctorCheck[],
  checkpoint: Checkpoint,
  signal: AbortSignal | undefined,
): Run<void> {
  const directory = path.dirname(checkpoint.shards[0]?.source.path ?? checkpoint.location);
  const entries = readManifest(path.join(directory, "manifest.json"));
  if (entries === undefined) return;
  yield { kind: "phase", name: "compare with the manifest" };
  const total = entries.reduce((sum, entry) => sum + entry.size, 0);
  let done = 0;
  for (const entry of entries) {
    throwIfAborted(signal);
    await examine(checks, `manifest ${entry.name}`, async () => ({
      value: true,
      detail: await compareFile(directory, entry),
    }));
    done += entry.size;
    yield { kind: "bytes", done, total };
  }
}

async function compareFile(directory: string, entry: ManifestEntry): Promise<string> {
  const file = path.join(directory, entry.name);
  const size = fs.statSync(file, { throwIfNoEntry: false })?.size;
  const fix = "Write the checkpoint again, or download this file again.";
  if (size !== entry.size) {
    const found = size === undefined ? "is missing" : `has ${size}`;
    throw new ExpandError("damaged", `the manifest says ${entry.size} bytes, the file ${found}`, {
      at: entry.name,
      fix,
    });
  }
  if (entry.sha256 === undefined) return `${entry.size} bytes`;
  const hash = createHash("sha256");
  for await (const chunk of fs.createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk);
  if (hash.digest("hex") === entry.sha256) return `${entry.size} bytes, SHA-256 as written`;
  throw new ExpandError("damaged", "its SHA-256 is not the one in the manifest", { at: entry.name, fix });
}

/** Turns a refusal into a broken check; anything unexpected passes through. */
async function examine<Value>(
  checks: DoctorCheck[],
  name: string,
  work: () => Promise<{ value: Value; detail: string }> | { value: Value; detail: string },
): Promise<Value | undefined> {
  try {
    const { value, detail } = await work();
    checks.push({ name, status: "ok", detail });
    return value;
  } catch (error) {
    if (!(error instanceof ExpandError) || error.tag === "bug" || error.tag === "interrupted") throw error;
    checks.push({
      name,
      status: "broken",
      detail: error.message,
      ...(error.fix === undefined ? {} : { fix: error.fix }),
    });
    return undefined;
  }
}
