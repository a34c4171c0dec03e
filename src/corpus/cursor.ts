// Where a run is in its corpus: plain JSON, from which the very same next batches follow. Belongs to one corpus, and says which.
import { ExpandError } from "../errors.ts";
import type { StreamState } from "./stream.ts";

export interface Cursor {
  /** Of the corpus. */
  readonly digest: string;
  /** Windows of rows that were used up. */
  readonly window: number;
  /** Batches taken of the window that begins at `start`. */
  readonly taken: number;
  readonly start?: StreamState;
}

export const START = { window: 0, taken: 0, start: undefined };

/** Throws "input" when the cursor is of another corpus, "damaged" when it is none. */
export function checkCursor(cursor: Cursor, digest: string, sources: number): void {
  if (cursor.digest !== digest) {
    throw new ExpandError(
      "input",
      "the corpus, the tokenizer or the batches are not those that the run was begun with",
      {
        fix: "Give the same files and options again, or start a new run.",
      },
    );
  }
  const { window, taken, start } = cursor;
  const positions = start?.positions ?? [];
  const numbers = [window, taken, ...(start?.drawn ?? []), start?.open?.given ?? 0, start?.open?.source ?? 0];
  for (const position of start?.open === undefined ? positions : [...positions, start.open.at])
    numbers.push(position.epoch, position.part, position.document);
  const isSound = numbers.every((number) => Number.isSafeInteger(number) && number >= 0);
  const isOfAll = start === undefined || (positions.length === sources && start.drawn.length === sources);
  if (!isSound || !isOfAll)
    throw new ExpandError("damaged", "the cursor into the corpus is not one", {
      fix: "Start again from the beginning.",
    });
}
