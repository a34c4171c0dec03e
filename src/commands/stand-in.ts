// The source of an expansion again, without downloading it twice: its bytes stand in the output, and the SHA-256 that the Hub lists
// for its file proves that they are the source's. Trusts the plan for where to look, never for what is there.
import { createHash } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Checkpoint, Shard } from "../checkpoint/checkpoint.ts";
import { throwIfAborted } from "../errors.ts";
import type { Run } from "../events.ts";
import type { Expansion, ShardGroup } from "../expansion/apply.ts";
import type { TensorRef } from "../tensor/reference.ts";
import { joinedSource, type Stretch } from "../tensor/source.ts";

/** Bytes of a file that are in no tensor (header, padding) and are asked for once more, at most. */
const MOST_BETWEEN = 200_000_000;
/** Bytes hashed at once. */
const CHUNK = 1 << 20;

/** `source` with the tensors of every proved shard read from `after`; a shard that cannot be proved so is read from the Hub again. */
export async function* standIn(
  source: Checkpoint,
  { groups }: Expansion,
  after: Checkpoint,
  signal: AbortSignal | undefined,
): Run<Checkpoint> {
  if (source.graph !== undefined) return source;
  const tensors = new Map(source.tensors);
  const total = groups.reduce((sum, { source: shard }) => sum + shard.source.size, 0);
  let done = 0;
  yield { kind: "phase", name: "compare with the Hub's SHA-256" };
  for (const group of groups) {
    const held = heldBy(group, source, after);
    const whole = rebuilt(group.source, source, held);
    if (whole !== undefined) {
      const hash = createHash("sha256");
      for (let at = 0; at < whole.size; at += CHUNK) {
        throwIfAborted(signal);
        hash.update(await whole.read(at, Math.min(CHUNK, whole.size - at)));
        if ((at / CHUNK) % 16 === 15) {
          await nextTurn();
          yield { kind: "bytes", done: done + at, total };
        }
      }
      if (hash.digest("hex") === group.source.source.sha256) for (const [name, ref] of held) tensors.set(name, ref);
    }
    done += group.source.source.size;
    yield { kind: "bytes", done, total };
  }
  return { ...source, tensors };
}

/** Tensors of the shard, by their names in the source, where the output holds them. */
function heldBy({ source: shard, tensors, originals }: ShardGroup, source: Checkpoint, after: Checkpoint) {
  const held = new Map<string, TensorRef>();
  for (const [at, [name, planned]] of tensors.slice(0, originals).entries()) {
    const own = shard.tensors[at];
    const found = after.tensors.get(name);
    const expected = own === undefined ? undefined : source.tensors.get(own);
    if (own === undefined || found?.kind !== "stored" || planned !== expected) continue;
    if (found.bytes === planned.bytes && found.dtype === planned.dtype && `${found.shape}` === `${planned.shape}`) {
      held.set(own, found);
    }
  }
  return held;
}

/** The shard's file, byte for byte if the output is right; undefined where that cannot be shown. */
function rebuilt(shard: Shard, source: Checkpoint, held: ReadonlyMap<string, TensorRef>) {
  const { size, sha256, name } = shard.source;
  if (sha256 === undefined) return undefined;
  const stretches: Stretch[] = [];
  let end = 0;
  let between = 0;
  const gap = (to: number): void => {
    if (to > end) stretches.push({ source: shard.source, offset: end, length: to - end });
    between += to - end;
    end = to;
  };
  for (const tensor of shard.tensors) {
    const own = source.tensors.get(tensor);
    const found = held.get(tensor);
    if (own?.kind !== "stored" || found?.kind !== "stored") continue;
    if (own.offset < end) return undefined;
    gap(own.offset);
    stretches.push({ source: found.source, offset: found.offset, length: own.bytes });
    end += own.bytes;
  }
  gap(size);
  return between <= MOST_BETWEEN ? joinedSource(name, stretches) : undefined;
}
