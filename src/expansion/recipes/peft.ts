// peft and Unsloth: LoRA on the copies only, by `layers_to_transform`. Never emits target_modules="all-linear": peft then turns the targets
// into full names and ignores layers_to_transform (tuners_utils.py, check_target_module_exists).
import type { Recipe, RecipeContext } from "./context.ts";

/** Modules that run-time models implement as something else than a linear layer: LoRA there is refused by peft. */
const ROUTERS: ReadonlySet<string> = new Set(["gate", "router", "shared_expert_gate", "wg"]);

export function peft(context: RecipeContext): Recipe {
  const { mask, core } = context;
  const linears = mask.linears.filter(
    (module) => !/(?:^|\.)experts(?:\.|$)/.test(module) && !ROUTERS.has(last(module)),
  );
  const targets = [...new Set(linears.map(last))];
  if (targets.length === 0)
    return { kind: "refused", reason: "the copies have no linear module outside their experts" };
  const list = last(core.slice(0, -1));
  const wrong = misled(context, list, targets);
  if (wrong !== undefined) {
    return {
      kind: "refused",
      reason: `peft reads the block number from ".${list}.N." and would take "${wrong}" for a copy's`,
    };
  }
  const gains = gainModules(context);
  if (typeof gains === "string") return { kind: "refused", reason: gains };
  const text = [
    "# LoRA on the copies only; everything else stays frozen. For Unsloth, give the same arguments to FastLanguageModel.get_peft_model.",
    ...(mask.linears.length > linears.length
      ? ["# Experts and routers get no LoRA: at run time they are no linear modules."]
      : []),
    ...(gains.length > 0
      ? ["# modules_to_save: the gains that may hold a copy closed; with them frozen it could never learn."]
      : []),
    "from peft import LoraConfig",
    "",
    "config = LoraConfig(",
    "    r=16,",
    "    lora_alpha=32,",
    `    target_modules=${pythonList(targets)},`,
    `    layers_to_transform=[${mask.blocks.join(", ")}],`,
    `    layers_pattern=${JSON.stringify(list)},`,
    ...(gains.length > 0 ? [`    modules_to_save=${pythonList(gains)},`] : []),
    ")",
    "",
  ].join("\n");
  return { kind: "file", file: "mask-peft.py", text };
}

/** "x" of "x.weight", "x.qweight" and "x.weight.absmax". */
const moduleOf = (name: string): string => name.replace(/(?:\.weight)?\.[^.]+$/, "");
const last = (name: string): string => name.slice(name.lastIndexOf(".") + 1);
const pythonList = (names: readonly string[]): string => `[${names.map((name) => JSON.stringify(name)).join(", ")}]`;

/** A module outside the copies that peft would adapt. Its rule: a name ends with a target, and the last ".list.N." holds a copy's number. */
function misled({ mask, copies }: RecipeContext, list: string, targets: readonly string[]): string | undefined {
  const own = new Set(copies.flatMap((block) => [...block.tensors.values()]));
  const number = new RegExp(`.*\\.${list}\\.(\\d+)\\.`);
  for (const name of Object.keys(mask.tensors)) {
    const module = moduleOf(name);
    if (!targets.some((target) => module.endsWith(`.${target}`))) continue;
    const found = Number(number.exec(`.${module}`)?.[1] ?? -1);
    if (mask.blocks.includes(found) !== own.has(name)) return module;
  }
  return undefined;
}

/**
 * Norms and scales that close a branch, in every copy: LoRA cannot train them, and a branch closed by one of them stays closed. peft
 * compares them with the ends of module names. A reason when one is no module or is not the copy's alone.
 */
function gainModules({ mask, copies, core }: RecipeContext): readonly string[] | string {
  const modules = new Set<string>();
  for (const block of copies) {
    const inner = new Map([...block.tensors].map(([short, name]) => [name, short]));
    for (const factor of block.branches.flatMap((branch) => branch.factors)) {
      if (factor.kind === "projection") continue;
      for (const { tensor } of factor.tensors) {
        const short = inner.get(tensor) ?? "";
        if (!short.includes("."))
          return `LoRA cannot train "${short}", which may hold a copy closed, and it is no module to save`;
        modules.add(`${core}${block.index}.${moduleOf(short)}`);
      }
    }
  }
  const frozen = Object.keys(mask.tensors).filter((name) => mask.tensors[name] === "frozen");
  const shared = frozen.find((name) => [...modules].some((module) => moduleOf(name).endsWith(module)));
  return shared === undefined ? [...modules] : `peft compares the ends of names and would also train "${shared}"`;
}
