// The verb `push`: an expanded, proved checkpoint, trained or not, to the Hub, with a card that says what it is. Publishes all of it in one commit, or
// nothing; refuses what was not proved.
import { ExpandError } from "../errors.ts";
import type { Run, RunOptions } from "../events.ts";
import { parseAddress } from "../hub/address.ts";
import { lookAt, type PublishReport, previewUpload, Upload, type UploadOptions } from "../hub/publish.ts";
import type { PublishFile } from "../hub/publish-files.ts";
import type { TargetState } from "../hub/publish-target.ts";
import { hubSettings } from "../hub/settings.ts";
import { type Expanded, openExpanded } from "./expanded.ts";
import { pushCard } from "./push-card.ts";
import { CARD, pushFiles } from "./push-files.ts";

export type { PublishReport } from "../hub/publish.ts";

/** Where and how something is published. */
export interface PushTarget {
  /** "owner/name", or "owner/name@branch". Made when it is not there. */
  readonly repository: string;
  /** Branch. Default main; made from main when it is not there. */
  readonly revision?: string;
  /** A repository that is made now is private. Never changes one that is there. */
  readonly private?: boolean;
  /** Open a pull request instead of committing to the branch. */
  readonly pullRequest?: boolean;
  /** Otherwise the environment's. */
  readonly token?: string;
  /** Title of the commit. */
  readonly message?: string;
  /** The source's repository, "owner/name[@revision]", where it was expanded from a local copy; compared with the proof. */
  readonly baseModel?: string;
}

export interface PushOptions extends RunOptions, PushTarget {
  /** The output of `expand`: a directory, or a GGUF or ONNX file. */
  readonly directory: string;
  /** Look, and change nothing. */
  readonly dryRun?: boolean;
}

export interface PushReport extends PublishReport {
  /** The model card that is, or would be, published. */
  readonly card: string;
  /** Names in the directory that are not published. */
  readonly leftOut: readonly string[];
}

/** Throws "output" for what may not be published, "input" for what changed since its proof, "network" with what to do. */
export async function* push(options: PushOptions): Run<PushReport> {
  const upload = uploadOptions(options);
  yield { kind: "phase", name: "check files" };
  const expanded = await openExpanded(options.directory);
  const found = await lookAt(upload);
  const papers = await papersFor(expanded, found, options, upload);
  if (options.dryRun === true) return { ...(await previewUpload(upload, papers.files)), ...extraOf(papers) };
  const session = await Upload.open(upload, (now) => {
    if (now.head !== found.head) throw changedMeanwhile(upload.target.repo);
  });
  try {
    return yield* finishUpload(session, expanded, papers, options);
  } finally {
    session.close();
  }
}

/** A repository that is ready to take files before the last of them are written. */
export function openTarget(target: PushTarget & RunOptions, weights: readonly string[]): Promise<Upload> {
  const options = uploadOptions(target);
  return Upload.open(options, (found) => refuseOtherWeights(weights, found, options));
}

/** Publishes everything whose content is not among the files that went already. */
export async function* pushRest(
  session: Upload,
  expanded: Expanded,
  target: PushTarget & RunOptions,
  sent: ReadonlySet<string>,
): Run<PushReport> {
  const papers = await papersFor(expanded, session.found, target, uploadOptions(target), sent);
  return yield* finishUpload(session, expanded, papers, target);
}

interface Papers {
  readonly files: readonly PublishFile[];
  readonly leftOut: readonly string[];
  readonly card: string;
}

const extraOf = ({ card, leftOut }: Papers): Pick<PushReport, "card" | "leftOut"> => ({ card, leftOut });

async function papersFor(
  expanded: Expanded,
  found: TargetState,
  { baseModel, signal }: PushTarget & RunOptions,
  upload: UploadOptions,
  sent?: ReadonlySet<string>,
): Promise<Papers> {
  const weights = expanded.checkpoint.shards.map(({ name }) => name);
  if (sent === undefined) refuseOtherWeights(weights, found, upload);
  const card = await pushCard(expanded, {
    settings: upload.settings,
    repo: upload.target.repo,
    published: found.files.has(CARD) ? found.head : undefined,
    streamed: sent !== undefined,
    ...(baseModel === undefined ? {} : { baseModel }),
    ...(signal === undefined ? {} : { signal }),
  });
  return { ...pushFiles(expanded, card, sent), card };
}

async function* finishUpload(
  session: Upload,
  expanded: Expanded,
  papers: Papers,
  { message }: PushTarget,
): Run<PushReport> {
  yield* session.send(papers.files);
  yield { kind: "phase", name: "commit" };
  return { ...(await session.commit({ message: message ?? title(expanded) })), ...extraOf(papers) };
}

/** Throws what `push` would throw about the repository and about papers that will be missing, before anything is expanded. */
export async function checkTarget(
  target: PushTarget,
  { verify, hash, signal }: RunOptions & { readonly verify?: string; readonly hash?: boolean },
): Promise<void> {
  const missing = verify === "none" ? "a proof (--verify none)" : hash === false ? "digests (--no-hash)" : undefined;
  if (missing !== undefined) {
    throw new ExpandError("usage", `--push publishes nothing without ${missing}`, { fix: "Leave that option out." });
  }
  await lookAt(uploadOptions({ ...target, ...(signal === undefined ? {} : { signal }) }));
}

function uploadOptions(target: PushTarget & RunOptions): UploadOptions {
  const address = parseAddress(target.repository);
  if (address === undefined || address.path !== undefined) {
    throw new ExpandError("usage", `a repository is called owner/name, not ${JSON.stringify(target.repository)}`, {
      fix: "Name your account or organisation and the new model: alice/Llama-3.2-1B-expanded.",
    });
  }
  const revision = target.revision ?? address.revision;
  if (target.revision !== undefined && address.revision !== "main" && address.revision !== revision) {
    throw new ExpandError("usage", `names two branches, ${address.revision} and ${revision}`, {
      at: target.repository,
      fix: "Leave out --revision.",
    });
  }
  return {
    target: {
      repo: address.repo,
      revision,
      private: target.private ?? false,
      pullRequest: target.pullRequest ?? false,
    },
    settings: hubSettings(target.token),
    ...(target.signal === undefined ? {} : { signal: target.signal }),
  };
}

function title({ plan, version, report }: Expanded): string {
  const copies = plan.blocks.filter(({ kind }) => kind === "copy").length;
  if (report.verdict === "trained")
    return `${copies} inserted block${copies === 1 ? "" : "s"} trained; made by expand-checkpoint ${version}`;
  return `${copies} identity block${copies === 1 ? "" : "s"} inserted by expand-checkpoint ${version}`;
}

/** Weights that readers take for the model's own, wherever they come from. */
const WEIGHTS =
  /^(?:(?:pytorch_)?model(?:-\d+-of-\d+)?\.(?:safetensors|bin)|(?:pytorch_)?model\.(?:safetensors|bin)\.index\.json)$/;

/** Two models in one repository: readers prefer model.safetensors to the index of our shards, and never say so. */
function refuseOtherWeights(weights: readonly string[], found: TargetState, { target }: UploadOptions): void {
  if (!weights.some((name) => WEIGHTS.test(name))) return;
  // The index of our own shards is written anew.
  const ours = new Set(weights.length > 1 ? [...weights, "model.safetensors.index.json"] : weights);
  const others = [...found.files.keys()].filter((name) => WEIGHTS.test(name) && !ours.has(name));
  if (others.length === 0) return;
  throw new ExpandError("output", `holds the weights of another model (${others.slice(0, 3).join(", ")})`, {
    at: target.repo,
    fix: "Push to a repository of its own, or remove those files on the Hub first.",
  });
}

function changedMeanwhile(repo: string): ExpandError {
  return new ExpandError("network", "was changed by somebody else while the card was written", {
    at: repo,
    fix: "Run again.",
  });
}
