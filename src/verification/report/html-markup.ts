// HTML that cannot be broken from inside: every string that enters a template is escaped. Never trusts a name.
import { visible } from "./summary.ts";

/** Text that is HTML already. Only `html` makes it. */
export class Markup {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

type Part = string | number | Markup | readonly Markup[] | undefined;

/** A template whose values are escaped, unless they are markup themselves. `undefined` is nothing. */
export function html(literals: TemplateStringsArray, ...parts: readonly Part[]): Markup {
  let text = literals[0] ?? "";
  for (const [at, part] of parts.entries()) text += written(part) + (literals[at + 1] ?? "");
  return new Markup(text);
}

function written(part: Part): string {
  if (part === undefined) return "";
  if (part instanceof Markup) return part.text;
  if (typeof part === "object") return part.map((each) => each.text).join("");
  return escaped(String(part));
}

/** Controls of the writing direction can make a name look like another one; lone surrogates have no bytes in UTF-8. */
const DECEPTIVE = /[\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]|\p{Cs}/gu;

/** For text and for quoted attribute values. */
function escaped(text: string): string {
  return visible(text)
    .replace(DECEPTIVE, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`)
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");
}
