// Compares the files beside weights and settings: tokenizer, templates, licence. Their loss refutes nothing, but that of what is computed
// behind the model.
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import type { RunEvent } from "../events.ts";
import { isModuleFile } from "../formats/companions.ts";
import type { TensorRef } from "../tensor/reference.ts";
import type { ByteSource } from "../tensor/source.ts";
import type { Comparison } from "./comparison.ts";
import { type Finding, finding, type Severity } from "./report.ts";

/** Bytes of AFTER that `compareAssets` will read. */
export function assetBytes(before: Checkpoint, after: Checkpoint): number {
  let bytes = 0;
  for (const [path, source] of before.assets) if (after.assets.get(path)?.size === source.size) bytes += source.size;
  return bytes;
}

/** Files that only AFTER has are nobody's loss: plans, masks, model cards. Code that a model runs (`auto_map`) must be the same. */
export async function* compareAssets(
  before: Checkpoint,
  after: Checkpoint,
  comparison: Comparison,
): AsyncGenerator<RunEvent, readonly Finding[], void> {
  const findings: Finding[] = [];
  for (const [path, source] of before.assets) {
    const found = after.assets.get(path);
    const detail = weightOf(before, path);
    if (found === undefined) findings.push(finding("asset-missing", path, "is in BEFORE and not in AFTER", detail));
    else if (found.size !== source.size) {
      findings.push(finding("asset-changed", path, `expected ${source.size} bytes, found ${found.size}`, detail));
    } else {
      const { difference } = yield* comparison.compare(wholeFile(found), wholeFile(source), true);
      if (difference === undefined) continue;
      findings.push(finding("asset-changed", path, `differs from BEFORE's from byte ${difference.first} on`, detail));
    }
  }
  return findings;
}

function weightOf(before: Checkpoint, path: string): { readonly severity?: Severity } {
  if (isModuleFile(path)) return { severity: "refutes" };
  return isModelCode(before, path) ? { severity: "leaves-open" } : {};
}

/** Python beside the weights, in a checkpoint that says it brings its own model. */
function isModelCode({ config }: Checkpoint, path: string): boolean {
  if (config.dialect === "gguf" || !path.endsWith(".py")) return false;
  return config.documents.get("config.json")?.get(["auto_map"]) !== undefined;
}

function wholeFile(source: ByteSource): TensorRef {
  return { kind: "stored", dtype: "U8", shape: [source.size], bytes: source.size, source, offset: 0 };
}
