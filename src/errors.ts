// How everything in this package fails: one error class, a closed set of tags. Must never carry a token or a stack for the user.

/** Why a run stopped. The tag decides the exit code; see EXIT_CODES. */
export type ErrorTag =
  | "usage" // the words on the command line or the options of a call
  | "plan" // a plan that cannot be carried out
  | "input" // a source that is missing or unreadable
  | "damaged" // a source whose bytes contradict themselves
  | "unsupported" // a source that is fine, and that we refuse to guess about
  | "output" // a destination that is refused or fails
  | "disk-full"
  | "network"
  | "backend" // an optional package is missing
  | "inconclusive" // asked to verify, could not
  | "interrupted"
  | "bug";

export const EXIT_CODES: Readonly<Record<ErrorTag, number>> = {
  usage: 2,
  plan: 2,
  input: 3,
  damaged: 3,
  unsupported: 3,
  output: 4,
  "disk-full": 4,
  network: 5,
  backend: 6,
  inconclusive: 7,
  interrupted: 130,
  bug: 70,
};

export interface ErrorDetail {
  /** The file, tensor or option the error is about; printed before the message. */
  readonly at?: string;
  /** What the user can do, as one imperative sentence. */
  readonly fix?: string;
  readonly cause?: unknown;
}

/** The only error this package throws on purpose. `message` states what was expected and what was found. */
export class ExpandError extends Error {
  readonly tag: ErrorTag;
  readonly at: string | undefined;
  readonly fix: string | undefined;

  constructor(tag: ErrorTag, message: string, detail: ErrorDetail = {}) {
    super(
      detail.at === undefined ? message : `${detail.at}: ${message}`,
      detail.cause === undefined ? undefined : { cause: detail.cause },
    );
    this.name = "ExpandError";
    this.tag = tag;
    this.at = detail.at;
    this.fix = detail.fix;
  }

  get exitCode(): number {
    return EXIT_CODES[this.tag];
  }
}

/** True for Node's own errors (ENOENT, ENOSPC, ...), which carry a `code`. */
export function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && typeof (error as NodeJS.ErrnoException).code === "string";
}

/** Throws "interrupted" when the caller's signal has fired. Call it between units of work, at least once a second. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new ExpandError("interrupted", "interrupted");
}

/** Names come from files that nobody vouches for: escaped, and cut where they would flood the screen. */
export function quote(name: string): string {
  return JSON.stringify(name.length > 200 ? `${name.slice(0, 200)}...` : name);
}
