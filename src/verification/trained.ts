// Proves that training changed everything that it was allowed to change and nothing else. Trusts no plan: it is told the trainable names and
// reads the bytes of both sides.
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { fingerprint } from "../checkpoint/fingerprint.ts";
import { ExpandError } from "../errors.ts";
import type { Run, RunEvent, RunOptions } from "../events.ts";
import type { TensorRef } from "../tensor/reference.ts";
import { assetBytes, compareAssets } from "./assets.ts";
import { Comparison } from "./comparison.ts";
import { firstNonFinite } from "./finite.ts";
import { compareAll, describe, type Evidence, type Pair, pairUp } from "./pairs.ts";
import {
  type Finding,
  finding,
  listed,
  type TrainedComparison,
  VERIFICATION_SCHEMA,
  type VerificationReport,
  verdictOf,
} from "./report.ts";
import { compareSettings } from "./settings.ts";

/**
 * BEFORE and AFTER are one model before and after training; `trainable` names the tensors that training may change, everything else is
 * frozen. Reads every byte of the frozen tensors and of the changed ones. However the tensors are spread over files, on either side,
 * makes no difference. Throws "input" when `trainable` names what BEFORE does not have, what the reading throws, and "interrupted".
 */
export async function* verifyTrained(
  before: Checkpoint,
  after: Checkpoint,
  trainable: ReadonlySet<string>,
  options: RunOptions = {},
): Run<VerificationReport> {
  checkNames(before, trainable);
  const started = performance.now();
  const head = {
    schema: VERIFICATION_SCHEMA,
    mode: "trained",
    before: fingerprint(before),
    after: fingerprint(after),
    blocks: [],
    skipped: [],
  } as const;
  const seconds = (): number => Math.round(performance.now() - started) / 1000;
  const reason = incomparable(before, after);
  if (reason !== undefined)
    return { ...head, verdict: "inconclusive", reason, findings: [], bytesCompared: 0, seconds: seconds() };
  const comparison = new Comparison(bytesOf(before) + assetBytes(before, after), options.signal);
  try {
    const proof = new TrainedProof({ before, after, comparison, seen: new Set() }, trainable);
    yield* proof.run();
    const verdict = verdictOf(proof.findings, "trained");
    const open = proof.findings.find((each) => each.severity === "leaves-open");
    return {
      ...head,
      verdict,
      ...(verdict === "inconclusive" && open !== undefined ? { reason: `${open.at} ${open.message}` } : {}),
      findings: proof.findings,
      trained: proof.counts(),
      bytesCompared: comparison.done,
      seconds: seconds(),
    };
  } finally {
    await comparison.close();
  }
}

class TrainedProof {
  readonly findings: Finding[] = [];
  readonly #evidence: Evidence;
  readonly #trainable: ReadonlySet<string>;
  readonly #changed = new Set<string>();
  readonly #unchanged: string[] = [];
  #identical = 0;

  constructor(evidence: Evidence, trainable: ReadonlySet<string>) {
    this.#evidence = evidence;
    this.#trainable = trainable;
  }

  async *run(): AsyncGenerator<RunEvent, void, void> {
    const { before, after, comparison } = this.#evidence;
    yield { kind: "phase", name: "compare" };
    const names = [...before.tensors.keys()].map((name) => [name, name] as const);
    const pairs = pairUp(this.#evidence, { at: after.location }, names, this.findings);
    yield* this.#proveFrozen(pairs.filter(({ name }) => !this.#trainable.has(name)));
    for (const pair of pairs) if (this.#trainable.has(pair.name)) yield* this.#proveTrained(pair);
    this.#reportUnchanged();
    this.#reportAdded();
    if (before.graph !== undefined && after.graph !== undefined) {
      // What reads graphs is loaded for graphs only.
      const { compareGraphs } = await import("./graph/unchanged.ts");
      this.findings.push(...(yield* compareGraphs(before.graph, after.graph, comparison)));
    }
    this.findings.push(...compareSettings(before.config, after.config, []));
    this.findings.push(...(yield* compareAssets(before, after, comparison)));
  }

  counts(): TrainedComparison {
    const { tensors } = this.#evidence.before;
    const sides = { trainable: { tensors: 0, bytes: 0 }, frozen: { tensors: 0, bytes: 0 } };
    for (const [name, { bytes }] of tensors) {
      const side = sides[this.#trainable.has(name) ? "trainable" : "frozen"];
      side.tensors++;
      side.bytes += bytes;
    }
    return {
      trainable: { ...sides.trainable, changed: this.#changed.size },
      frozen: { ...sides.frozen, identical: this.#identical },
    };
  }

  async *#proveFrozen(pairs: readonly Pair[]): AsyncGenerator<RunEvent, void, void> {
    const found: Finding[] = [];
    yield* compareAll(this.#evidence, "frozen-changed", { at: "frozen" }, pairs, found);
    this.#identical = pairs.length - found.length;
    this.findings.push(...found);
  }

  async *#proveTrained({ name, found, source }: Pair): AsyncGenerator<RunEvent, void, void> {
    const { comparison } = this.#evidence;
    const { difference } = yield* comparison.compare(found, source, true);
    if (difference === undefined) {
      if (found.bytes > 0) this.#unchanged.push(name);
      return;
    }
    this.#changed.add(name);
    const bad = await firstNonFinite(found, (at, length) => comparison.sample(found, at, length));
    if (bad === undefined) return;
    this.findings.push(
      finding("weight-not-finite", name, `is not finite ${describe({ ...bad, bytes: bad.count }, found)}`, {
        tensors: [name],
      }),
    );
  }

  /** One finding for all: what kept its bytes may have had no gradient, or steps too small for its type. Either way it was not trained. */
  #reportUnchanged(): void {
    const tensors = this.#unchanged;
    if (tensors.length === 0 && this.#changed.size > 0) return;
    const all = this.#trainable.size;
    const { location } = this.#evidence.after;
    if (this.#changed.size === 0) {
      const message = all === 0 ? "nothing was to be trained" : `not one of ${all} trainable tensors changed`;
      this.findings.push(finding("nothing-trained", location, message, { tensors }));
    } else {
      const message = `holds ${tensors.length} of ${all} trainable tensors as they were: ${listed(tensors)}`;
      this.findings.push(finding("tensor-unchanged", location, message, { tensors }));
    }
  }

  #reportAdded(): void {
    const { before, after } = this.#evidence;
    const added = [...after.tensors.keys()].filter((name) => !before.tensors.has(name));
    if (added.length === 0) return;
    this.findings.push(
      finding("tensor-added", after.location, `holds what BEFORE does not: ${listed(added)}`, { tensors: added }),
    );
  }
}

function checkNames(before: Checkpoint, trainable: ReadonlySet<string>): void {
  const strangers = [...trainable].filter((name) => !before.tensors.has(name));
  if (strangers.length === 0) return;
  throw new ExpandError(
    "input",
    `the mask trains ${strangers.length} tensors that are not there: ${listed(strangers)}`,
    {
      at: before.location,
      fix: "Use the mask that was made for this checkpoint.",
    },
  );
}

function incomparable(before: Checkpoint, after: Checkpoint): string | undefined {
  const [one, other] = [before.config, after.config];
  if (one.dialect !== other.dialect) {
    return `BEFORE is ${before.format} and AFTER is ${after.format}: their tensors have other names and bytes`;
  }
  if (one.dialect === "gguf" && other.dialect === "gguf" && one.metadata.bigEndian !== other.metadata.bigEndian) {
    return "BEFORE and AFTER store their values in different byte orders";
  }
  return undefined;
}

function bytesOf({ tensors }: { readonly tensors: ReadonlyMap<string, TensorRef> }): number {
  let bytes = 0;
  for (const tensor of tensors.values()) bytes += tensor.bytes;
  return bytes;
}
