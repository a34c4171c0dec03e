// ms-swift: freeze all, then train what a pattern finds (swift/utils: freeze_parameters, activate_parameters; both re.search).
import { copyPattern, type Recipe, type RecipeContext } from "./context.ts";

export function msSwift(context: RecipeContext): Recipe {
  const found = copyPattern(context, "\\.");
  if (typeof found === "string") return { kind: "refused", reason: found };
  const text = [
    "# Arguments for `swift sft` that train the copies and freeze everything else.",
    "# ms-swift 3 calls the first one --train_type.",
    "--tuner_type full \\",
    "--freeze_parameters_regex '.*' \\",
    `--trainable_parameters_regex '${found.pattern}'`,
    "",
  ].join("\n");
  return { kind: "file", file: "mask-ms-swift.txt", text };
}
