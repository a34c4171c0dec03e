// The model card of an expanded checkpoint: what was inserted, what was proved, how to train it and make it again. Writes between its own
// marks only; invents no licence and no origin.
import { ExpandError } from "../errors.ts";
import type { CardFacts } from "./facts.ts";
import { CARRIED, frontValue, joinCard, splitCard, withoutKey, withTags, withValue } from "./front-matter.ts";
import { cardText } from "./sections.ts";

export type { CardFacts, CardRecipe, CardSource } from "./facts.ts";

const BEGIN = "<!-- expand-checkpoint:begin (written by expand-checkpoint; text outside of these marks is kept) -->";
const END = "<!-- expand-checkpoint:end -->";
/** The begin mark, whatever its words. */
const BEGIN_MARK = /^<!-- expand-checkpoint:begin\b.*-->[ \t]*$/m;
const END_MARK = /^<!-- expand-checkpoint:end -->[ \t]*$/m;

const TAGS = ["expand-checkpoint", "block-expansion", "llama-pro"];

export interface CardTexts {
  /** The card that is to be extended: the one on the Hub, or the one beside the weights. */
  readonly existing?: string;
  /** The source's card, whose licence and kind hold for what was made of it. */
  readonly source?: string;
}

/** Ends with a line break. Throws "input" for front matter or marks that cannot be understood. */
export function modelCard(facts: CardFacts, { existing, source }: CardTexts = {}): string {
  const { front, body } = splitCard(existing ?? "");
  const origin = source === undefined ? "" : splitCard(source).front;
  return joinCard({ front: frontMatter(front, origin, facts), body: place(body, facts) });
}

function frontMatter(front: string, origin: string, { source }: CardFacts): string {
  let edited = front;
  if (source !== undefined && frontValue(front, "base_model") !== source.repo) {
    // How the source came about of its own base says nothing of this model.
    edited = withValue(withoutKey(edited, "base_model_relation"), "base_model", source.repo);
  }
  for (const key of CARRIED) {
    // A name or a link of a licence goes with the licence only.
    if (key.startsWith("license_") && frontValue(front, "license") !== undefined) continue;
    const value = frontValue(origin, key);
    if (value !== undefined && frontValue(edited, key) === undefined) edited = withValue(edited, key, value);
  }
  return withTags(edited, TAGS);
}

/** In place of our earlier text, or before everything else: who opens the page must see what this model is. */
function place(body: string, facts: CardFacts): string {
  const begin = BEGIN_MARK.exec(body);
  const end = END_MARK.exec(body);
  const rest =
    begin === null ? body : body.slice(0, begin.index) + (end === null ? "" : body.slice(end.index + end[0].length));
  const text = `${BEGIN}\n${cardText(facts, rest.trim() !== "")}${END}`;
  if (begin === null && end === null)
    return body.trim() === "" ? `\n${text}\n` : `\n${text}\n\n${body.replace(/^(?:\r?\n)+/, "")}`;
  if (begin !== null && end !== null && begin.index < end.index) {
    return body.slice(0, begin.index) + text + body.slice(end.index + end[0].length);
  }
  throw new ExpandError("input", "has one of the two marks of expand-checkpoint, or both the wrong way round", {
    at: "README.md",
    fix: "Remove the lines that hold expand-checkpoint:begin and expand-checkpoint:end, and what is between them.",
  });
}
