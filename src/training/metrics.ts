// What happened in a run, one JSON object a line, appended as it happens. Never loses a line that a saved state counts, never keeps half of
// one.
import fs from "node:fs";
import { outputFailure } from "../storage/failure.ts";
import { replaceFile, syncFile } from "./durable.ts";
import type { Recipe } from "./recipe.ts";

/** One line of metrics.jsonl. Steps count from 1; an evaluation or update at step n is after n steps. */
export type Metric =
  | {
      readonly kind: "step";
      readonly step: number;
      /** Mean over the step's tokens, before its update, in nats. */
      readonly loss: number;
      readonly rate: number;
      /** Global norm of the gradients, before clipping. */
      readonly norm: number;
      /** Tokens whose prediction counted. */
      readonly tokens: number;
      /** Of work, since the run began; of all its parts. */
      readonly seconds: number;
      /** A gradient that was not finite under f16 scaling: the weights stayed. */
      readonly skipped?: true;
      /** Of the loss, under f16. */
      readonly scale?: number;
    }
  | {
      readonly kind: "evaluation";
      readonly step: number;
      readonly name: string;
      /** Mean over `tokens`, in nats. */
      readonly loss: number;
      readonly tokens: number;
    }
  | {
      readonly kind: "update";
      readonly step: number;
      /** By block: the Euclidean norm of what training has added to its weights, and of its weights at the start. */
      readonly blocks: readonly { readonly block: string; readonly norm: number; readonly start: number }[];
    };

/** The first line of the file. */
export interface MetricsHead {
  readonly kind: "run";
  /** Name of the checkpoint, without the folders around it. */
  readonly source: string;
  readonly recipe: Recipe;
}

export class Metrics {
  readonly file: string;
  readonly head: MetricsHead;
  readonly #lines: Metric[];

  private constructor(file: string, head: MetricsHead, lines: Metric[]) {
    this.file = file;
    this.head = head;
    this.#lines = lines;
  }

  /** The lines of an earlier part of the run up to `step` stay; later ones are of steps that were lost. */
  static open(file: string, head: MetricsHead, step: number): Metrics {
    const earlier = step === 0 ? [] : readMetrics(file).filter((line) => line.step <= step);
    const text = [head, ...earlier].map((line) => `${JSON.stringify(line)}\n`).join("");
    replaceFile(file, text);
    return new Metrics(file, head, earlier);
  }

  /** Every line but the first. */
  static read(file: string): readonly Metric[] {
    return readMetrics(file);
  }

  add(lines: readonly Metric[]): void {
    if (lines.length === 0) return;
    try {
      fs.appendFileSync(this.file, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
    } catch (error) {
      throw outputFailure(error, this.file);
    }
    this.#lines.push(...lines);
  }

  /** When it returns, a crash of the machine leaves every line. */
  sync(): void {
    try {
      syncFile(this.file);
    } catch (error) {
      throw outputFailure(error, this.file);
    }
  }

  get lines(): readonly Metric[] {
    return this.#lines;
  }

  /** True when this was measured before, by an earlier part of the run perhaps. */
  has(kind: "evaluation" | "update", step: number, name?: string): boolean {
    return this.#lines.some(
      (line) => line.kind === kind && line.step === step && (line.kind !== "evaluation" || line.name === name),
    );
  }
}

/** Every complete line but the first; a kill may leave half of the last one. */
function readMetrics(file: string): readonly Metric[] {
  if (!fs.existsSync(file)) return [];
  return fs
    .readFileSync(file, "utf8")
    .split("\n")
    .slice(1, -1)
    .flatMap((line) => parseLine(line) ?? []);
}

function parseLine(line: string): Metric | undefined {
  try {
    return JSON.parse(line) as Metric;
  } catch {
    return undefined;
  }
}
