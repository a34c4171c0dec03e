// The files that make up a checkpoint and its papers, by name: what a delta gives back. Reads their names only.
import path from "node:path";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError } from "../errors.ts";
import { localFolder } from "../tensor/folder.ts";
import type { ByteSource } from "../tensor/source.ts";
import { type Place, placeOf } from "./expanded.ts";
import { readManifest } from "./output.ts";

/** What this package leaves beside the weights, manifest or not. */
const PAPERS = [
  "plan.json",
  "mask.json",
  "source.json",
  "verification.json",
  "training.json",
  "metrics.jsonl",
  "training.html",
  "manifest.json",
];

export interface CheckpointFiles {
  readonly place: Place;
  /** By path below the directory, papers last. */
  readonly files: ReadonlyMap<string, ByteSource>;
  /** Name to SHA-256, where the manifest says it. */
  readonly listed: ReadonlyMap<string, string>;
  /** Names in a directory of the model's own that belong to none of these. */
  readonly leftOut: readonly string[];
}

/** What the manifest names, else what was opened; in both cases with the papers beside it. Throws "input" for a file that is gone. */
export function filesOf(checkpoint: Checkpoint): CheckpointFiles {
  refuseRemote(checkpoint);
  const place = placeOf(checkpoint.location);
  const folder = localFolder(place.directory);
  const manifest = readManifest(path.join(place.directory, place.sidecar("manifest.json")));
  const papers = PAPERS.map(place.sidecar).filter((name) => folder.kind(name) === "file");
  const named = manifest?.map(({ name }) => name) ?? openedFiles(checkpoint, place);
  const names = new Set([...named.filter((name) => !papers.includes(name)), ...papers]);
  const known = new Set([...names].map((name) => name.split("/")[0]));
  const others = place.file === undefined ? folder.names("").filter((name) => !known.has(name)) : [];
  const listed = new Map(
    manifest?.flatMap(({ name, sha256 }) => (sha256 === undefined ? [] : [[name, sha256] as const])),
  );
  return { place, files: new Map([...names].map((name) => [name, folder.source(name)])), listed, leftOut: others };
}

/** Papers are read beside the files that they speak of. */
export function refuseRemote({ repository, location }: Checkpoint): void {
  if (repository === undefined) return;
  throw new ExpandError("usage", "is on the Hub; its files must be on this disk", {
    at: location,
    fix: `Download it first: hf download ${repository.repo} --local-dir DIR.`,
  });
}

function openedFiles({ shards, config, assets }: Checkpoint, { directory }: Place): readonly string[] {
  const folder = localFolder(directory);
  const weights = shards.map(({ name }) => name);
  const documents = config.dialect === "gguf" ? [] : [...config.documents.keys()];
  const index = folder.names("").filter((name) => /\.index\.json$/i.test(name) && weights.length > 1);
  return [...weights, ...index, ...documents, ...assets.keys()];
}
