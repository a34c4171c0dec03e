// What a verification says: a verdict, the layout it found and its findings, as plain JSON data. Never claims more than was compared.
import type { Fingerprint } from "../checkpoint/fingerprint.ts";
import type { Check, Finding, Severity } from "./findings.ts";

export {
  CHECKS,
  type Check,
  FINDINGS,
  type Finding,
  type FindingCode,
  finding,
  isNumeric,
  listed,
  type Severity,
  TRAINED_CHECKS,
} from "./findings.ts";

export const VERIFICATION_SCHEMA = "expand-checkpoint/verification/1";

/**
 * identity: AFTER is an identity expansion of BEFORE. Every tensor of BEFORE is in it byte for byte and in order, and every other block
 * is a copy of one of them in which each branch is closed by one factor. trained (of mode "trained"): AFTER is BEFORE with other values
 * in every tensor that may be trained, and nothing else changed. not-...: a finding refutes that. inconclusive: neither.
 */
export type Verdict = "identity" | "not-identity" | "trained" | "not-trained" | "inconclusive";

/** True when what was asked to be proved is proved. */
export function isProved(verdict: Verdict): boolean {
  return verdict === "identity" || verdict === "trained";
}

/** One factor that closes a branch of a copy. */
export interface ClosedBranch {
  readonly branch: string;
  readonly factor: string;
  /** Names in AFTER. */
  readonly tensors: readonly string[];
}

/** What stands at one index of AFTER. */
export interface FoundBlock {
  readonly kind: "original" | "copy" | "unknown";
  /** Index in BEFORE; absent for an unknown block. */
  readonly from?: number;
  /** For copies: what closes each branch. */
  readonly closed?: readonly ClosedBranch[];
}

/** The logits of both sides on the same token ids, and where their hidden states part. */
export interface NumericComparison {
  readonly device: "cpu" | "cuda";
  /** streamed: block by block through decoder stages; whole: the ONNX models themselves. */
  readonly method: "streamed" | "whole";
  readonly samples: number;
  /** Per sample. */
  readonly tokens: number;
  /** Blocks were compared once more, on `tokens` tokens behind caches that held `past`. */
  readonly cached?: { readonly tokens: number; readonly past: number };
  readonly seed: number;
  /** Allowed difference, as a share of the largest magnitude at the same place; 0 asks for equality. */
  readonly tolerance: number;
  readonly logits: {
    readonly maxAbs: number;
    readonly maxRel: number;
    readonly differing: number;
    readonly total: number;
  };
  /** One per block of AFTER. */
  readonly blocks: readonly BlockComparison[];
  readonly firstDifference?: { readonly block: number; readonly maxAbs: number };
}

export interface BlockComparison {
  /** Index in AFTER. */
  readonly at: number;
  /** Index in BEFORE. */
  readonly from?: number;
  readonly kind: "original" | "copy" | "unknown";
  /** Root mean square of the hidden state after it. */
  readonly norm: number;
  /** Against the output of BEFORE's block `from`; for a copy, against its own input. */
  readonly maxAbs: number;
  /** `maxAbs` as a share of the largest magnitude there. */
  readonly maxRel: number;
  /** Values of the hidden state that are NaN or infinite. */
  readonly nonFinite: number;
}

/** What training did to a checkpoint, by its mask. */
export interface TrainedComparison {
  readonly trainable: TensorCount & {
    /** Tensors with other bytes than before. */
    readonly changed: number;
  };
  readonly frozen: TensorCount & {
    /** Tensors with the bytes that they had. */
    readonly identical: number;
  };
}

export interface TensorCount {
  readonly tensors: number;
  readonly bytes: number;
}

export interface VerificationReport {
  readonly schema: typeof VERIFICATION_SCHEMA;
  readonly mode: "structure" | "numbers" | "both" | "trained";
  readonly verdict: Verdict;
  /** Why the verdict is "inconclusive". */
  readonly reason?: string;
  /** Headers and settings only: a fingerprint says nothing about the values of weights. */
  readonly before: Fingerprint;
  readonly after: Fingerprint;
  readonly family?: string;
  readonly stack?: string;
  /** Entry i is block i of AFTER. Empty when nothing was compared. */
  readonly blocks: readonly FoundBlock[];
  readonly findings: readonly Finding[];
  /** Present when the models were run. */
  readonly numeric?: NumericComparison;
  /** Of mode "trained", when the sides could be compared. */
  readonly trained?: TrainedComparison;
  /** Checks that could not be made, because an earlier finding took their ground away. */
  readonly skipped: readonly Check[];
  /** Bytes of AFTER that were compared. */
  readonly bytesCompared: number;
  readonly seconds: number;
}

export function verdictOf(findings: readonly Finding[], proved: "identity" | "trained" = "identity"): Verdict {
  const has = (severity: Severity): boolean => findings.some((each) => each.severity === severity);
  return has("refutes") ? `not-${proved}` : has("leaves-open") ? "inconclusive" : proved;
}
