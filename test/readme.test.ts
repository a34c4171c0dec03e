// The README says what the program does: the models it lists are the records, its options exist, its links lead somewhere.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import t from "tap";
import { RECORDS } from "../src/architecture/gguf/families/records.ts";
import { entryOf, knownModelTypes } from "../src/architecture/hf/registry.ts";
import { main } from "../src/cli/main.ts";
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

t.test("the first example prints what the README says", async (t) => {
  const output = path.join(t.testdir(), "out");
  let out = "";
  const streams = { out: { write: (text: string) => (out += text) }, err: { write: () => true } };
  const words = [path.join(root, "fixtures", "llama"), output, "--every", "2"];
  t.equal(await main(words, streams), 0);
  const start = readme.indexOf("    model     llama (safetensors), 4 blocks");
  const said = readme.slice(start, readme.indexOf("\n\n    npm ci && npm test", start)).replaceAll(/^ {4}/gm, "");
  const shown = out.replaceAll(output, ".demo/llama-expanded").replaceAll(`${root}${path.sep}`, "");
  t.equal(shown.trimEnd().replace(/in \d\.\d s$/, "in 0.0 s"), said);
});

t.test("the library's example runs as it is written", async (t) => {
  const [, example = ""] = /## As a library\n\n```ts\n(.+?)```/s.exec(readme) ?? [];
  const directory = t.testdir({});
  fs.cpSync(path.join(root, "fixtures", "llama"), path.join(directory, "model"), { recursive: true });
  const source = pathToFileURL(path.join(root, "src", "index.ts")).href;
  fs.writeFileSync(path.join(directory, "example.mts"), example.replace('"expand-checkpoint"', JSON.stringify(source)));
  const tsx = import.meta.resolve("tsx");
  const { stdout, stderr, status } = spawnSync(process.execPath, ["--import", tsx, "example.mts"], {
    cwd: directory,
    encoding: "utf8",
  });
  t.equal(status, 0, stderr);
  t.equal(stdout, "identity\n");
  t.match(stderr, /^\d+ of \d+\n/);
  t.ok(fs.existsSync(path.join(directory, "expanded", "model.safetensors")));
});
