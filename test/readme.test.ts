// The README says what the program does: the models it lists are the records, its options exist, its links lead somewhere.
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import { RECORDS } from "../src/architecture/gguf/families/records.ts";
import { entryOf, knownModelTypes } from "../src/architecture/hf/registry.ts";
import { COMMON_OPTIONS } from "../src/cli/verb.ts";
import { loadVerb, VERB_NAMES } from "../src/cli/verbs.ts";

const root = path.resolve(import.meta.dirname, "..");
const readme = fs.readFileSync(path.join(root, "README.md"), "utf8");

/** Names in backquotes of the paragraph that starts with `title`. */
function listed(title: string): string[] {
  const start = readme.indexOf(`**${title}`);
  const paragraph = readme.slice(start, readme.indexOf("\n\n", start));
  return [...paragraph.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? "");
}

t.test("the listed models are the records, in alphabetical order", async (t) => {
  const hf = knownModelTypes().filter((type) => entryOf(type)?.kind !== "refused");
  t.same(listed("Hugging Face model types"), hf.sort());
  t.same(
    listed("Refused with the reason"),
    knownModelTypes()
      .filter((type) => !hf.includes(type))
      .sort(),
  );
  const gguf = Object.entries(RECORDS).filter(([, record]) => !("refuse" in record));
  t.same(listed("GGUF architectures"), gguf.map(([name]) => name).sort());
});

t.test("every option that the README names exists", async (t) => {
  const options = new Set([...Object.keys(COMMON_OPTIONS), "help", "version"]);
  for (const name of VERB_NAMES) {
    const verb = await loadVerb(name);
    for (const option of Object.keys(verb.options)) options.add(option);
  }
  // Options of npm and of the Hugging Face client.
  const foreign = ["global", "local-dir"];
  for (const [, option = ""] of readme.matchAll(/--([a-z][a-z-]*)/g)) {
    const name = option.replace(/^no-/, "");
    t.ok(options.has(name) || foreign.includes(name), `--${option}`);
  }
});

t.test("relative links lead to files of the repository", async (t) => {
  for (const [, target = ""] of readme.matchAll(/\]\((?!https?:)([^)#]+)/g)) {
    t.ok(fs.existsSync(path.join(root, target)), target);
  }
});
