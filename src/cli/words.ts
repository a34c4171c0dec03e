// Reads a command line that is as it should be. Never judges one that is not: yargs does, which costs a third of the start (explain.ts).
import { type ParseArgsConfig, parseArgs } from "node:util";
import type { Options } from "yargs";
import { type Arguments, COMMON_OPTIONS, type Verb } from "./verb.ts";

type Words = NonNullable<ParseArgsConfig["options"]>;

/** The values of a plain, complete command line; undefined when help is asked for or anything is amiss. */
export function readWords(verb: Verb, words: readonly string[]): Arguments | undefined {
  const options = { ...verb.options, ...COMMON_OPTIONS };
  const parsed = parse(words, options);
  const args = parsed && positionalsOf(verb.positionals, parsed.positionals);
  if (parsed === undefined || args === undefined) return undefined;
  for (const [name, option] of Object.entries(options)) {
    const given = parsed.values[name];
    if (given === undefined) {
      if (option.default !== undefined) args[name] = option.default;
      continue;
    }
    if (option.choices !== undefined && !option.choices.includes(String(given))) return undefined;
    try {
      args[name] = option.coerce === undefined ? given : option.coerce(given);
    } catch {
      return undefined;
    }
  }
  return args;
}

function parse(words: readonly string[], options: Readonly<Record<string, Options>>) {
  const config: Words = {};
  for (const [name, { type, array, alias }] of Object.entries(options)) {
    config[name] = {
      type: type === "boolean" ? "boolean" : "string",
      multiple: array === true,
      ...(typeof alias === "string" ? { short: alias } : {}),
    };
  }
  try {
    const { values, positionals, tokens } = parseArgs({
      args: [...words],
      options: config,
      allowPositionals: true,
      allowNegative: true,
      tokens: true,
    });
    const names = tokens.flatMap((token) => (token.kind === "option" ? token.name : []));
    const repeated = names.some((name, at) => options[name]?.array !== true && names.indexOf(name) !== at);
    return repeated ? undefined : { values: values as Readonly<Record<string, unknown>>, positionals };
  } catch {
    return undefined;
  }
}

/** Words by the names of a pattern such as "<before> <after>" or "[checkpoint]"; undefined when they are too many or too few. */
function positionalsOf(pattern: string, words: readonly string[]): Record<string, unknown> | undefined {
  const names = pattern.split(" ").filter((word) => word !== "");
  const required = names.filter((name) => name.startsWith("<")).length;
  if (words.length < required || words.length > names.length || pattern.includes("..")) return undefined;
  return Object.fromEntries(words.map((word, at) => [names[at]?.slice(1, -1) ?? "", word]));
}
