// What the Hub's refusals and the network's faults mean, and what to do about them. Never repeats a query string or a token: signed
// addresses are secrets.
import { ExpandError, isSystemError } from "../errors.ts";

/** The answer of a server, as far as an error needs it. */
export interface Refusal {
  readonly status: number;
  readonly url: URL;
  /** Headers, lower case. */
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** "owner/name", or what else was asked for. */
  readonly what: string;
  readonly token: string | undefined;
  readonly endpoint: string;
  /** How often it came in a row; 1 when left out. */
  readonly tries?: number | undefined;
}

/** Without query and fragment. */
export function shownUrl(url: URL): string {
  return `${url.origin}${url.pathname}`;
}

/** An answer that trying again cannot mend, or that was tried often enough. */
export function refused(refusal: Refusal): ExpandError {
  const { status, what, url, endpoint } = refusal;
  const code = String(refusal.headers["x-error-code"] ?? "");
  const often = (refusal.tries ?? 1) > 1 ? `, ${refusal.tries} times` : "";
  const words = said(refusal);
  const told = `${status}${often}${words === "" ? "" : `: ${words}`}`;
  if (url.origin !== new URL(endpoint).origin) {
    return new ExpandError("network", `the storage at ${url.host} refuses (${told})`, {
      at: what,
      fix: "Run again later; what is done already is kept.",
    });
  }
  return new ExpandError("network", `${meaning(refusal, code)} (${told})`, {
    at: status === 404 && code === "" ? shownUrl(url) : what,
    fix: fixFor(refusal, code),
  });
}

/** The server's own words, in one printable line. They may repeat what they were sent. */
function said({ headers, token }: Refusal): string {
  const words = String(headers["x-error-message"] ?? "").replace(/[^\x20-\x7e]/g, "?");
  return (token === undefined ? words : words.replaceAll(token, "...")).slice(0, 300);
}

const ABSENT = "is not on the Hub, or is private";

/** True when a repository is not there, as far as this account can see. */
export function isAbsence(error: unknown): error is ExpandError {
  return error instanceof ExpandError && error.tag === "network" && error.message.includes(ABSENT);
}

const MEANINGS: Readonly<Record<string, string>> = {
  403: "the Hub does not let this token do that",
  404: ABSENT,
  409: "is there already, or changes at this moment",
  412: "was changed by somebody else in the meantime",
  413: "is more than the Hub takes at once",
  416: "has fewer bytes than its listing says",
  429: "the Hub asks for fewer requests",
  RepoNotFound: ABSENT,
  RevisionNotFound: "has no such branch, tag or commit",
  EntryNotFound: "has no such file",
  GatedRepo: "is gated: its owner wants its licence to be accepted first",
};

function meaning({ status, token }: Refusal, code: string): string {
  if (status === 401 && code === "") return token === undefined ? ABSENT : "the Hub does not know this token";
  return MEANINGS[code] ?? MEANINGS[status] ?? (status >= 500 ? "the Hub cannot answer now" : "the Hub refuses");
}

function fixFor({ status, url, token, endpoint, headers }: Refusal, code: string): string {
  const page = pageOf(url, endpoint);
  if (code === "GatedRepo") {
    return token === undefined
      ? `Accept the licence at ${page}, then set HF_TOKEN (or use --token).`
      : `Accept the licence at ${page} with the account of this token.`;
  }
  if (code === "RevisionNotFound") return `Look at ${page}/branches for its branches and tags.`;
  if (code === "EntryNotFound") return `Look at ${page}/tree/main for its files.`;
  if (token === undefined && (status === 401 || status === 403 || status === 404)) {
    return "Check the name; for a private or gated repository, set HF_TOKEN (or use --token).";
  }
  if (status === 401) return `Make a new token at ${endpoint}/settings/tokens.`;
  if (status === 403) return `Use a token that may do this; they are made at ${endpoint}/settings/tokens.`;
  if (status === 404) return "Check the name, and that the token's account may see it.";
  if (status === 409 || status === 412) return "Run again; what is there already is not sent twice.";
  if (status === 413) return "Send fewer or smaller files, for instance with a smaller --shard-size.";
  if (status === 416) return "Ask the repository's owner: the file is cut short.";
  if (status === 429) return `Wait ${waitOf(headers["retry-after"])}, then run again; what is done already is kept.`;
  return "Run again later; what is done already is kept.";
}

function waitOf(header: string | readonly string[] | undefined): string {
  return typeof header === "string" && /^\d{1,6}$/.test(header) ? `${header} s` : "some minutes";
}

/** The page of the repository that an address belongs to. */
function pageOf(url: URL, endpoint: string): string {
  const inner = url.href.slice(endpoint.length).replace(/^\/(?:api\/models\/)?/, "");
  return [endpoint, ...inner.split(/[/?#]/).slice(0, 2)].join("/");
}

/** True for statuses that may be gone with the next try. */
export function isPassing(status: number): boolean {
  return status === 408 || status === 425 || status === 429 || status >= 500;
}

/** Codes of certificates that are not believed, as Node and OpenSSL name them. */
const CERTIFICATE = /^(?:CERT_|CRL_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|HOSTNAME_MISMATCH|INVALID_|ERR_TLS_CERT_)/;
/** Codes of an encryption that did not come about: mostly something else than TLS was spoken. */
const TLS = /^(?:EPROTO$|ERR_SSL_|ERR_TLS_)/;
/** Codes of what a program does wrong, or of an end that was asked for. */
const OWN = /^(?:ERR_INVALID_|ERR_UNESCAPED_|ERR_HTTP_|ABORT_ERR$)/;

/** True for a fault of a connection or of what came over it. */
export function isFault(error: unknown): error is NodeJS.ErrnoException {
  return isSystemError(error) && !OWN.test(error.code ?? "");
}

/** True for faults that may be gone with the next try. A host that has answered before exists. */
export function isPassingFault(error: unknown, hasMet: boolean): boolean {
  if (!isFault(error)) return false;
  const { code = "" } = error;
  return !CERTIFICATE.test(code) && (hasMet || !(TLS.test(code) || code === "ENOTFOUND"));
}

/** A fault that trying again did not mend. */
export function unreachable(error: unknown, url: URL, tries: number): ExpandError {
  const code = isSystemError(error) ? (error.code ?? "") : "";
  const often = tries > 1 ? `, ${tries} times` : "";
  // The parser's errors hold the packet, and that may hold a signed address.
  const cause = isSystemError(error) && "rawPacket" in error ? undefined : error;
  if (CERTIFICATE.test(code)) {
    return new ExpandError("network", `the server's certificate is not trusted (${code})`, {
      at: url.host,
      fix: "Behind a proxy that opens connections, set NODE_EXTRA_CA_CERTS to its certificate.",
      cause,
    });
  }
  if (TLS.test(code)) {
    return new ExpandError("network", `no encrypted connection came about (${code}${often})`, {
      at: url.host,
      fix: "Check HF_ENDPOINT: the server may not speak TLS.",
      cause,
    });
  }
  if (code === "ENOTFOUND" || code === "EAI_AGAIN") {
    return new ExpandError("network", `no such host could be found (${code}${often})`, {
      at: url.host,
      fix: "Check the network and HF_ENDPOINT; HF_HUB_OFFLINE=1 reads only what is in the local cache.",
      cause,
    });
  }
  return new ExpandError("network", `the connection failed (${code}${often})`, {
    at: shownUrl(url),
    fix: "Check the network, then run again; what is done already is kept.",
    cause,
  });
}

/** What @huggingface/hub threw by itself: an answer that it could not read. Its words may hold addresses, which may hold secrets. */
export function misunderstood(error: unknown, what: string): ExpandError {
  if (error instanceof ExpandError) return error;
  const words = (error instanceof Error ? error.message : String(error))
    .replaceAll(/\bhttps?:\S+/g, "...")
    .slice(0, 200);
  return new ExpandError("network", `the Hub answered something else than expected (${words})`, {
    at: what,
    fix: "Run again later; if that does not help, check HF_ENDPOINT and the proxy.",
    cause: error,
  });
}
