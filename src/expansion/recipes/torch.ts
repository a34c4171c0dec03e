// Plain PyTorch: three lines over parameter names. Matches by block, not by name, because transformers 5 fuses experts at run time.
import { copyPattern, type Recipe, type RecipeContext } from "./context.ts";

export function torch(context: RecipeContext): Recipe {
  const found = copyPattern(context, "\\.");
  if (typeof found === "string") return { kind: "refused", reason: found };
  const text = [
    "# Trains the copies and freezes everything else.",
    "import re",
    "",
    `copies = re.compile(r"${found.pattern}")`,
    "for name, parameter in model.named_parameters():",
    "    parameter.requires_grad_(copies.match(name) is not None)",
    'assert any(p.requires_grad for p in model.parameters()), "no parameter belongs to a copy"',
    "",
  ].join("\n");
  return { kind: "file", file: "mask-torch.py", text };
}
