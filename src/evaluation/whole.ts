// Reads windows with an ONNX model as it is: one session, weights mapped in its files, logits taken down before they leave it.
import path from "node:path";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError } from "../errors.ts";
import type { Runtime, Session } from "../runtime/runtime.ts";
import type { Values } from "../runtime/values.ts";
import type { Sitting } from "../verification/numeric/inputs.ts";
import type { Twin } from "../verification/numeric/twin.ts";
import { type Feeding, feedsFor, headSizeOf, vocabularyOf } from "../verification/numeric/whole-inputs.ts";
import { runTwin, twinFor } from "../verification/numeric/whole-run.ts";
import type { Norms } from "./norms.ts";
import { Reading } from "./reading.ts";
import { isOurs, positionsOf, readWith, type Spot, withReading } from "./reading-graph.ts";
import type { Runner } from "./runner.ts";
import type { Window } from "./window.ts";

/** Windows between two looks at the time. */
const TOGETHER = 16;
/** Windows of each corpus that states are looked at of: all borders between blocks are held for one of them at a time. */
const LOOKED_AT = 4;
const LOGITS = "logits";

export class WholeRunner implements Runner {
  readonly vocabulary: number;
  readonly context: number | undefined;
  readonly #checkpoint: Checkpoint;
  readonly #runtime: Runtime;
  readonly #signal: AbortSignal | undefined;
  readonly #session: Session;
  /** Undefined where its blocks cannot be looked at. */
  readonly #twin: Twin | undefined;
  readonly #looked = new Map<number, number>();
  #checked = false;

  private constructor(checkpoint: Checkpoint, runtime: Runtime, session: Session, signal: AbortSignal | undefined) {
    this.#checkpoint = checkpoint;
    this.#runtime = runtime;
    this.#session = session;
    this.#signal = signal;
    this.vocabulary = vocabularyOf(checkpoint);
    this.context = contextOf(checkpoint);
    const twin = twinFor(checkpoint);
    this.#twin = "reason" in twin ? undefined : twin;
  }

  /** Throws "unsupported" for what has no logits, is no local file, or is refused by onnxruntime. */
  static async open(checkpoint: Checkpoint, runtime: Runtime, signal: AbortSignal | undefined): Promise<WholeRunner> {
    const { graph, location: at, shards } = checkpoint;
    const file = shards[0]?.source.path;
    if (graph === undefined || file === undefined) {
      const fix = "Download the model first.";
      throw new ExpandError("unsupported", "is not a local file; onnxruntime opens no other", { at, fix });
    }
    if (!graph.model.graph?.output.some(({ name }) => name === LOGITS)) {
      const outputs = graph.model.graph?.output.map(({ name }) => name).join(", ");
      const fix = "Export the model with its language-modelling head.";
      throw new ExpandError("unsupported", `has no output "${LOGITS}", only ${outputs}`, { at, fix });
    }
    const session = await runtime.open(withReading(graph, LOGITS, at), { folder: path.dirname(file), name: at });
    return new WholeRunner(checkpoint, runtime, session, signal);
  }

  get blocks(): number {
    return this.#twin === undefined ? 0 : this.#twin.borders.length - 1;
  }

  together(): number {
    return TOGETHER;
  }

  async *read(windows: readonly Window[], norms: Norms): AsyncGenerator<number, Reading, void> {
    const reading = new Reading(windows);
    const inputs = this.#session.inputs.filter(({ name }) => !isOurs(name));
    let at = 0;
    for (const [index, window] of windows.entries()) {
      const { ids, labels, corpus } = window;
      const sitting = sittingOf(window);
      const spot = { batch: 1, length: ids.length, at, from: 0, to: this.vocabulary, labels };
      this.#checkLength(ids.length);
      const feeds = feedsFor(inputs, sitting, this.#feeding);
      await this.#checkPositions(feeds, spot);
      reading.add(await readWith(this.#session, feeds, spot));
      at += ids.length;
      await this.#look(corpus, sitting, norms);
      yield (index + 1) / windows.length;
    }
    return reading;
  }

  close(): Promise<void> {
    return this.#session.close();
  }

  get #feeding(): Feeding {
    const headSize = headSizeOf(this.#checkpoint);
    return { seed: 0, ...(headSize === undefined ? {} : { headSize }) };
  }

  /** The states at the borders between blocks, of the first windows. */
  async #look(corpus: number, sitting: Sitting, norms: Norms): Promise<void> {
    const done = this.#looked.get(corpus) ?? 0;
    if (this.#twin === undefined || done >= LOOKED_AT) return;
    this.#looked.set(corpus, done + 1);
    const wishes = {
      samples: 1,
      tokens: sitting.length,
      seed: 0,
      tolerance: 0,
      ...(this.#signal && { signal: this.#signal }),
    };
    const run = { runtime: this.#runtime, sittings: [sitting], wishes };
    const walker = await runTwin(this.#checkpoint.location, this.#checkpoint, this.#twin, run);
    let [state] = await walker.enter();
    norms.enter(corpus, state ?? new Float32Array(), sitting.length);
    for (let at = 0; at < walker.blocks; at++) {
      const [next] = await walker.advance(at, []);
      norms.block(corpus, at, state ?? new Float32Array(), next ?? new Float32Array());
      state = next;
    }
  }

  #checkLength(length: number): void {
    const [, fixed] = this.#session.inputs.find(({ name }) => name === "input_ids")?.shape ?? [];
    if (typeof fixed !== "number" || fixed === length) return;
    throw new ExpandError("unsupported", `takes sequences of exactly ${fixed} tokens, not ${length}`, {
      at: this.#checkpoint.location,
      fix: `Use --context ${fixed}.`,
    });
  }

  /** Once: exports for generation give logits for the last token only. */
  async #checkPositions(feeds: Values, spot: Spot): Promise<void> {
    if (this.#checked) return;
    const found = await positionsOf(this.#session, feeds, spot);
    if (found !== spot.length) {
      throw new ExpandError("unsupported", `gives logits of ${found} positions for ${spot.length} tokens`, {
        at: this.#checkpoint.location,
        fix: "Export the model with logits for every token, not only for the last.",
      });
    }
    this.#checked = true;
  }
}

function sittingOf({ ids }: Window): Sitting {
  return { batch: 1, length: ids.length, ids: [...ids], positions: BigInt64Array.from(ids, (_, at) => BigInt(at)) };
}

function contextOf({ config }: Checkpoint): number | undefined {
  if (config.dialect !== "onnx") return undefined;
  const own = config.documents.get("config.json");
  const said = own?.get(["max_position_embeddings"]) ?? own?.get(["n_positions"]);
  const genai = config.documents.get("genai_config.json")?.get(["model", "context_length"]);
  return [said, genai].find((each) => typeof each === "number" && each > 0) as number | undefined;
}
