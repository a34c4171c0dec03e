// The words of `mask`.
import type { MaskOptions } from "../../commands/mask.ts";
import { RECIPE_NAMES } from "../../commands/recipe-names.ts";
import { ExpandError } from "../../errors.ts";
import { numberList } from "../values.ts";
import { HUB_OPTIONS, optional, text, type Verb } from "../verb.ts";

export const maskVerb: Verb = {
  name: "mask",
  positionals: "<expanded>",
  summary: "Prints which tensors of an expanded checkpoint are trainable, in a trainer's dialect.",
  options: {
    for: { group: "Mask:", requiresArg: true, choices: RECIPE_NAMES, default: "json", describe: "Whose dialect" },
    blocks: {
      group: "Mask:",
      requiresArg: true,
      type: "string",
      describe: "The copies [default: mask.json, else blocks that add nothing]",
      coerce: numberList("blocks"),
    },
    stack: { group: "Mask:", requiresArg: true, type: "string", describe: "Which stack was expanded" },
    ...HUB_OPTIONS,
  },
  examples: [
    ["mask ./expanded --for axolotl", "lines for an axolotl configuration"],
    ["mask ./expanded --for torch", "a few lines of Python"],
    ["mask ./merged --blocks 8,17 > mask.json", "a checkpoint that another tool expanded"],
  ],
  exits: "0 done, 2 usage, no copies found, or the trainer cannot express this layout, 3 cannot be read",
  run: async (args, context) => {
    const { mask } = await import("../../commands/mask.ts");
    const options: MaskOptions = {
      source: text(args, "expanded") ?? "",
      signal: context.signal,
      ...optional<MaskOptions>(args, { recipe: "for", blocks: "blocks", stack: "stack", token: "token" }),
    };
    const report = await context.finish(mask(options));
    if (report.result.kind === "refused") {
      throw new ExpandError("plan", report.result.reason, {
        at: `mask for ${options.recipe}`,
        fix:
          report.mask.format === "gguf" || report.mask.format === "onnx"
            ? "Use --for json."
            : "Use --for json or --for torch, which can express any layout.",
      });
    }
    context.terminal.report(context.json ? JSON.stringify(report) : report.result.text);
    return 0;
  },
};
