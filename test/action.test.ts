// The GitHub Action, its steps run as the runner runs them: inputs into the environment, outputs out of the files it names.
import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import { parse } from "yaml";
import { main } from "../src/cli/main.ts";

interface Step {
  readonly id?: string;
  readonly name?: string;
  readonly shell: string;
  readonly env: Readonly<Record<string, string>>;
  readonly run: string;
}
interface Action {
  readonly inputs: Readonly<Record<string, { readonly required?: boolean; readonly default?: string }>>;
  readonly outputs: Readonly<Record<string, { readonly value: string }>>;
  readonly runs: { readonly using: string; readonly steps: readonly Step[] };
}
interface Outcome {
  /** Exit code of the first step that failed, else 0. */
  readonly code: number;
  readonly outputs: Readonly<Record<string, string>>;
  readonly summary: string;
  readonly log: string;
}
interface Place {
  readonly action: string;
  readonly workspace: string;
  readonly temp: string;
  /** Directories before those of PATH. */
  readonly path?: string;
}

const root = path.resolve(import.meta.dirname, "..");
const fixtures = path.join(root, "fixtures");
const action = parse(fs.readFileSync(path.join(root, "action.yml"), "utf8")) as Action;

/** One use of the action: a required input is there, no other is unknown, and each step runs in a clean bash until one fails. */
async function use(inputs: Readonly<Record<string, string>>, place: Place): Promise<Outcome> {
  for (const name of Object.keys(inputs)) if (!(name in action.inputs)) throw new Error(`no input ${name}`);
  const values = new Map(Object.entries(action.inputs).map(([name, input]) => [name, inputs[name] ?? input.default]));
  const files = fs.mkdtempSync(path.join(place.temp, "runner-"));
  const summary = path.join(files, "summary");
  const steps = new Map<string, Readonly<Record<string, string>>>();
  const evaluate = (text: string): string =>
    text.replaceAll(/\$\{\{ ([a-z-]+)\.([\w-]+)(?:\.outputs\.([\w-]+))? \}\}/g, (_whole, scope, name, output) => {
      if (scope === "inputs") return values.get(name) ?? "";
      if (scope === "steps") return steps.get(name)?.[output] ?? "";
      if (scope === "github" && name === "action_path") return place.action;
      throw new Error(`the test's runner does not know ${scope}.${name}`);
    });
  let code = 0;
  let log = "";
  fs.writeFileSync(summary, "");
  for (const [at, step] of action.runs.steps.entries()) {
    const [script, output] = [path.join(files, `${at}.sh`), path.join(files, `${at}.output`)];
    fs.writeFileSync(script, step.run);
    fs.writeFileSync(output, "");
    const env = Object.fromEntries(Object.entries(step.env).map(([name, text]) => [name, evaluate(text)]));
    const ended = await bash(script, place, { ...env, GITHUB_OUTPUT: output, GITHUB_STEP_SUMMARY: summary });
    code = ended.code;
    log += ended.log;
    if (step.id !== undefined) steps.set(step.id, outputsIn(fs.readFileSync(output, "utf8")));
    if (code !== 0) break;
  }
  const outputs = Object.entries(action.outputs).map(([name, { value }]) => [name, evaluate(value)]);
  return { code, log, summary: fs.readFileSync(summary, "utf8"), outputs: Object.fromEntries(outputs) };
}

function bash(script: string, place: Place, env: Readonly<Record<string, string>>) {
  const all = {
    PATH: [place.path, path.dirname(process.execPath), process.env.PATH].filter(Boolean).join(":"),
    HOME: process.env.HOME,
    GITHUB_ACTIONS: "true",
    GITHUB_WORKSPACE: place.workspace,
    RUNNER_TEMP: place.temp,
    ...env,
  };
  // As the runner calls it: actions/runner, ScriptHandlerHelpers, "bash".
  const words = ["--noprofile", "--norc", "-eo", "pipefail", script];
  return new Promise<{ code: number; log: string }>((resolve, reject) => {
    const child = spawn("bash", words, { cwd: place.workspace, env: all });
    let log = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (log += data));
    child.on("error", reject);
    child.on("close", (code) => resolve({ code: code ?? -1, log }));
  });
}

/** The file of outputs as the runner reads it: NAME=VALUE, or NAME<<END, lines, END. */
function outputsIn(text: string): Record<string, string> {
  const found: Record<string, string> = {};
  const lines = text.split("\n");
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] ?? "";
    const [, name = "", mark = "", rest = ""] = /^([\w-]+)(=|<<)(.*)$/.exec(line) ?? [];
    if (mark === "=") found[name] = rest;
    if (mark !== "<<") continue;
    const end = lines.indexOf(rest, at + 1);
    if (end < 0) throw new Error(`the output ${name} does not end`);
    found[name] = lines.slice(at + 1, end).join("\n");
    at = end;
  }
  return found;
}

async function quietly(...words: string[]): Promise<void> {
  const sink = { write: () => undefined };
  t.equal(await main(words, { out: sink, err: sink }), 0, words.join(" "));
}

/** Programs that write what they were called with, one word a line. */
function fakes(directory: string, ...names: string[]): { readonly path: string; readonly log: string } {
  const [folder, log] = [path.join(directory, "fakes"), path.join(directory, "log")];
  fs.mkdirSync(folder);
  const script = `#!/bin/sh\nprintf '%s\\n' "$HF_TOKEN" "$@" >>'${log}'\n`;
  for (const name of names) fs.writeFileSync(path.join(folder, name), script, { mode: 0o755 });
  return { path: folder, log };
}

/** The action as `npm test` has built it, and an expanded fixture, sound and broken. */
async function prepare(): Promise<Place> {
  const top = t.testdir({ workspace: {}, temp: {} });
  const [workspace, temp] = [path.join(top, "workspace"), path.join(top, "temp")];
  const place = { action: root, workspace, temp, path: fakes(top, "npm").path };
  fs.cpSync(path.join(fixtures, "llama"), path.join(place.workspace, "base"), { recursive: true });
  fs.copyFileSync(path.join(fixtures, "llama.gguf"), path.join(place.workspace, "base.gguf"));
  await quietly("expand", path.join(fixtures, "llama"), path.join(place.workspace, "expanded"), "--add", "2");
  fs.cpSync(path.join(place.workspace, "expanded"), path.join(place.workspace, "broken"), { recursive: true });
  const weights = path.join(place.workspace, "broken", "model.safetensors");
  const bytes = fs.readFileSync(weights);
  const header = Number(bytes.readBigUInt64LE(0));
  const [start] = JSON.parse(bytes.toString("utf8", 8, 8 + header))["model.norm.weight"].data_offsets;
  bytes.writeUInt8(bytes.readUInt8(8 + header + start) ^ 1, 8 + header + start);
  fs.writeFileSync(weights, bytes);
  return place;
}

t.test("no input is part of a script: they come as environment variables", async (t) => {
  t.equal(action.runs.using, "composite");
  for (const step of action.runs.steps) {
    t.equal(step.shell, "bash");
    t.notMatch(step.run, /\$\{\{/, step.name ?? "");
  }
  t.same(Object.keys(action.inputs), "before after mode tolerance tokens version report hf-token".split(" "));
  t.same(Object.keys(action.outputs), "verdict max-abs-diff blocks-before blocks-after report-path".split(" "));
});

t.test("the action, on pairs", async (t) => {
  const place = await prepare();

  await t.test("an identity expansion passes, with its numbers of blocks and a page to keep", async (t) => {
    const { code, outputs, summary, log } = await use({ before: "base", after: "expanded" }, place);
    t.equal(code, 0, log);
    const report = outputs["report-path"] ?? "";
    t.same(
      { ...outputs, "report-path": "" },
      { verdict: "identity", "max-abs-diff": "", "blocks-before": "4", "blocks-after": "6", "report-path": "" },
    );
    t.match(report, /verification-\w+\/verification\.html$/);
    t.ok(path.isAbsolute(report) && report.startsWith(place.temp));
    t.match(fs.readFileSync(report, "utf8"), "identity: AFTER is an identity expansion of BEFORE");
    t.match(summary, "## identity: AFTER is an identity expansion of BEFORE");
    t.match(log, /^::notice title=identity::identity: AFTER/m);
  });

  await t.test("one changed bit fails the step, and the annotation names the tensor", async (t) => {
    const { code, outputs, summary, log } = await use({ before: "base", after: "broken", report: "r.xml" }, place);
    t.equal(code, 1, log);
    t.same(outputs, {
      verdict: "not-identity",
      "max-abs-diff": "",
      "blocks-before": "4",
      "blocks-after": "6",
      "report-path": path.join(place.workspace, "r.xml"),
    });
    t.match(fs.readFileSync(path.join(place.workspace, "r.xml"), "utf8"), '<failure type="original-differs"');
    t.match(summary, "## not-identity: AFTER is not an identity expansion of BEFORE");
    t.match(log, /^::error title=original-differs::\S+: differs from BEFORE's/m);
  });

  await t.test("formats whose bytes cannot be compared fail the step too: inconclusive is no pass", async (t) => {
    const { code, outputs, summary } = await use({ before: "base", after: "base.gguf", mode: "structure" }, place);
    t.equal(code, 7);
    t.equal(outputs.verdict, "inconclusive");
    t.equal(outputs["blocks-after"], "");
    t.match(summary, "## inconclusive: neither proved nor refuted: BEFORE is safetensors and AFTER is gguf");
  });

  await t.test("a side that is not there is inconclusive, with the reason as an annotation", async (t) => {
    const { code, outputs, log } = await use({ before: "base", after: "missing" }, place);
    t.equal(code, 3);
    t.equal(outputs.verdict, "inconclusive");
    t.match(log, /^::error title=inconclusive::missing: /m);
  });

  await t.test("text that looks like a command stays text", async (t) => {
    const evil = "$(touch pwned) `touch pwned`; touch pwned; \" ' \nverdict=identity\n::warning::x";
    for (const name of Object.keys(action.inputs).filter((input) => input !== "hf-token")) {
      const { outputs, code } = await use({ before: "base", after: "broken", [name]: evil }, place);
      t.not(code, 0, name);
      t.not(outputs.verdict, "identity", name);
    }
    const report = `${evil.replaceAll("/", "")}.md`;
    const { outputs } = await use({ before: "base", after: "broken", report }, place);
    t.equal(outputs.verdict, "not-identity");
    t.equal(outputs["report-path"], path.join(place.workspace, report));
    t.notOk(fs.readdirSync(place.workspace).includes("pwned"));
  });

  await t.test(
    "with a version, npx gets that version; the token arrives as HF_TOKEN; what is not set is not passed",
    async (t) => {
      const { path: bin, log } = fakes(t.testdir(), "npx");
      const fake = { ...place, path: bin };
      const inputs = { before: "base", after: "expanded", version: "1.2.3-rc.1", report: "r.md", "hf-token": "hf_x" };
      t.equal((await use({ ...inputs, mode: "both", tolerance: "1e-4", tokens: "16" }, fake)).code, 0);
      t.same(fs.readFileSync(log, "utf8").trim().split("\n"), [
        "hf_x",
        "--yes",
        "expand-checkpoint@1.2.3-rc.1",
        "verify",
        "--github",
        "--mode=both",
        "--report=r.md",
        "--tolerance=1e-4",
        "--tokens=16",
        "--",
        "base",
        "expanded",
      ]);
      fs.rmSync(log);
      await use({ before: "base", after: "expanded", version: "latest", report: "r.md" }, fake);
      t.same(fs.readFileSync(log, "utf8").split("\n").slice(5, -1), [
        "--mode=structure",
        "--report=r.md",
        "--",
        "base",
        "expanded",
      ]);
    },
  );
});

t.test("the action installs what the mode needs, and builds once a job", async (t) => {
  const top = t.testdir({ workspace: {}, temp: {}, action: { bin: { "expand-checkpoint.js": "" } } });
  const { path: bin, log } = fakes(top, "npm");
  const [install] = action.runs.steps;
  if (install === undefined) return void t.fail("no step");
  const script = path.join(top, "install.sh");
  fs.writeFileSync(script, install.run);
  const place = { action: path.join(top, "action"), workspace: top, temp: path.join(top, "temp"), path: bin };
  const called = async (MODE: string): Promise<string> => {
    fs.writeFileSync(log, "");
    const { code, log: said } = await bash(script, place, { MODE, VERSION: "", ACTION_PATH: place.action });
    t.equal(code, 0, said);
    return fs.readFileSync(log, "utf8").trim().replaceAll("\n", " ");
  };
  const build = " run --silent build";
  const ci = "ci --ignore-scripts --no-audit --no-fund";
  t.equal(await called("structure"), `${ci} --omit=optional ${build}`);
  t.equal(await called("structure"), `${ci} --omit=optional`, "built already; the packages are still missing");
  fs.mkdirSync(path.join(place.action, "node_modules/typescript"), { recursive: true });
  t.equal(await called("structure"), "", "nothing is left to do");
  t.equal(await called("both"), ci, "models are run by an optional package");
  fs.mkdirSync(path.join(place.action, "node_modules/onnxruntime-node"));
  t.equal(await called("numbers"), "");
});

t.test("workflows and the README use inputs and outputs that exist", async (t) => {
  const readme = fs.readFileSync(path.join(root, "README.md"), "utf8");
  const shown = [...readme.matchAll(/```yaml\n([\s\S]*?)```/g)].map((match) => match[1] ?? "");
  const folder = path.join(root, ".github/workflows");
  const files = fs.readdirSync(folder).map((name) => fs.readFileSync(path.join(folder, name), "utf8"));
  let uses = 0;
  for (const text of [...shown, ...files]) {
    const jobs = parse(text).jobs as Record<string, { steps: { uses?: string; with?: Record<string, string> }[] }>;
    for (const step of Object.values(jobs).flatMap((job) => job.steps)) {
      if (step.uses !== "./" && !/\/expand-checkpoint@/.test(step.uses ?? "")) continue;
      uses++;
      for (const name of Object.keys(step.with ?? {})) t.ok(name in action.inputs, name);
      for (const [name, input] of Object.entries(action.inputs))
        if (input.required) t.ok(name in (step.with ?? {}), name);
    }
    for (const [, output = ""] of text.matchAll(/\.outputs\.([\w-]+)/g)) t.ok(output in action.outputs, output);
  }
  t.equal(uses, 4);
  t.equal(
    shown
      .find((text) => text.includes("expand-checkpoint@"))
      ?.trim()
      .split("\n").length,
    10,
  );
});
