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
  try {
    const { values, positionals, tokens } = parseArgs({ ...parserOf(words, options), strict: true });
    return repeated(tokens, options) === undefined
      ? { values: values as Readonly<Record<string, unknown>>, positionals }
      : undefined;
  } catch {
    return undefined;
  }
}

function parserOf(words: readonly string[], options: Readonly<Record<string, Options>>) {
  const config: Words = {};
  for (const [name, { type, array, alias }] of Object.entries(options)) {
    config[name] = {
      type: type === "boolean" ? "boolean" : "string",
      multiple: array === true,
      ...(typeof alias === "string" ? { short: alias } : {}),
    };
  }
  return { args: [...words], options: config, allowPositionals: true, allowNegative: true, tokens: true } as const;
}

/** What contradicts itself: an option with two values, or a switch that is turned on and off. Undefined where nothing does. */
export function contradiction(verb: Verb, words: readonly string[]): string | undefined {
  const options = { ...verb.options, ...COMMON_OPTIONS };
  return repeated(parseArgs({ ...parserOf(words, options), strict: false }).tokens, options);
}

function repeated(
  tokens: readonly { readonly kind: string; readonly rawName?: string; readonly name?: string }[],
  options: Readonly<Record<string, Options>>,
): string | undefined {
  const seen = new Map<string, string>();
  for (const { kind, rawName = "", name: given = "" } of tokens) {
    if (kind !== "option") continue;
    const name = options[given] === undefined ? given.replace(/^no-/, "") : given;
    const earlier = seen.get(name);
    const word = rawName.startsWith("--no-") ? rawName : `--${name}`;
    seen.set(name, word);
    if (earlier === undefined || options[name] === undefined || options[name].array === true) continue;
    if (earlier !== word) return `${earlier} and ${word} contradict each other`;
    if (options[name].type !== "boolean") return `${word} is there twice`;
  }
  return undefined;
}

/** Words by the names of a pattern such as "<before> <after>" or "[checkpoint]"; undefined when they are too many or too few. */
function positionalsOf(pattern: string, words: readonly string[]): Record<string, unknown> | undefined {
  const names = pattern.split(" ").filter((word) => word !== "");
  const required = names.filter((name) => name.startsWith("<")).length;
  if (words.length < required || words.length > names.length || pattern.includes("..")) return undefined;
  return Object.fromEntries(words.map((word, at) => [names[at]?.slice(1, -1) ?? "", word]));
}
