// What a training or evaluation step is fed: token ids, the label of each position, and where they come from. Holds data only.

/** Where a document stands, for messages. */
export interface DocumentRef {
  /** What the user calls the file. */
  readonly file: string;
  /** "byte 1024" (of its first character or line) or "row 17". */
  readonly place: string;
}

/** The label of a position that no loss is taken of. */
export const IGNORED = -100;

/** Rows of equal length, packed: documents follow each other without padding, except in the last batch of a corpus that ends. */
export interface Batch {
  readonly batch: number;
  readonly context: number;
  /** [batch, context] */
  readonly ids: BigInt64Array;
  /** [batch, context]: the token that follows; IGNORED where that is of another document, or where there is none. */
  readonly labels: BigInt64Array;
  /** In the order of their first tokens; a document that fills several rows may stand more than once. */
  readonly documents: readonly DocumentRef[];
}

/** One row of a batch. */
export interface Row {
  readonly ids: Int32Array;
  readonly labels: Int32Array;
  readonly documents: readonly DocumentRef[];
}

/** Rows as one batch; where they are too few, the rest is `padding` with every label IGNORED. */
export function batchOf(rows: readonly Row[], batch: number, context: number, padding: number): Batch {
  const ids = new BigInt64Array(batch * context).fill(BigInt(padding));
  const labels = new BigInt64Array(batch * context).fill(BigInt(IGNORED));
  for (const [at, row] of rows.entries()) {
    for (let step = 0; step < context; step++) {
      ids[at * context + step] = BigInt(row.ids[step] ?? padding);
      labels[at * context + step] = BigInt(row.labels[step] ?? IGNORED);
    }
  }
  return { batch, context, ids, labels, documents: rows.flatMap((row) => row.documents) };
}
