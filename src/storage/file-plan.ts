// What a file will contain, before a byte is written: the contract between formats (who know layouts) and the engine (who moves bytes).
import type { ByteSource } from "../tensor/source.ts";

/** A run of destination bytes. Segments of a file are in order, touch each other and cover it exactly. */
export type Segment =
  | { readonly kind: "bytes"; readonly to: number; readonly data: Uint8Array }
  | {
      readonly kind: "copy";
      readonly to: number;
      readonly length: number;
      readonly source: ByteSource;
      readonly from: number;
    }
  | { readonly kind: "fill"; readonly to: number; readonly length: number; readonly pattern: Uint8Array };

export interface FilePlan {
  /** Path relative to the output directory, with forward slashes. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  readonly segments: readonly Segment[];
}

/** A file that stands under its final name. */
export interface WrittenFile {
  readonly name: string;
  readonly size: number;
  /** Lower-case hex; absent when hashing was turned off. */
  readonly sha256?: string;
  /** True when an earlier, interrupted run had finished it. */
  readonly resumed: boolean;
}
