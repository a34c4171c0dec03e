// What a repository that is not there was probably meant to be. A suggestion only: nothing is opened in another's place.
import { ExpandError } from "../errors.ts";
import { nearest } from "../nearest.ts";
import { isAbsence } from "./failure.ts";
import type { HubClient } from "./http.ts";

/** Names asked for, of the owner's models and of models named alike. */
const MOST_NAMES = 200;

/** The same error with close names in its fix, where the Hub has any. */
export async function withCloseNames(error: unknown, client: HubClient, repo: string): Promise<unknown> {
  if (!isAbsence(error)) return error;
  const names = await closeNames(client, repo);
  if (names.length === 0) return error;
  const { at, fix = "", message, cause } = error;
  const text = at === undefined ? message : message.slice(`${at}: `.length);
  return new ExpandError(error.tag, text, {
    ...(at === undefined ? {} : { at }),
    fix: `Did you mean ${names.join(", or ")}? ${fix}`.trimEnd(),
    cause,
  });
}

async function closeNames(client: HubClient, repo: string): Promise<readonly string[]> {
  const [owner = "", name = ""] = repo.split("/");
  const words = name.split(/[-_.]/).sort((a, b) => b.length - a.length);
  const queries = [`author=${encodeURIComponent(owner)}`, `search=${encodeURIComponent(words[0] ?? name)}`];
  const found = new Set<string>();
  for (const query of queries) {
    try {
      const { value } = await client.json(`api/models?${query}&limit=${MOST_NAMES}`, repo);
      for (const entry of Array.isArray(value) ? value : []) if (typeof entry?.id === "string") found.add(entry.id);
    } catch (error) {
      // The question was a courtesy; the error at hand is the one to report.
      if (error instanceof ExpandError && error.tag === "network") continue;
      throw error;
    }
  }
  // One half right, the other nearly: a slip of the fingers, not another model.
  const split = [...found].map((id) => id.split("/"));
  const names = split.filter(([theirs]) => theirs === owner).map(([, each = ""]) => each);
  const owners = split.filter(([, each]) => each === name).map(([theirs = ""]) => theirs);
  return [
    ...nearest(name, names).map((each) => `${owner}/${each}`),
    ...nearest(owner, owners).map((each) => `${each}/${name}`),
  ].slice(0, 3);
}
