// Turns an opened GGUF checkpoint into an Architecture. The only face of this folder; reads names and settings, never weights.
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { ExpandError } from "../../errors.ts";
import type { Adaptation, Architecture } from "../architecture.ts";
import type { Layout } from "../layout.ts";
import { blocksOf, tailOf } from "./blocks.ts";
import { claimTensors, renamed, wordsOf } from "./claim.ts";
import type { Expanding, GgufFamily, Rule } from "./family.ts";
import { architectureName, checkSource, familyOf } from "./identify.ts";
import { periodOf } from "./patterns.ts";
import { blockCount, leadingDense, MAX_BLOCKS } from "./rules/counts.ts";
import { alignedGroups } from "./rules/groups.ts";
import { checkLists, perBlockLists } from "./rules/lists.ts";
import { recurrentBlocks, slidingWindows } from "./rules/patterns.ts";
import { Settings } from "./settings.ts";

export interface GgufOptions {
  /** A GGUF file has one stack of blocks, "text". */
  readonly stack?: string;
}

/** What every architecture needs, in the order in which a layout is refused. */
const RULES: readonly Rule[] = [
  blockCount,
  alignedGroups,
  leadingDense,
  perBlockLists,
  slidingWindows,
  recurrentBlocks,
];

const STACK = "text";

/** The meaning of a GGUF model. Throws "unsupported" for what cannot be expanded exactly, "damaged" for what contradicts itself. */
export function understandGguf(checkpoint: Checkpoint, options: GgufOptions = {}): Architecture {
  if (checkpoint.config.dialect !== "gguf") throw new ExpandError("bug", "a GGUF checkpoint was expected");
  if (options.stack !== undefined && options.stack !== STACK) {
    throw new ExpandError("usage", `there is no stack "${options.stack}"; a GGUF model has only "${STACK}"`, {
      at: checkpoint.location,
      fix: "Remove --stack.",
    });
  }
  const { metadata } = checkpoint.config;
  const architecture = architectureName(checkpoint, metadata);
  const family = familyOf(checkpoint, architecture);
  const settings = new Settings(metadata, architecture);
  const { blocks: count, tail: tailCount } = countBlocks(settings, family);
  checkSource(settings, family, count);
  const claimed = claimTensors(
    { location: checkpoint.location, architecture, family, blocks: count, tail: tailCount },
    checkpoint.tensors.keys(),
  );
  checkLists(settings, count, tailCount);
  const period = periodOf(family, settings);
  return {
    family: architecture,
    modelType: architecture,
    stack: STACK,
    stacks: [STACK],
    blocks: blocksOf(family, settings, claimed.blocks),
    tail: tailOf(claimed.tail, count),
    outside: claimed.outside,
    period,
    periodIsOptional: period > 1 && (family.group?.size(settings) ?? 1) === 1,
    notes: ["general.name, general.size_label and general.file_type are labels and stay as they are."],
    rename: renamed,
    adapt: (layout) => adapt({ settings, family, layout, blocks: count, tail: tailCount }, layout),
  };
}

function adapt(expanding: Expanding, layout: Layout): Adaptation {
  if (layout.length === expanding.blocks) return { edits: [], warnings: [] };
  const results = [...RULES, ...(expanding.family.rules ?? [])].map((rule) => rule(expanding));
  return {
    edits: results.flatMap((result) => result.edits ?? []),
    warnings: results.flatMap((result) => result.warnings ?? []),
  };
}

/** `<a>.block_count` counts the multi-token-prediction blocks, which are the last. */
function countBlocks(settings: Settings, family: GgufFamily): { readonly blocks: number; readonly tail: number } {
  const all = settings.number("block_count");
  const tail = settings.number("nextn_predict_layers") ?? 0;
  if (all === undefined || !Number.isInteger(all) || all <= tail || tail < 0 || all > MAX_BLOCKS) {
    const found = all === undefined ? "is missing" : `is ${all}, with ${tail} multi-token-prediction blocks among them`;
    throw new ExpandError("damaged", `${found}; 1 to ${MAX_BLOCKS} blocks were expected`, {
      at: settings.key("block_count"),
      fix: "Convert the model again with a current llama.cpp.",
    });
  }
  if (tail > 0 && !wordsOf(family.stems).has("nextn.eh_proj")) {
    throw new ExpandError("unsupported", `is ${tail}, but multi-token prediction is not known in this architecture`, {
      at: settings.key("nextn_predict_layers"),
      fix: "Update expand-checkpoint.",
    });
  }
  return { blocks: all - tail, tail };
}
