// How a repository on the Hub is written on a command line. Parses words; asks nobody.
import { ExpandError } from "../errors.ts";

/** A model repository, and what of it is meant. */
export interface HubAddress {
  /** "owner/name". */
  readonly repo: string;
  /** Branch, tag or commit. */
  readonly revision: string;
  /** A file or a folder inside the repository, with forward slashes; absent for all of it. */
  readonly path?: string;
}

/** One segment of owner/name: what the Hub allows, at most 96 characters. */
const NAME = "[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?";
const ADDRESS = new RegExp(
  `^(?<scheme>hf://(?:models/)?)?(?<repo>${NAME}/${NAME})(?:@(?<revision>[^:@]+))?(?<rest>[:/].*)?$`,
);
const PAGE = new RegExp(
  `^https?://(?:www\\.)?(?:huggingface\\.co|hf\\.co)/(?<repo>${NAME}/${NAME})(?:/(?:tree|blob|resolve)/(?<revision>[^/]+)(?:/(?<path>.+))?)?/?$`,
);

/**
 * Reads "owner/name", "owner/name@revision", "owner/name:file", "hf://owner/name@revision/file" or the address of a page of the Hub.
 * Undefined when the words have another form. Throws "usage" for a path that leads out of the repository.
 */
export function parseAddress(words: string): HubAddress | undefined {
  const page = PAGE.exec(words)?.groups;
  if (page !== undefined) return address(page.repo ?? "", page.revision, page.path, words);
  const groups = ADDRESS.exec(words)?.groups;
  if (groups === undefined) return undefined;
  const { scheme, repo = "", revision, rest = "" } = groups;
  // Without a scheme a second slash is a path on the disk: owner/name/file.
  if (scheme === undefined && rest.startsWith("/")) return undefined;
  return address(repo, revision, rest.slice(1), words);
}

/** As it is printed and can be typed again. */
export function addressText({ repo, revision, path }: HubAddress): string {
  return `${repo}${revision === "main" ? "" : `@${revision}`}${path === undefined ? "" : `:${path}`}`;
}

/** True for a path that stays inside the folder it starts from, on every system. */
export function isInnerPath(path: string): boolean {
  if (path === "" || /[\\\0]|^[A-Za-z]:/.test(path)) return false;
  return path.split("/").every((step) => step !== "" && step !== "." && step !== "..");
}

function address(repo: string, revision: string | undefined, path: string | undefined, words: string): HubAddress {
  const inner = path === undefined || path === "" ? undefined : decodeURIComponent(path);
  if (inner !== undefined && !isInnerPath(inner)) {
    throw new ExpandError("usage", "names a path outside of the repository", {
      at: words,
      fix: "Name a file of the repository, such as owner/name:model.gguf.",
    });
  }
  return {
    repo,
    revision: revision === undefined ? "main" : decodeURIComponent(revision),
    ...(inner === undefined ? {} : { path: inner }),
  };
}
