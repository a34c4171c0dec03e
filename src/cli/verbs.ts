// The list of verbs, and the help that fits on one screen. Knows names only; verbs/ holds the rest.
import { ExpandError } from "../errors.ts";
import { nearest } from "../nearest.ts";
import type { Verb } from "./verb.ts";

const LOADERS: Readonly<Record<string, () => Promise<Verb>>> = {
  expand: async () => (await import("./verbs/expand.ts")).expandVerb,
  plan: async () => (await import("./verbs/plan.ts")).planVerb,
  verify: async () => (await import("./verbs/verify.ts")).verifyVerb,
  convert: async () => (await import("./verbs/convert.ts")).convertVerb,
  inspect: async () => (await import("./verbs/inspect.ts")).inspectVerb,
  mask: async () => (await import("./verbs/mask.ts")).maskVerb,
  evaluate: async () => (await import("./verbs/evaluate.ts")).evaluateVerb,
  train: async () => (await import("./verbs/train.ts")).trainVerb,
  delta: async () => (await import("./verbs/delta.ts")).deltaVerb,
  push: async () => (await import("./verbs/push.ts")).pushVerb,
  doctor: async () => (await import("./verbs/doctor.ts")).doctorVerb,
  completion: async () => (await import("./verbs/completion.ts")).completionVerb,
};

export const VERB_NAMES: readonly string[] = Object.keys(LOADERS);

export const TOP_HELP = `expand-checkpoint SOURCE OUT [options]
expand-checkpoint <command> [options]

Inserts copies of transformer blocks that add exactly nothing (LLaMA Pro block expansion),
and proves that the expanded checkpoint computes what the source computed.

Commands:
  expand   SOURCE OUT    add identity blocks; write checkpoint, plan, mask, manifest and proof
  plan     SOURCE        what expand would do: copies, zeroed tensors, settings, bytes
  verify   BEFORE AFTER  prove or refute that AFTER computes what BEFORE computes
  convert  SOURCE OUT    write it as an ONNX model with a KV cache, and run that against the source
  inspect  SOURCE        architecture, blocks, tensors, sizes; finds identity blocks
  mask     EXPANDED      the frozen/trainable mask, in a trainer's dialect
  train    EXPANDED OUT  train the copies on a corpus, and prove that nothing else changed
  evaluate MODEL...      perplexity of models on texts: what was learned, what was forgotten
  delta    ACTION ...    extract the copies, apply them to their base, or strip them off
  push     DIR REPO      publish an expanded, proved checkpoint to the Hub with a model card
  doctor   [CHECKPOINT]  check the environment, or a checkpoint
  completion             shell completion script

SOURCE is a directory, a file (safetensors, torch .bin, GGUF, ONNX), or owner/name on the Hub.
  expand-checkpoint ./Llama-3.2-1B ./Llama-3.2-1B-expanded --add 4
  expand-checkpoint model-Q4_K_M.gguf expanded.gguf --every 4

Options of a command: expand-checkpoint <command> --help. Version: --version.`;

export async function loadVerb(name: string): Promise<Verb> {
  const load = LOADERS[name];
  if (load !== undefined) return load();
  throw new ExpandError("usage", `there is no option "${name}" before a command`, {
    fix: "Run expand-checkpoint --help for the commands.",
  });
}

/** The verb that a word was probably meant to be, if there is one. */
export function nearestVerb(word: string): string | undefined {
  return nearest(word.toLowerCase(), VERB_NAMES)[0];
}
