// The repository that is published to: what it is now, and making it ready. Never widens who may see it, never moves what is there.

import { ExpandError } from "../errors.ts";
import type { HubClient } from "./http.ts";
import type { RemoteFile } from "./range.ts";
import { listFiles } from "./repository.ts";
import type { UploadFetchOptions } from "./upload-fetch.ts";
import { uploadFetch } from "./upload-fetch.ts";

export interface PublishTarget {
  /** "owner/name". */
  readonly repo: string;
  /** Branch; "main" when left out. */
  readonly revision?: string;
  /** Only its owner may see it: for a repository that is made now. */
  readonly private?: boolean;
  /** Open a pull request instead of changing the branch. */
  readonly pullRequest?: boolean;
}

/** How the repository stands. */
export interface TargetState {
  readonly exists: boolean;
  /** Undefined for one that is to be made: its owner's setting decides. */
  readonly private: boolean | undefined;
  /** False when the branch is to be made, from main. */
  readonly hasBranch: boolean;
  /** The commit that the new one will follow. */
  readonly head: string | undefined;
  /** Files at the head, by path. */
  readonly files: ReadonlyMap<string, RemoteFile>;
}

export function branchOf({ revision = "main" }: PublishTarget): string {
  return revision;
}

/** Changes nothing. Throws "network" where the Hub refuses, "output" where the repository is not what was asked for. */
export async function lookUp(client: HubClient, target: PublishTarget): Promise<TargetState> {
  const { repo } = target;
  requireToken(client);
  const info = await find(client, `api/models/${repo}`, repo);
  if (info === undefined) {
    if (target.pullRequest === true) throw absentForPullRequest(repo);
    return {
      exists: false,
      private: target.private === true ? true : undefined,
      hasBranch: false,
      head: undefined,
      files: new Map(),
    };
  }
  if (info.id !== undefined && info.id !== repo) throw renamed(repo, info.id);
  if (target.private === true && !info.private) throw isPublic(repo);
  const branch = branchOf(target);
  const at =
    branch === "main" ? info : await find(client, `api/models/${repo}/revision/${encodeURIComponent(branch)}`, repo);
  const head = at?.sha ?? info.sha;
  return {
    exists: true,
    private: info.private,
    hasBranch: at !== undefined,
    head,
    files: await listFiles(client, { repo, revision: head }, head),
  };
}

/** Makes the repository and the branch where they are not there yet. Gives the state that the new commit will follow. */
export async function makeReady(
  client: HubClient,
  target: PublishTarget,
  state: TargetState,
): Promise<TargetState & { readonly head: string }> {
  const { repo } = target;
  const { createBranch, createRepo } = await import("@huggingface/hub");
  const known = access(client, repo, { accepted: [409] });
  if (!state.exists) {
    const visibility = target.private === true ? { visibility: "private" as const } : {};
    // 409: somebody made it in the meantime, or we did and never heard of it.
    await createRepo({ repo, ...visibility, ...known }).catch(ignoreExisting);
  }
  const made = state.exists ? state : await lookUp(client, target);
  if (!made.hasBranch) await createBranch({ repo, branch: branchOf(target), ...known }).catch(ignoreExisting);
  const ready = made.hasBranch ? made : await lookUp(client, target);
  if (ready.head !== undefined) return { ...ready, head: ready.head };
  throw new ExpandError("network", "was made, but cannot be seen with this token", {
    at: repo,
    fix: "Check the name, and that the token's account may see it.",
  });
}

/** What every call of the library takes. */
export function access(
  client: HubClient,
  what: string,
  options: Omit<UploadFetchOptions, "what"> = {},
): { readonly accessToken: string; readonly hubUrl: string; readonly fetch: typeof fetch } {
  const { endpoint, token = "" } = client.settings;
  return { accessToken: token, hubUrl: endpoint, fetch: uploadFetch(client, { what, ...options }) };
}

interface Info {
  readonly id: string | undefined;
  readonly sha: string;
  readonly private: boolean;
}

/** What the Hub says about a repository or a revision; undefined when there is none. */
async function find(client: HubClient, path: string, what: string): Promise<Info | undefined> {
  const answer = await uploadFetch(client, { what, accepted: [404] })(`${client.settings.endpoint}/${path}`);
  if (answer.status === 404) return undefined;
  const value: unknown = await answer.json().catch(() => undefined);
  const {
    id,
    sha,
    private: hidden,
  } = (typeof value === "object" && value !== null ? value : {}) as Readonly<Record<string, unknown>>;
  if (typeof sha === "string" && /^[0-9a-f]{40}$/.test(sha) && typeof hidden === "boolean") {
    return { id: typeof id === "string" ? id : undefined, sha, private: hidden };
  }
  throw new ExpandError("network", "the Hub does not say what it is", { at: what, fix: "Check HF_ENDPOINT." });
}

function ignoreExisting(error: unknown): void {
  if (typeof error === "object" && error !== null && "statusCode" in error && error.statusCode === 409) return;
  throw error;
}

function requireToken({ settings: { offline, token, endpoint } }: HubClient): void {
  if (offline) {
    throw new ExpandError("network", "HF_HUB_OFFLINE forbids to publish", { fix: "Unset HF_HUB_OFFLINE." });
  }
  if (token === undefined) {
    throw new ExpandError("network", "publishing needs a token", {
      fix: `Make one with the right to write at ${endpoint}/settings/tokens, then set HF_TOKEN (or use --token).`,
    });
  }
  if (token.startsWith("hf_")) return;
  throw new ExpandError("network", "the token does not begin with hf_, so it is none of the Hub's", {
    fix: `Copy it again from ${endpoint}/settings/tokens.`,
  });
}

function isPublic(repo: string): ExpandError {
  return new ExpandError("output", "is public, and --private is for repositories that are made now", {
    at: repo,
    fix: "Name another repository, or make this one private in its settings first.",
  });
}

function absentForPullRequest(repo: string): ExpandError {
  return new ExpandError("network", "is not on the Hub, so there is nothing to open a pull request for (404)", {
    at: repo,
    fix: "Check the name, or leave out --pr to make the repository.",
  });
}

function renamed(repo: string, name: string): ExpandError {
  return new ExpandError("network", `is called ${name} now`, { at: repo, fix: `Push to ${name}.` });
}
