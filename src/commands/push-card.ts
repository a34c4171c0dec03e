// The model card of a checkpoint that is about to be published: facts gathered from the checkpoint itself and from its papers.
import fs from "node:fs";
import path from "node:path";
import type { Architecture } from "../architecture/architecture.ts";
import { type CardSource, modelCard } from "../card/card.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { fingerprint } from "../checkpoint/fingerprint.ts";
import { ExpandError } from "../errors.ts";
import type { RunOptions } from "../events.ts";
import { parseSourceRecord } from "../expansion/delta/source-record.ts";
import { maskFor } from "../expansion/mask.ts";
import { planFingerprint } from "../expansion/plan.ts";
import { exportMask, RECIPE_NAMES } from "../expansion/recipes/recipes.ts";
import { openCheckpoint } from "../formats/open.ts";
import { openRepository } from "../hub/repository.ts";
import type { HubSettings } from "../hub/settings.ts";
import type { Expanded } from "./expanded.ts";
import { findPaper } from "./papers.ts";
import { CARD } from "./push-files.ts";
import { trainableTensors } from "./trainable.ts";
import { understandCheckpoint } from "./understanding.ts";

export interface PushCardOptions extends RunOptions {
  readonly settings: HubSettings;
  /** "owner/name" that is published to. */
  readonly repo: string;
  /** Commit of that repository where it has a card: the card that must not be lost. */
  readonly published: string | undefined;
  /** True when the weights were proved as they were planned, and are not on this disk any more. */
  readonly streamed: boolean;
  /** The source as the user names it: "owner/name[@revision]". */
  readonly baseModel?: string;
}

/** Throws "input" when the named source is another model than the one that was expanded. */
export async function pushCard(expanded: Expanded, options: PushCardOptions): Promise<string> {
  const { checkpoint, plan, report, version, sidecar, file, training } = expanded;
  const { settings, signal, repo, published, streamed } = options;
  const { architecture } = await understandCheckpoint(checkpoint, plan.source.stack);
  const copies = plan.blocks.filter((block) => block.kind === "copy").map((block) => block.at);
  const mask = maskFor(architecture, checkpoint, copies, planFingerprint(plan));
  const names = RECIPE_NAMES.filter((name) => name !== "json");
  const source = await sourceOf(expanded, options);
  const read = (from: string, commit: string): Promise<string | undefined> =>
    remoteCard(from, commit, settings, signal);
  const existing = (published === undefined ? undefined : await read(repo, published)) ?? localCard(expanded);
  const origin = source?.commit === undefined ? undefined : await read(source.repo, source.commit);
  const facts = {
    repo,
    version,
    plan,
    mask,
    report,
    streamed,
    ...(source === undefined ? {} : { source }),
    recipes: names.map((name) => ({ name, result: exportMask(name, mask, architecture) })),
    files: {
      plan: sidecar("plan.json"),
      mask: sidecar("mask.json"),
      verification: sidecar("verification.json"),
      manifest: sidecar("manifest.json"),
    },
    ...(file === undefined ? {} : { model: file }),
    ...(training === undefined ? {} : { training }),
    ...(report.verdict === "trained" ? { alsoTrained: await trainedOutside(checkpoint, architecture, copies) } : {}),
  };
  return modelCard(facts, {
    ...(existing === undefined ? {} : { existing }),
    ...(origin === undefined ? {} : { source: origin }),
  });
}

async function sourceOf(
  expanded: Expanded,
  { baseModel, settings, signal }: PushCardOptions,
): Promise<CardSource | undefined> {
  if (baseModel === undefined) return expanded.source;
  const { token } = settings;
  const named = await openCheckpoint(baseModel, {
    ...(token === undefined ? {} : { token }),
    ...(signal === undefined ? {} : { signal }),
  });
  const { repository } = named;
  if (repository === undefined) {
    throw new ExpandError("usage", "--base-model takes a repository of the Hub, not a path", {
      at: baseModel,
      fix: "Name it owner/name, or leave it out.",
    });
  }
  repository.close();
  const [found, expected] = [fingerprint(named).headers, await sourceHeaders(expanded)];
  if (found === expected) return { repo: repository.repo, commit: repository.commit };
  throw new ExpandError(
    "input",
    `is not what was expanded: its headers are ${found.slice(0, 12)}, those of the source were ${expected.slice(0, 12)}`,
    { at: baseModel, fix: "Name the repository and the revision that the source was downloaded from." },
  );
}

/** Of a trained model the proof is about its training: what was expanded stands in source.json, or in the plan. */
async function sourceHeaders({ checkpoint, plan, report }: Expanded): Promise<string> {
  if (report.verdict !== "trained") return report.before.headers;
  const record = findPaper(checkpoint, "source.json");
  if (record === undefined) return plan.source.headers;
  return parseSourceRecord(record.name, await record.read(0, record.size)).headers;
}

/** What the mask lets training change that belongs to no copy. */
async function trainedOutside(
  checkpoint: Checkpoint,
  architecture: Architecture,
  copies: readonly number[],
): Promise<readonly string[]> {
  const names = copies.flatMap((index) => [...(architecture.blocks[index]?.tensors.values() ?? [])]);
  const copied = new Set(names.map((name) => architecture.aliases?.get(name) ?? name));
  return [...(await trainableTensors(checkpoint))].filter((name) => !copied.has(name));
}

/** The source's card came along with its other files, and its owner may have written into it since. */
function localCard({ directory, file }: Expanded): string | undefined {
  const card = path.join(directory, CARD);
  return file === undefined && fs.existsSync(card) ? fs.readFileSync(card, "utf8") : undefined;
}

async function remoteCard(
  repo: string,
  commit: string,
  settings: HubSettings,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const repository = await openRepository({ repo, revision: commit }, settings, signal);
  try {
    if (repository.kind(CARD) !== "file") return undefined;
    const card = repository.source(CARD);
    return Buffer.from(await card.read(0, card.size)).toString("utf8");
  } finally {
    repository.close();
  }
}
