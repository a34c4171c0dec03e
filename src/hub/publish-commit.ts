// The one commit that makes everything visible at once. Never made twice: before another try, looks whether the last one came through.
import { Readable } from "node:stream";
import { ExpandError } from "../errors.ts";
import type { HubClient } from "./http.ts";
import { gitIdOf } from "./publish-files.ts";
import { branchOf, lookUp, type PublishTarget } from "./publish-target.ts";
import { listFiles } from "./repository.ts";

/** A line of a commit, as it is sent, and what the repository will list for it. */
export interface CommitLine {
  readonly text: string;
  readonly path: string;
  /** SHA-256 of a large object, git id of a small file. */
  readonly etag: string;
}

export interface CommitWords {
  readonly message: string;
  readonly description?: string;
}

export interface Committed {
  /** Id of the commit. */
  readonly commit: string;
  /** Address of the pull request, where one was opened. */
  readonly pullRequest?: string;
}

/** Reads a line of the library's: a large object by its digest, or a small file with its content. */
export function commitLine(text: string): CommitLine {
  const { key, value } = JSON.parse(text) as { readonly key: string; readonly value: Readonly<Record<string, string>> };
  const path = value.path ?? "";
  if (key === "lfsFile") return { text, path, etag: value.oid ?? "" };
  return { text, path, etag: gitIdOf(Buffer.from(value.content ?? "", "base64")) };
}

/** Throws "network": 412 when the branch moved on since `parent`, and nothing was changed then. */
export async function commitLines(
  client: HubClient,
  target: PublishTarget,
  parent: string,
  lines: readonly CommitLine[],
  { message, description = "" }: CommitWords,
): Promise<Committed> {
  const { repo, pullRequest = false } = target;
  const branch = encodeURIComponent(branchOf(target));
  const url = new URL(
    `${client.settings.endpoint}/api/models/${repo}/commit/${branch}${pullRequest ? "?create_pr=1" : ""}`,
  );
  const header = { key: "header", value: { summary: message, description, parentCommit: parent } };
  const data = Buffer.from([JSON.stringify(header), ...lines.map(({ text }) => text)].join("\n"));
  const known = pullRequest ? await pullRequests(client, repo) : new Set<string>();
  const landed = (): Promise<Committed | undefined> =>
    pullRequest ? landedAside(client, repo, lines, known) : landedOnBranch(client, target, parent, lines);
  let tries = 0;
  const post = async (): Promise<Committed> => {
    const earlier = tries++ > 0 ? await landed() : undefined;
    if (earlier !== undefined) return earlier;
    const cargo = { size: data.length, stream: () => Readable.from([data], { objectMode: false }) };
    const answer = await client.send("POST", url, { "content-type": "application/x-ndjson" }, cargo, repo);
    return committed(await client.bytes(answer), repo);
  };
  try {
    return await client.persist(url, repo, post);
  } catch (error) {
    // The last try may have come through, or the one before it while we looked.
    const done =
      error instanceof ExpandError && error.tag === "network" ? await landed().catch(() => undefined) : undefined;
    if (done !== undefined) return done;
    throw error;
  }
}

function committed(body: Buffer, repo: string): Committed {
  const { commitOid, pullRequestUrl } = parse(body);
  if (typeof commitOid === "string") {
    return { commit: commitOid, ...(typeof pullRequestUrl === "string" ? { pullRequest: pullRequestUrl } : {}) };
  }
  throw new ExpandError("network", "the Hub does not say which commit it made", {
    at: repo,
    fix: "Check HF_ENDPOINT.",
  });
}

function parse(body: Buffer): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(body.toString("utf8"));
    return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
  } catch {
    return {};
  }
}

async function landedOnBranch(
  client: HubClient,
  target: PublishTarget,
  parent: string,
  lines: readonly CommitLine[],
): Promise<Committed | undefined> {
  // Whether it is private is no question any more.
  const { head, files } = await lookUp(client, { ...target, private: false });
  return head !== undefined && head !== parent && holds(files, lines) ? { commit: head } : undefined;
}

async function landedAside(
  client: HubClient,
  repo: string,
  lines: readonly CommitLine[],
  known: ReadonlySet<string>,
): Promise<Committed | undefined> {
  for (const entry of await pullRequests(client, repo)) {
    const [ref = "", commit = ""] = entry.split(" ");
    if (known.has(entry) || !holds(await listFiles(client, { repo, revision: ref }, commit), lines)) continue;
    const number = ref.split("/").at(-1);
    return { commit, pullRequest: `${client.settings.endpoint}/${repo}/discussions/${number}` };
  }
  return undefined;
}

/** "refs/pr/3 <commit>" for every pull request. */
async function pullRequests(client: HubClient, repo: string): Promise<ReadonlySet<string>> {
  const { value } = await client.json(`api/models/${repo}/refs?include_prs=1`, repo);
  const list = (value as { readonly pullRequests?: unknown } | null)?.pullRequests;
  const entries = Array.isArray(list) ? (list as readonly Readonly<Record<string, unknown>>[]) : [];
  return new Set(entries.map(({ ref, targetCommit }) => `${ref} ${targetCommit}`));
}

function holds(files: ReadonlyMap<string, { readonly etag: string }>, lines: readonly CommitLine[]): boolean {
  return lines.every(({ path, etag }) => files.get(path)?.etag === etag);
}
