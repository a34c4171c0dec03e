// Settings that have one element per block. The list of keys is explicit: a length alone proves nothing.
import { ExpandError } from "../../../errors.ts";
import type { JsonValue } from "../../../json.ts";
import { countBefore, edit, rearranged, refuseLayout } from "../expanding.ts";
import type { Expanding, RuleResult } from "../family.ts";
import { RECURRENT_KEY, WINDOW_KEY } from "../patterns.ts";
import type { Settings } from "../settings.ts";

const DEEPSTACK_KEY = "deepstack_mapping";

/** Keys that hold one element per block when they hold an array (llama.cpp v0.5.0, llama-model.cpp and models/*.cpp). */
const PER_BLOCK = [
  "attention.head_count",
  "attention.head_count_kv",
  "feed_forward_length",
  "expert_feed_forward_length",
  "expert_used_count",
  WINDOW_KEY,
  RECURRENT_KEY,
  "attention.compress_ratios",
  "attention.indexer.types",
  "attention.rope_pattern",
  "swiglu_clamp_exp",
  "swiglu_clamp_shexp",
  DEEPSTACK_KEY,
  "xielu.alpha_n",
  "xielu.alpha_p",
  "xielu.beta",
  "xielu.eps",
] as const;

/** Arrays about something else, whatever their length. */
const NOT_PER_BLOCK: ReadonlySet<string> = new Set([
  "rope.dimension_sections",
  "target_layers",
  "ple.layers",
  "ple.layer_multipliers",
  "ple.head_offsets",
  "ple.head_vocab_sizes",
  "classifier.output_labels",
  "adapters.token_ids_activate",
  "adapters.token_ids_substitute",
]);

export function perBlockLists(expanding: Expanding): RuleResult {
  const { settings, layout } = expanding;
  const edits = PER_BLOCK.flatMap((name) => {
    const list = settings.array(name);
    if (list === undefined) return [];
    return [edit(settings, name, rearranged(expanding, list, copyValue(name)))];
  });
  const deepstack = settings.array(DEEPSTACK_KEY);
  if (deepstack?.[0] !== -1 && deepstack !== undefined && layout[0]?.kind === "copy") {
    refuseLayout(settings, "image features enter before block 0", "Place no copy before block 0.");
  }
  return { edits };
}

/** A copy of a block that takes image features from the mapping must not take them again. */
function copyValue(name: string): JsonValue | undefined {
  return name === DEEPSTACK_KEY ? -1 : undefined;
}

/** Throws "damaged" for a list of another length, "unsupported" for a list as long as the block count that no rule covers. */
export function checkLists(settings: Settings, blocks: number, tail: number): void {
  const lengths = new Set([blocks, countBefore({ blocks, tail })]);
  for (const [name, { type, count }] of settings.own()) {
    if (type !== "array" || NOT_PER_BLOCK.has(name)) continue;
    if (!isPerBlock(name)) {
      if (lengths.has(count)) refuseUnknown(settings.key(name), count);
    } else if (!lengths.has(count)) {
      throw new ExpandError(
        "damaged",
        `has ${count} elements; one for each of the ${blocks + tail} blocks was expected`,
        {
          at: settings.key(name),
          fix: "Convert the model again with a current llama.cpp.",
        },
      );
    }
  }
}

function isPerBlock(name: string): boolean {
  return PER_BLOCK.some((known) => known === name);
}

function refuseUnknown(key: string, count: number): never {
  throw new ExpandError(
    "unsupported",
    `has ${count} elements, as many as there are blocks, and no rule says whether it is a list of blocks`,
    { at: key, fix: "Update expand-checkpoint; if it is current, report the key." },
  );
}
