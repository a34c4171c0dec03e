// An expanded checkpoint as `expand` or `train` left it: its manifest, its plan and its proof, held against the files. Believes none of them alone.
import fs from "node:fs";
import path from "node:path";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { fingerprint } from "../checkpoint/fingerprint.ts";
import { ExpandError } from "../errors.ts";
import type { Plan } from "../expansion/plan.ts";
import { parsePlan } from "../expansion/replay.ts";
import { openCheckpoint } from "../formats/open.ts";
import { JsonDocument, type JsonObject, type JsonValue } from "../json.ts";
import { parseSummary, type TrainingSummary } from "../training/summary.ts";
import { isProved, VERIFICATION_SCHEMA, type VerificationReport } from "../verification/report.ts";
import { type ManifestEntry, readManifest } from "./output.ts";

export interface Expanded {
  readonly checkpoint: Checkpoint;
  /** Absolute. */
  readonly directory: string;
  /** Name of the model's first file where it stands among others; undefined when the directory is the model's own. */
  readonly file: string | undefined;
  /** File name of a sidecar: plan.json, or STEM.plan.json. */
  readonly sidecar: (name: string) => string;
  readonly entries: readonly ManifestEntry[];
  /** Version of the tool that wrote it. */
  readonly version: string;
  /** The repository that was expanded, where it was one. */
  readonly source: { readonly repo: string; readonly commit: string } | undefined;
  readonly plan: Plan;
  readonly report: VerificationReport;
  /** What its training did, where it was trained by us. */
  readonly training?: TrainingSummary | undefined;
}

/**
 * Throws "input" for what `expand` did not write or what changed since, "output" for what was not proved. Reads headers and sidecars;
 * digests of the weights are for who reads the weights.
 */
export async function openExpanded(location: string): Promise<Expanded> {
  const place = placeOf(location);
  const manifest = path.join(place.directory, place.sidecar("manifest.json"));
  const entries = readManifest(manifest);
  if (entries === undefined) throw unmade(location);
  const { tool, source } = objectIn(manifest);
  const report = readReport(location, place);
  const plan = readPlan(place);
  checkSizes(place.directory, entries);
  const shown = place.file === undefined ? location : path.join(path.dirname(location), place.file);
  const checkpoint = await openCheckpoint(place.file === undefined || isFile(location) ? location : shown);
  if (fingerprint(checkpoint).headers !== report.after.headers) {
    throw new ExpandError("input", `the proof in ${place.sidecar("verification.json")} is of another checkpoint`, {
      at: location,
      fix: proveAgain(location, place),
    });
  }
  const version = /^expand-checkpoint (\S+)$/.exec(String(tool))?.[1] ?? "";
  const training = report.verdict === "trained" ? readSummary(place) : undefined;
  return { checkpoint, ...place, entries, version, source: sourceOf(source), plan, report, training };
}

/** Where a checkpoint and its papers stand. */
export type Place = Pick<Expanded, "directory" | "file" | "sidecar">;

/** The directory of a model, or a model's first file; in a directory without a manifest of its own, the only model that has one. */
export function placeOf(location: string): Place {
  if (isFile(location)) return besides(path.dirname(location), path.basename(location));
  const directory = path.resolve(location);
  const names = fs.existsSync(directory) ? fs.readdirSync(directory) : [];
  if (names.length === 0)
    throw new ExpandError("input", "does not exist, or is empty", { at: location, fix: "Check the path." });
  const stems = names.flatMap((name) => /^(.+)\.manifest\.json$/.exec(name)?.[1] ?? []);
  const own: Place = { directory, file: undefined, sidecar: (name) => name };
  if (names.includes("manifest.json") || stems.length === 0) return own;
  const [stem = "", ...more] = stems;
  if (more.length > 0) {
    throw new ExpandError("usage", `holds several models (${stems.join(", ")})`, {
      at: location,
      fix: "Name one of their files.",
    });
  }
  const first = names.sort().find((name) => name.startsWith(stem) && /\.(?:gguf|onnx)$/i.test(name));
  return besides(directory, first ?? `${stem}.gguf`);
}

function besides(directory: string, file: string): Place {
  const stem = file.replace(/(?:-\d{5}-of-\d{5})?\.[^.]+$/, "");
  return { directory: path.resolve(directory), file, sidecar: (name) => `${stem}.${name}` };
}

function readReport(location: string, place: Place): VerificationReport {
  const name = place.sidecar("verification.json");
  const file = path.join(place.directory, name);
  if (!isFile(file)) {
    throw new ExpandError(
      "output",
      `there is no ${name}: nobody has proved that it computes what its source computes`,
      {
        at: location,
        fix: proveAgain(location, place),
      },
    );
  }
  const value = objectIn(file) as unknown as VerificationReport;
  if (value.schema !== VERIFICATION_SCHEMA) {
    throw new ExpandError("input", `expected "schema": "${VERIFICATION_SCHEMA}"`, {
      at: name,
      fix: proveAgain(location, place),
    });
  }
  const fits = (value.verdict === "trained") === (value.mode === "trained");
  if (isProved(value.verdict) && fits) return value;
  const words: Readonly<Record<string, string>> = {
    "not-identity": "the proof failed",
    "not-trained": "the proof failed",
    inconclusive: "the proof is inconclusive",
  };
  throw new ExpandError("output", `${words[value.verdict] ?? "the proof says nothing"} (${name})`, {
    at: location,
    fix:
      value.mode === "trained"
        ? "Train again; only a model in which everything trainable changed, and nothing else, is published as such."
        : "Expand again; only a model that computes what its source computes is published as such.",
  });
}

function readSummary({ directory, sidecar }: Place): TrainingSummary | undefined {
  const file = path.join(directory, sidecar("training.json"));
  return isFile(file) ? parseSummary(sidecar("training.json"), fs.readFileSync(file)) : undefined;
}

function readPlan(place: Place): Plan {
  const name = place.sidecar("plan.json");
  const file = path.join(place.directory, name);
  if (!isFile(file)) throw new ExpandError("input", "is missing", { at: name, fix: "Expand again." });
  const text = fs.readFileSync(file);
  parsePlan(name, text);
  return JsonDocument.parse(name, text).value as unknown as Plan;
}

function checkSizes(directory: string, entries: readonly ManifestEntry[]): void {
  for (const { name, size, sha256 } of entries) {
    const stat = fs.statSync(path.join(directory, name), { throwIfNoEntry: false });
    const fix = "Expand again, or restore the file.";
    if (name === "README.md") continue;
    if (stat?.isFile() !== true) throw new ExpandError("input", "is in the manifest, but not there", { at: name, fix });
    if (stat.size !== size) {
      throw new ExpandError(
        "input",
        `has ${stat.size} bytes, the manifest says ${size}: it changed after it was proved`,
        {
          at: name,
          fix,
        },
      );
    }
    if (sha256 === undefined) {
      throw new ExpandError("output", "has no SHA-256 in the manifest, so nothing shows that it is what was proved", {
        at: name,
        fix: "Expand or train again without --no-hash.",
      });
    }
  }
}

function sourceOf(value: JsonValue | undefined): Expanded["source"] {
  if (!isObject(value) || typeof value.repository !== "string" || typeof value.commit !== "string") return undefined;
  return { repo: value.repository, commit: value.commit };
}

function objectIn(file: string): JsonObject {
  const { value } = JsonDocument.parse(path.basename(file), fs.readFileSync(file));
  return isObject(value) ? value : {};
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isFile(file: string): boolean {
  return fs.statSync(file, { throwIfNoEntry: false })?.isFile() === true;
}

function unmade(location: string): ExpandError {
  return new ExpandError("input", "holds no manifest.json: it is not what expand wrote", {
    at: location,
    fix: "Name the output of expand-checkpoint expand.",
  });
}

function proveAgain(location: string, { directory, sidecar }: Place): string {
  const report = path.join(path.relative("", directory) || ".", sidecar("verification.json"));
  return `Run expand-checkpoint verify SOURCE ${location} --report ${report}.`;
}
