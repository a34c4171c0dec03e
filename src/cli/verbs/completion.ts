// The words of `completion`: a static script, so that pressing Tab never starts Node.
import { ExpandError } from "../../errors.ts";
import { COMMON_OPTIONS, text, type Verb } from "../verb.ts";
import { loadVerb, VERB_NAMES } from "../verbs.ts";

const SHELLS = ["bash", "zsh", "fish"] as const;

export const completionVerb: Verb = {
  name: "completion",
  positionals: "[shell]",
  summary: "Prints a completion script for bash, zsh or fish (default: by $SHELL).",
  options: {},
  examples: [
    ["completion bash >> ~/.bashrc", "bash"],
    ["completion zsh >> ~/.zshrc", "zsh"],
    ["completion fish > ~/.config/fish/completions/expand-checkpoint.fish", "fish"],
  ],
  exits: "0 done, 2 unknown shell",
  run: async (args, context) => {
    const wish = text(args, "shell") ?? process.env.SHELL?.split("/").at(-1) ?? "bash";
    const shell = SHELLS.find((name) => name === wish);
    if (shell === undefined) {
      throw new ExpandError("usage", `there is no completion for ${JSON.stringify(wish)}`, {
        fix: `Name one of ${SHELLS.join(", ")}.`,
      });
    }
    const verbs = await Promise.all(VERB_NAMES.map(loadVerb));
    context.terminal.report(shell === "fish" ? fishScript(verbs) : bashScript(verbs, shell === "zsh"));
    return 0;
  },
};

/** zsh reads bash completion functions once bashcompinit is loaded. */
function bashScript(verbs: readonly Verb[], zsh: boolean): string {
  const cases = verbs.map((verb) => `    ${verb.name}) words="${wordsOf(verb).join(" ")}" ;;`);
  return [
    ...(zsh ? ["autoload -U +X compinit && compinit", "autoload -U +X bashcompinit && bashcompinit"] : []),
    "_expand_checkpoint() {",
    '  local words current="${COMP_WORDS[COMP_CWORD]}"',
    '  case "${COMP_WORDS[1]}" in',
    ...cases,
    `    *) words="${[...VERB_NAMES, "--help", "--version"].join(" ")}" ;;`,
    "  esac",
    `  [ "$COMP_CWORD" -eq 1 ] && words="${[...VERB_NAMES, "--help", "--version"].join(" ")}"`,
    '  COMPREPLY=($(compgen -W "$words" -- "$current"))',
    "}",
    "complete -o default -F _expand_checkpoint expand-checkpoint",
  ].join("\n");
}

function fishScript(verbs: readonly Verb[]): string {
  const lines = verbs.flatMap((verb) => [
    `complete -c expand-checkpoint -n __fish_use_subcommand -a ${verb.name} -d '${verb.summary.replaceAll("'", "")}'`,
    ...wordsOf(verb).map(
      (word) => `complete -c expand-checkpoint -n '__fish_seen_subcommand_from ${verb.name}' -l ${word.slice(2)}`,
    ),
  ]);
  return lines.join("\n");
}

function wordsOf(verb: Verb): string[] {
  return [...Object.keys(verb.options), ...Object.keys(COMMON_OPTIONS), "help"].map((name) => `--${name}`);
}
