// axolotl: `unfrozen_parameters`, patterns in its own notation. Never emits an escaped dot: axolotl escapes dots itself, and an escaped one
// would match nothing and freeze everything without a word (src/axolotl/utils/freeze.py).
import { copyPattern, type Recipe, type RecipeContext } from "./context.ts";

export function axolotl(context: RecipeContext): Recipe {
  const found = copyPattern(context, ".");
  if (typeof found === "string") return { kind: "refused", reason: found };
  const text = [
    "# Trains the copies and freezes everything else. Dots are literal: axolotl escapes them itself.",
    "# Leave `adapter` unset.",
    "unfrozen_parameters:",
    `  - '${found.pattern}'`,
    "",
  ].join("\n");
  return { kind: "file", file: "mask-axolotl.yaml", text };
}
