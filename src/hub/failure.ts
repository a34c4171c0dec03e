// What the Hub's refusals and the network's faults mean, and what to do about them. Never repeats a query string: signed addresses
// are secrets.
import { ExpandError, isSystemError } from "../errors.ts";

/** The answer of a server, as far as an error needs it. */
export interface Refusal {
  readonly status: number;
  readonly url: URL;
  /** Headers, lower case. */
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** "owner/name", or what else was asked for. */
  readonly what: string;
  readonly hasToken: boolean;
  readonly endpoint: string;
}

/** Without query and fragment. */
export function shownUrl(url: URL): string {
  return `${url.origin}${url.pathname}`;
}

/** An answer that trying again cannot mend, or that was tried often enough. */
export function refused(refusal: Refusal): ExpandError {
  const { status, what, url } = refusal;
  const code = String(refusal.headers["x-error-code"] ?? "");
  const message = String(refusal.headers["x-error-message"] ?? "").slice(0, 300);
  const said = message === "" ? "" : ` (${message})`;
  return new ExpandError("network", `${MEANINGS[code] ?? MEANINGS[status] ?? `the Hub answered ${status}`}${said}`, {
    at: status === 404 && code === "" ? shownUrl(url) : what,
    fix: fixFor(refusal, code),
  });
}

const MEANINGS: Readonly<Record<string, string>> = {
  401: "the Hub asks who you are (401)",
  403: "the Hub does not let this token do that (403)",
  404: "is not on the Hub, or is private (404)",
  409: "is there already, or changes at this moment (409)",
  412: "was changed by somebody else in the meantime (412)",
  413: "is more than the Hub takes at once (413)",
  416: "has fewer bytes than its listing says (416)",
  429: "the Hub asks for fewer requests (429)",
  RepoNotFound: "is not on the Hub, or is private (404)",
  RevisionNotFound: "has no such branch, tag or commit (404)",
  EntryNotFound: "has no such file (404)",
  GatedRepo: "is gated: its owner wants its licence to be accepted first (403)",
};

function fixFor({ status, what, hasToken, endpoint }: Refusal, code: string): string {
  if (code === "GatedRepo")
    return `Accept the licence at ${endpoint}/${what}, then set HF_TOKEN to a token of that account.`;
  if (code === "RevisionNotFound") return "Check the revision behind the @.";
  if (code === "EntryNotFound") return `Look at ${endpoint}/${what} for its files.`;
  if (status === 401 || (status === 404 && !hasToken)) {
    return hasToken
      ? "Make a new token in the Hub's settings: this one is not accepted."
      : "Check the name; for a private or gated repository, set HF_TOKEN (or use --token).";
  }
  if (status === 403)
    return "Use a token with the right to do this, and accept the repository's licence if it is gated.";
  if (status === 404) return "Check the name, and that the token's account may see it.";
  if (status === 409 || status === 412) return "Run again; what is there already is not sent twice.";
  if (status === 413) return "Send fewer or smaller files, for instance with a smaller --shard-size.";
  if (status === 429) return "Wait some minutes, then run again; what is done already is kept.";
  return "Run again later; what is done already is kept.";
}

/** True for statuses that may be gone with the next try. */
export function isPassing(status: number): boolean {
  return status === 408 || status === 425 || status === 429 || status >= 500;
}

const TLS = /^(?:CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|ERR_TLS_|EPROTO)/;

/** True for faults of the network that may be gone with the next try. */
export function isPassingFault(error: unknown): boolean {
  return (
    isSystemError(error) &&
    !TLS.test(error.code ?? "") &&
    error.code !== "ENOTFOUND" &&
    error.code !== "ERR_INVALID_URL"
  );
}

/** A fault that trying again did not mend. */
export function unreachable(error: unknown, url: URL, tries: number): ExpandError {
  const code = isSystemError(error) ? (error.code ?? "") : "";
  const often = tries > 1 ? `, ${tries} times` : "";
  if (TLS.test(code)) {
    return new ExpandError("network", `the server's certificate is not trusted (${code})`, {
      at: url.host,
      fix: "Behind a proxy that opens connections, set NODE_EXTRA_CA_CERTS to its certificate.",
      cause: error,
    });
  }
  if (code === "ENOTFOUND" || code === "EAI_AGAIN") {
    return new ExpandError("network", `no such host could be found (${code}${often})`, {
      at: url.host,
      fix: "Check the network and HF_ENDPOINT; HF_HUB_OFFLINE=1 reads only what is in the local cache.",
      cause: error,
    });
  }
  return new ExpandError("network", `the connection failed (${code || String(error)}${often})`, {
    at: shownUrl(url),
    fix: "Check the network, then run again; what is done already is kept.",
    cause: error,
  });
}
