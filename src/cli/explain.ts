// Help, and what is wrong with a command line: the only home of yargs, loaded only for these.
import yargs from "yargs";
import { ExpandError } from "../errors.ts";
import { nearest } from "../nearest.ts";
import { type Arguments, COMMON_OPTIONS, type Verb } from "./verb.ts";
import { contradiction } from "./words.ts";

/** The help of a verb where it was asked for, else its arguments. Throws "usage" with what is wrong and the nearest right word. */
export async function explain(verb: Verb, words: readonly string[]): Promise<string | Arguments> {
  const parser = yargs([...words])
    .scriptName("expand-checkpoint")
    .usage(`$0 ${verb.name} ${verb.positionals}\n\n${verb.summary}`)
    .command({
      command: `$0 ${verb.positionals}`,
      describe: false,
      builder: (command) => command.options(verb.options).options(COMMON_OPTIONS),
      handler: () => undefined,
    })
    .parserConfiguration({
      "parse-numbers": false,
      "parse-positional-numbers": false,
      "camel-case-expansion": false,
    })
    .epilogue(epilogue(verb))
    .version(false)
    .help()
    .alias("help", "h")
    .strict()
    .recommendCommands()
    .exitProcess(false)
    .wrap(Math.min(100, process.stdout.columns || 100))
    .fail((message: string | null, error: unknown) => {
      throw misuse(verb, message, error);
    });
  const twice = words.some((word) => word === "--help" || word === "-h") ? undefined : contradiction(verb, words);
  if (twice !== undefined) throw new ExpandError("usage", twice, { fix: "Keep one of them." });
  let help = "";
  const args = await parser.parse([...words], {}, (_error: unknown, _args: unknown, output: string) => {
    help = output;
  });
  return help === "" ? args : help;
}

function epilogue(verb: Verb): string {
  const examples = verb.examples.map(([command, meaning]) => `  # ${meaning}\n  expand-checkpoint ${command}`);
  return `Examples:\n${examples.join("\n")}\n\nExit codes: ${verb.exits}`;
}

/** yargs wraps what a `coerce` throws into an error of its own; the message is all that it keeps. */
function misuse(verb: Verb, message: string | null, error: unknown): unknown {
  if (error instanceof Error && error.name !== "YError") return error;
  const said = (error instanceof Error ? error.message : message)?.replaceAll(/\s*\n\s*/g, " ") ?? "";
  const help = `expand-checkpoint ${verb.name} --help`;
  const [, word = ""] = /^Unknown argument: ([\w-]+)$/.exec(said) ?? [];
  const [meant] = word.length < 3 ? [] : nearest(word, Object.keys({ ...verb.options, ...COMMON_OPTIONS }));
  if (said.startsWith("Not enough non-option arguments")) {
    return new ExpandError("usage", `${verb.name} takes ${verb.positionals}`, { fix: `Run ${help}.` });
  }
  const fix = meant === undefined ? `Run ${help}.` : `Say --${meant}, or see ${help}.`;
  return new ExpandError("usage", said === "" ? "the command line is not understood" : said, { fix });
}
