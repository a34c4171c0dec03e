// LLaMA-Factory: it computes the trainable blocks itself, so its settings are only given where its formula finds exactly the copies
// (src/llamafactory/model/adapter.py, _setup_freeze_tuning).
import type { Recipe, RecipeContext } from "./context.ts";

export function llamaFactory(context: RecipeContext): Recipe {
  const reason = obstacle(context);
  if (reason !== undefined) return { kind: "refused", reason };
  const text = [
    "# LLaMA-Factory finds the copies by a formula over the block counts; for this layout it finds exactly them.",
    "finetuning_type: freeze",
    `freeze_trainable_layers: ${context.mask.blocks.length}`,
    "freeze_trainable_modules: all",
    "use_llama_pro: true",
    "",
  ].join("\n");
  return { kind: "file", file: "mask-llama-factory.yaml", text };
}

function obstacle({ mask, blocks, held, quantized }: RecipeContext): string | undefined {
  if (quantized) return "the copies' weights are quantized; LLaMA-Factory trains such models with LoRA only";
  const copies = mask.blocks;
  const total = blocks.length;
  if (total % copies.length !== 0) {
    return `LLaMA-Factory wants the block count to divide by the number of copies, and ${total} does not divide by ${copies.length}`;
  }
  const stride = total / copies.length;
  const formula = copies.map((_, at) => (at + 1) * stride - 1);
  if (formula.some((index, at) => index !== copies[at])) {
    return `LLaMA-Factory would train blocks ${formula.join(", ")}; the copies are ${copies.join(", ")}`;
  }
  if (held.length > 0) return `LLaMA-Factory trains whole blocks, and ${held.join(", ")} of a copy must keep its value`;
  // It looks for ".4." anywhere in a name.
  for (const [name, state] of Object.entries(mask.tensors)) {
    const found = copies.some((index) => name.includes(`.${index}.`));
    if (found && state === "frozen" && !isBufferOf(blocks, copies, name)) {
      return `LLaMA-Factory matches block numbers anywhere in a name and would also train "${name}"`;
    }
  }
  return undefined;
}

function isBufferOf(blocks: RecipeContext["blocks"], copies: readonly number[], name: string): boolean {
  return copies.some((index) => {
    const block = blocks[index];
    return [...(block?.tensors ?? [])].some(([inner, full]) => full === name && block?.buffers.has(inner));
  });
}
