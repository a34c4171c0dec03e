// How a repository on the Hub is written on a command line. Parses words; asks nobody.
import { ExpandError } from "../errors.ts";
import { isPlainPath } from "../tensor/source.ts";

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
const NAME = "[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?";
const REPO = `(?<repo>${NAME}/${NAME})`;
const SHORT = new RegExp(`^${REPO}(?:@(?<revision>[^:@]+))?(?::(?<path>.*))?$`);
/** As Python's HfFileSystem reads it: a revision with slashes is percent-encoded, but for refs/pr/N and refs/convert/NAME. */
const SCHEME = new RegExp(
  `^hf://(?:models/)?${REPO}(?:@(?<revision>refs/(?:pr/\\d+|convert/[\\w-]+)|[^:/@]+))?(?:[:/](?<path>.*))?$`,
);
const PAGE = new RegExp(
  `^https?://(?:www\\.)?(?:huggingface\\.co|hf\\.co)/${REPO}(?:/(?:tree|blob|resolve|raw)/(?<revision>[^/?#]+)(?:/(?<path>[^?#]*))?)?/?(?:[?#].*)?$`,
);
/** First steps of addresses that are no owners. */
const RESERVED = /^(?:datasets|spaces|buckets|models|collections|papers|docs|api)\//;

/**
 * Reads "owner/name", "owner/name@revision", "owner/name:file", "hf://owner/name@revision/file" or the address of a page of the Hub.
 * Undefined when the words have another form. Throws "usage" for what is no model, and for a path that leads out of the repository.
 */
export function parseAddress(words: string): HubAddress | undefined {
  const page = PAGE.exec(words)?.groups;
  const scheme = SCHEME.exec(words)?.groups;
  const { repo, revision, path } = page ?? scheme ?? SHORT.exec(words)?.groups ?? {};
  if (repo === undefined) return undefined;
  if (RESERVED.test(`${repo}/`)) {
    // Without a scheme it may be a path on the disk that is not there.
    if (page === undefined && scheme === undefined) return undefined;
    throw misread("is not the address of a model", words, "Name a model repository, such as hf://owner/name.");
  }
  const inner = page === undefined ? path : decoded(path, words);
  if (inner !== undefined && inner !== "" && !isPlainPath(inner)) {
    const fix = "Name a file of the repository, such as owner/name:model.gguf.";
    throw misread("names a path outside of the repository", words, fix);
  }
  return { repo, revision: decoded(revision, words) ?? "main", ...(inner ? { path: inner } : {}) };
}

/** As it is printed and can be typed again. */
export function addressText({ repo, revision, path }: HubAddress): string {
  return `${repo}${revision === "main" ? "" : `@${revision}`}${path === undefined ? "" : `:${path}`}`;
}

function decoded(part: string | undefined, words: string): string | undefined {
  try {
    return part === undefined ? undefined : decodeURIComponent(part);
  } catch {
    throw misread("holds a % that encodes nothing", words, "Write %25 for a percent sign.");
  }
}

function misread(message: string, at: string, fix: string): ExpandError {
  return new ExpandError("usage", message, { at, fix });
}
