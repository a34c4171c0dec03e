// What every route of the Hub double works with: who asks for what, and how answers are made.
import type http from "node:http";
import { type Content, EMPTY, text } from "./content.ts";
import { type Answer, failure } from "./faults.ts";
import type { HubCommit, HubRepository, HubState } from "./state.ts";

export interface Site {
  readonly state: HubState;
  /** Origin of the Hub itself. */
  readonly url: string;
  /** Origin of its storage, which knows no tokens but signed addresses. */
  readonly storageUrl: string;
  readonly user: string;
  /** > 0: larger objects are asked for in parts of this many bytes. */
  readonly partBytes: number;
  /** Entries per page of a listing. */
  readonly pageSize: number;
  /** Answers batches with the Xet transfer where the client offers it. */
  readonly xet: boolean;
  /** Reads of large objects go to the storage. */
  readonly redirects: boolean;
  /** Part of every signed address. A secret: nothing but requests to the storage may hold it. */
  signature: string;
}

/** Whose token came: nobody's, one that may read, one that may write, or one that the Hub does not know. */
export type Caller = "nobody" | "reader" | "writer" | "stranger";

export interface Call {
  readonly method: string;
  readonly url: URL;
  /** Decoded. */
  readonly path: string;
  readonly caller: Caller;
  readonly range: string | undefined;
  readonly request: http.IncomingMessage;
}

export function answer(status: number, value: unknown, headers: Readonly<Record<string, string>> = {}): Answer {
  const body: Content = value === undefined ? EMPTY : text(JSON.stringify(value));
  return { status, headers: { "Content-Type": "application/json; charset=utf-8", ...headers }, body };
}

export const refuse = (status: number, code: string | undefined, message: string): Answer =>
  failure(status, code, message);

/** Why the caller may not write; undefined when it may. */
export function mayWrite({ caller }: Call): Answer | undefined {
  if (caller === "writer") return undefined;
  if (caller === "reader") {
    return refuse(403, undefined, "Forbidden: you must use a write token to upload to a repository.");
  }
  return refuse(401, undefined, "Invalid username or password.");
}

/** A repository that the caller may know of, or the refusal that the Hub gives. */
export function findRepository(site: Site, call: Call, kind: string, name: string): HubRepository | Answer {
  const found = site.state.repositories.get(`${kind}/${name}`);
  const known = call.caller !== "nobody";
  if (found === undefined || (found.private && !known)) {
    return refuse(known ? 404 : 401, "RepoNotFound", "Repository not found");
  }
  return found;
}

export function findCommit(site: Site, repository: HubRepository, revision: string): HubCommit | Answer {
  return site.state.at(repository, revision) ?? refuse(404, "RevisionNotFound", `Invalid rev id: ${revision}`);
}

export function isAnswer(value: object): value is Answer {
  return "status" in value && "body" in value;
}

export async function readBody(request: http.IncomingMessage): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of request as AsyncIterable<Buffer>) pieces.push(piece);
  return Buffer.concat(pieces);
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export async function readJson(request: http.IncomingMessage): Promise<Readonly<Record<string, unknown>>> {
  const value: unknown = JSON.parse((await readBody(request)).toString("utf8"));
  return isRecord(value) ? value : {};
}
