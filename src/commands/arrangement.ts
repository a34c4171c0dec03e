// What an expansion will write, all of it laid out before a byte is: shared by writing to the disk and by streaming to the Hub.
import { createHash } from "node:crypto";
import path from "node:path";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import type { Run } from "../events.ts";
import { type Mask, maskFor } from "../expansion/mask.ts";
import { type Plan, planFingerprint } from "../expansion/plan.ts";
import type { RecipeName } from "../expansion/recipes/names.ts";
import type { FilePlan, WrittenFile } from "../storage/file-plan.ts";
import { claimOutput } from "../storage/output.ts";
import type { WriteOptions } from "../storage/write.ts";
import {
  companionFiles,
  jsonFile,
  type ManifestEntry,
  manifestFile,
  type OutputNames,
  outputNames,
  readManifest,
  textFile,
  weightFiles,
} from "./output.ts";
import { type Prepared, type PrepareOptions, prepare } from "./prepare.ts";
import { sourceRecord } from "./source-files.ts";
import { refuseInsideSource, refuseSourceFiles } from "./source-guard.ts";
import { understandCheckpoint } from "./understanding.ts";

export interface ArrangeOptions extends PrepareOptions {
  /** A directory, or a .gguf or .onnx file for a source of that format. Absent or empty, unless `force`. */
  readonly output: string;
  /** Replace files of the same names, and remove what an earlier run left that this one does not write. Other files stay. */
  readonly force?: boolean;
  /** Bytes; no file of weights is larger unless one tensor alone is. */
  readonly shardSize?: number;
  /** Hard-link files that are the same in source and output. */
  readonly link?: boolean;
  /** Writes past the page cache (O_DIRECT). Default: files from 64 MiB, where the system has them. */
  readonly direct?: boolean;
  /** Leave zeros as holes. Default true. */
  readonly sparse?: boolean;
  /** SHA-256 of every file into the manifest. Default true. */
  readonly hash?: boolean;
  /** Go on where an interrupted run of the same plan stopped. Default true. */
  readonly resume?: boolean;
  /** Trainers to write the mask for, besides mask.json. */
  readonly masks?: readonly RecipeName[];
  /** With `push`: each file of weights is written, sent and removed before the next one. The output keeps the other files. */
  readonly stream?: boolean;
}

export interface Arrangement extends Prepared {
  readonly names: OutputNames;
  readonly mask: Mask;
  /** Recipes that cannot express this layout, with the reason. */
  readonly refused: readonly { readonly recipe: RecipeName; readonly reason: string }[];
  /** Files that hold tensors. */
  readonly weights: readonly FilePlan[];
  /** Settings and the source's other files. */
  readonly companions: readonly FilePlan[];
  /** Index, plan, masks. */
  readonly small: readonly FilePlan[];
  /** The small files, and the manifest of everything. */
  readonly finals: (written: readonly WrittenFile[]) => readonly FilePlan[];
  readonly write: WriteOptions;
  /** What an earlier run left. */
  readonly earlier: readonly ManifestEntry[];
}

/** Throws whatever opening, planning and laying out refuse, and "output" where there is no room for it. Writes nothing. */
export async function* arrange(options: ArrangeOptions): Run<Arrangement> {
  const prepared = yield* prepare(options);
  const { checkpoint, plan, expansion } = prepared;
  const names = outputNames(checkpoint, options.output);
  refuseInsideSource(checkpoint, names);
  const { mask, refused, sidecars } = await handOver(prepared, names, options);
  const files = await weightFiles(expansion, names, options.shardSize);
  const index = files.filter((file) => file.name.endsWith(".index.json"));
  const weights = files.filter((file) => !index.includes(file));
  const companions = companionFiles(expansion.checkpoint, files);
  const small = [...index, ...sidecars];
  refuseSourceFiles(checkpoint, names, [...weights, ...companions]);
  const write = writeOptions(checkpoint, plan, options);
  const manifest = names.sidecar("manifest.json");
  const earlier = readManifest(path.join(names.directory, manifest)) ?? [];
  const kept = options.stream === true ? companions : [...weights, ...companions];
  const all = [...kept, ...small].map((file) => file.name).concat(manifest, names.sidecar("verification.json"));
  const alone = names.file === undefined || !options.output.endsWith(names.file);
  claimOutput(names.directory, all, { key: write.key, resume: write.resume, force: options.force ?? false, alone });
  const finals = (written: readonly WrittenFile[]): readonly FilePlan[] => [
    ...small,
    manifestFile(manifest, planFingerprint(plan), written, small, write.hash, checkpoint.repository),
  ];
  return { ...prepared, names, mask, refused, weights, companions, small, finals, write, earlier };
}

interface HandOver {
  readonly mask: Mask;
  readonly refused: Arrangement["refused"];
  readonly sidecars: readonly FilePlan[];
}

/** The mask, claimed from the expanded checkpoint before a byte of it is written, so that no name is mapped backwards. */
async function handOver(
  { checkpoint, expansion, plan }: Prepared,
  names: OutputNames,
  options: ArrangeOptions,
): Promise<HandOver> {
  const { architecture: expanded } = await understandCheckpoint(expansion.checkpoint, plan.source.stack);
  const copies = plan.blocks.filter((block) => block.kind === "copy").map((block) => block.at);
  const mask = maskFor(expanded, expansion.checkpoint, copies, planFingerprint(plan));
  const sidecars = [jsonFile(names.sidecar("plan.json"), plan), jsonFile(names.sidecar("mask.json"), mask)];
  sidecars.push(
    ...(await sourceRecord(names.sidecar("source.json"), checkpoint, expansion.checkpoint, expanded, copies)),
  );
  const refused: { recipe: RecipeName; reason: string }[] = [];
  for (const recipe of options.masks ?? []) {
    const { exportMask } = await import("../expansion/recipes/recipes.ts");
    const result = exportMask(recipe, mask, expanded);
    if (result.kind === "refused") refused.push({ recipe, reason: result.reason });
    else if (recipe !== "json") sidecars.push(textFile(names.sidecar(result.file), result.text));
  }
  return { mask, refused, sidecars };
}

function writeOptions(checkpoint: Checkpoint, plan: Plan, options: ArrangeOptions): WriteOptions {
  const sources = [...checkpoint.shards.map((shard) => shard.source), ...checkpoint.assets.values()];
  const wish = [options.shardSize ?? null, options.hash ?? true, options.masks ?? []];
  const identity = sources.map((source) => [source.name, source.identity]);
  return {
    key: createHash("sha256")
      .update(JSON.stringify([planFingerprint(plan), identity, wish]))
      .digest("hex"),
    hash: options.hash ?? true,
    sparse: options.sparse ?? true,
    resume: options.resume ?? true,
    link: options.link ?? false,
    direct: options.direct,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  };
}
