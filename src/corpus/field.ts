// Which field of a record is the text: the one that is asked for, or the one that can be meant. Never picks one of several.
import { ExpandError, quote } from "../errors.ts";

const DEFAULT_FIELD = "text";
const SHOWN = 20;

/** `names` are all fields of a record, `strings` those that hold text. Throws "input" naming the fields found. */
export function chooseField(
  at: string,
  names: readonly string[],
  strings: readonly string[],
  asked: string | undefined,
): string {
  const wanted = asked ?? (names.includes(DEFAULT_FIELD) ? DEFAULT_FIELD : undefined);
  if (wanted !== undefined) {
    if (strings.includes(wanted)) return wanted;
    const how = names.includes(wanted) ? "does not hold text" : "is not there";
    throw new ExpandError("input", `field ${quote(wanted)} ${how}; found ${list(names, strings)}`, {
      at,
      fix: "Name a field that holds text, with --field.",
    });
  }
  const [only, ...others] = strings;
  if (only !== undefined && others.length === 0) return only;
  const found = only === undefined ? "no field holds text" : "several fields hold text, and none is named text";
  throw new ExpandError("input", `${found}; found ${list(names, strings)}`, {
    at,
    fix:
      only === undefined
        ? "Write the text as a string in a field."
        : "Name the field that holds the text, with --field.",
  });
}

function list(names: readonly string[], strings: readonly string[]): string {
  if (names.length === 0) return "no fields";
  const shown = names.slice(0, SHOWN).map((name) => `${quote(name)}${strings.includes(name) ? "" : " (not text)"}`);
  const more = names.length > SHOWN ? `, and ${names.length - SHOWN} more` : "";
  return shown.join(", ") + more;
}
