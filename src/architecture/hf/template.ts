// Tensor name templates to anchored patterns. Matches whole names only: never a substring.
import type { Templates } from "./family.ts";

export interface Template {
  /** One name, with `{e}` where an expert index stands. */
  readonly name: string;
  readonly optional: boolean;
  readonly pattern: RegExp;
}

const compiled = new Map<Templates, readonly Template[]>();

/** The single templates that a text of templates stands for, alternations expanded. */
export function templates(text: Templates): readonly Template[] {
  let found = compiled.get(text);
  if (found === undefined) {
    found = text
      .split(/\s+/)
      .filter((word) => word !== "")
      .flatMap(expand);
    compiled.set(text, found);
  }
  return found;
}

/** Names repeat in every block, so answers are kept. */
const answers = new Map<Templates, Map<string, boolean>>();

/** True when a name is one of the templates. */
export function matches(text: Templates, name: string): boolean {
  const known = answers.get(text) ?? new Map<string, boolean>();
  answers.set(text, known);
  let answer = known.get(name);
  if (answer === undefined) {
    answer = templates(text).some((template) => template.pattern.test(name));
    known.set(name, answer);
  }
  return answer;
}

function expand(word: string): Template[] {
  const optional = word.endsWith("?");
  const text = (optional ? word.slice(0, -1) : word).replaceAll(".@", ".{weight,bias?}");
  return alternatives(text).map((choice) => ({
    name: choice.name,
    optional: optional || choice.optional,
    pattern: pattern(choice.name),
  }));
}

function alternatives(text: string): { name: string; optional: boolean }[] {
  const group = /\{([^{}]*,[^{}]*)\}/.exec(text);
  if (group === null) return [{ name: text, optional: false }];
  const [whole, inner = ""] = group;
  const before = text.slice(0, group.index);
  const after = text.slice(group.index + whole.length);
  return inner.split(",").flatMap((part) => {
    const optional = part.endsWith("?");
    return alternatives(before + (optional ? part.slice(0, -1) : part) + after).map((choice) => ({
      name: choice.name,
      optional: choice.optional || optional,
    }));
  });
}

function pattern(name: string): RegExp {
  const source = name
    .split(/(\{e\}|\*\*|\*)/)
    .map((part) => PLACEHOLDERS[part] ?? part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"))
    .join("");
  return new RegExp(`^${source}$`);
}

const PLACEHOLDERS: Readonly<Record<string, string>> = { "{e}": "(0|[1-9][0-9]*)", "*": "[^.]+", "**": ".+" };
