// The proof of a training: what is frozen keeps its bytes, what is trainable changes, and each sabotage is found by its own finding.
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import type { Checkpoint } from "../src/checkpoint/checkpoint.ts";
import { main } from "../src/cli/main.ts";
import { expand } from "../src/commands/expand.ts";
import { mask as maskVerb } from "../src/commands/mask.ts";
import { trainableTensors } from "../src/commands/trainable.ts";
import { type VerificationReport, verify } from "../src/commands/verify.ts";
import { finish } from "../src/events.ts";
import { openCheckpoint } from "../src/formats/open.ts";
import { cloneGraph } from "../src/graph/graph.ts";
import type { TensorRef } from "../src/tensor/reference.ts";
import { memorySource } from "../src/tensor/source.ts";
import type { Finding } from "../src/verification/findings.ts";
import { githubAnnotations, githubOutputs } from "../src/verification/report/github.ts";
import { htmlText } from "../src/verification/report/html.ts";
import { junitText } from "../src/verification/report/junit.ts";
import { markdownText } from "../src/verification/report/markdown.ts";
import { terminalText } from "../src/verification/report/terminal.ts";
import { verifyTrained } from "../src/verification/trained.ts";

const fixtures = path.resolve(import.meta.dirname, "..", "fixtures");

interface Trained {
  readonly before: string;
  readonly after: string;
  readonly trainable: readonly string[];
}

/** Expands a fixture, copies the output and "trains" the copy: the first value of each trainable tensor becomes 0.5. */
async function trained(directory: string, source: string, names: { before: string; after: string }): Promise<Trained> {
  const [before, after] = [path.join(directory, names.before), path.join(directory, names.after)];
  const one = { source: path.join(fixtures, source), output: before, add: 1 };
  await finish(expand(one));
  await finish(expand({ ...one, output: after }));
  const { mask } = await finish(maskVerb({ source: before }));
  const trainable = Object.keys(mask.tensors).filter((name) => mask.tensors[name] === "trainable");
  for (const name of trainable) await poke(after, name);
  return { before, after, trainable };
}

/** Writes one value into the file that holds a tensor; by default one that no fixture holds there. */
async function poke(location: string, tensor: string, value = 0.5): Promise<void> {
  const found = (await openCheckpoint(location)).tensors.get(tensor);
  if (found?.kind !== "stored" || found.source.path === undefined) throw new TypeError(`the test has no ${tensor}`);
  const wide = Buffer.alloc(4);
  wide.writeFloatLE(value);
  const narrow = found.dtype === "F16" ? Buffer.from(value === 0.5 ? [0x00, 0x38] : [0x00, 0x7e]) : wide.subarray(2);
  const bytes = found.dtype === "F32" ? wide : narrow;
  const file = fs.openSync(found.source.path, "r+");
  fs.writeSync(file, bytes, 0, bytes.length, found.offset);
  fs.closeSync(file);
}

const run = (before: string, after: string, mask?: string): Promise<VerificationReport> =>
  finish(verify({ before, after, mode: "trained", ...(mask === undefined ? {} : { mask }) }));
const codes = (report: VerificationReport): readonly string[] => report.findings.map(({ code }) => code);

const FORMATS: Readonly<Record<string, readonly [source: string, before: string, after: string]>> = {
  safetensors: ["llama", "before", "after"],
  "mixture of experts": ["mixtral", "before", "after"],
  "norms as gains": ["gemma2", "before", "after"],
  GGUF: ["llama.gguf", "before.gguf", "after.gguf"],
};

for (const [title, [source, before, after]] of Object.entries(FORMATS)) {
  t.test(`${title}: copies that changed and originals that did not are proved`, async (t) => {
    const made = await trained(t.testdir(), source, { before, after });
    const report = await run(made.before, made.after);
    t.equal(report.verdict, "trained", JSON.stringify(report.findings));
    t.same(codes(report), []);
    t.equal(report.trained?.trainable.changed, made.trainable.length);
    t.equal(report.trained?.frozen.identical, report.trained?.frozen.tensors);
    const bytes = (report.trained?.trainable.bytes ?? 0) + (report.trained?.frozen.bytes ?? 0);
    t.equal(bytes, report.before.bytes, "every tensor is on one side");

    const frozen = [...(await openCheckpoint(made.after)).tensors.keys()].find(
      (name) => !made.trainable.includes(name),
    );
    await poke(made.after, frozen ?? "");
    const broken = await run(made.before, made.after);
    t.equal(broken.verdict, "not-trained");
    t.same(codes(broken), ["frozen-changed"]);
    t.equal(broken.findings[0]?.at, frozen);
    t.equal(broken.trained?.frozen.identical, (broken.trained?.frozen.tensors ?? 0) - 1);
  });
}

/** A checkpoint with other bytes in some tensors, in memory. */
function withBytes(checkpoint: Checkpoint, change: (name: string, data: Uint8Array) => Uint8Array | undefined) {
  return async (names: Iterable<string>): Promise<Checkpoint> => {
    const tensors = new Map(checkpoint.tensors);
    for (const name of names) {
      const tensor = checkpoint.tensors.get(name);
      if (tensor?.kind !== "stored") throw new TypeError(`the test has no ${name}`);
      const data = change(name, await tensor.source.read(tensor.offset, tensor.bytes));
      if (data === undefined) tensors.delete(name);
      else tensors.set(name, { ...tensor, bytes: data.length, source: memorySource(name, data), offset: 0 });
    }
    return { ...checkpoint, tensors };
  };
}

const flipped = (_: string, data: Uint8Array): Uint8Array => data.map((byte, at) => (at === 0 ? byte ^ 1 : byte));

async function expanded(directory: string, source = "llama"): Promise<Checkpoint> {
  const output = path.join(directory, "expanded");
  await finish(expand({ source: path.join(fixtures, source), output, add: 1 }));
  return openCheckpoint(output);
}

t.test("ONNX: initializers change, nodes and constants do not", async (t) => {
  for (const source of ["onnx-genai", "onnx-traced"]) {
    const before = await expanded(t.testdir(), source);
    if (before.graph === undefined) throw new TypeError("the fixture has no graph");
    const trainable = await trainableTensors(before);
    const after = await withBytes(before, flipped)(trainable);
    const report = await finish(verifyTrained(before, after, trainable));
    t.equal(report.verdict, "trained", JSON.stringify(report.findings));
    t.same(codes(report), []);

    const graph = cloneGraph(before.graph);
    const node = graph.model.graph?.node.find(({ attribute }) => attribute.some(({ i }) => i !== 0n));
    const attribute = node?.attribute.find(({ i }) => i !== 0n);
    if (attribute === undefined) throw new TypeError("the fixture has no attribute");
    attribute.i += 1n;
    const edited = await finish(verifyTrained(before, { ...after, graph }, trainable));
    t.equal(edited.verdict, "not-trained");
    t.same(codes(edited), ["graph-changed"]);
    t.match(edited.findings[0]?.message, /^expected ".+", found ".+"$/);
  }
});

t.test("other files, other shards: only the tensors count", async (t) => {
  const directory = t.testdir();
  const before = await expanded(directory, "llama-sharded");
  const output = path.join(directory, "one-file");
  await finish(expand({ source: path.join(fixtures, "llama-sharded"), output, add: 1, shardSize: 12_000 }));
  const trainable = await trainableTensors(before);
  const after = await withBytes(await openCheckpoint(output), flipped)(trainable);
  t.not(before.shards.length, after.shards.length);
  t.equal((await finish(verifyTrained(before, after, trainable))).verdict, "trained");
});

t.test("each sabotage is found by its own finding", async (t) => {
  const before = await expanded(t.testdir());
  const trainable = await trainableTensors(before);
  const [first = "", second = "", ...rest] = trainable;
  const good = await withBytes(before, flipped)(trainable);
  const prove = (after: Checkpoint, names = trainable): Promise<VerificationReport> =>
    finish(verifyTrained(before, after, names));
  const only = async (after: Checkpoint, code: string, verdict: string): Promise<Finding> => {
    const report = await prove(after);
    t.same(codes(report), [code]);
    t.equal(report.verdict, verdict, code);
    const [found] = report.findings;
    if (found === undefined) throw new TypeError("nothing was found");
    return found;
  };

  const flip = (name: string, byte: number, bit: number) =>
    withBytes(good, (_, data) => data.map((value, at) => (at === byte ? value ^ bit : value)))([name]);
  const bit = await only(await flip("model.norm.weight", 9, 1), "frozen-changed", "not-trained");
  t.match(bit, { at: "model.norm.weight", tensors: ["model.norm.weight"] });
  t.match(bit.message, /^differs from BEFORE's in 1 of \d+ bytes, the first at byte 9 \(element 4 is /);

  const partly = await withBytes(before, flipped)([first, ...rest]);
  const left = await only(partly, "tensor-unchanged", "inconclusive");
  t.equal(left.message, `holds 1 of ${trainable.size} trainable tensors as they were: ${second}`);
  t.same(left.tensors, [second]);
  const narrow = await prove(partly, new Set([first, ...rest]));
  t.match(narrow, { verdict: "trained", findings: [] }, "a mask that says what was frozen");

  const none = await only(before, "nothing-trained", "not-trained");
  t.equal(none.message, `not one of ${trainable.size} trainable tensors changed`);

  const lost = await only(await withBytes(good, () => undefined)([first]), "tensor-missing", "not-trained");
  t.equal(lost.message, `has no ${first}`);
  const extra = { ...good, tensors: new Map([...good.tensors, ["extra.weight", tensorOf(good, first)]]) };
  const added = await only(extra, "tensor-added", "not-trained");
  t.equal(added.message, "holds what BEFORE does not: extra.weight");

  const cast = { ...good, tensors: new Map(good.tensors) };
  cast.tensors.set(first, { ...tensorOf(good, first), dtype: "I32" });
  t.match((await only(cast, "dtype-changed", "not-trained")).message, /^expected BF16, found I32 /);
  const turned = { ...good, tensors: new Map(good.tensors) };
  turned.tensors.set(first, { ...tensorOf(good, first), shape: [1, ...tensorOf(good, first).shape] });
  await only(turned, "shape-changed", "not-trained");

  const infinite = withBytes(good, (_, data) =>
    data.map((value, at) => (at === 6 ? 0x80 : at === 7 ? 0x7f : at === 4 || at === 5 ? 0 : value)),
  );
  const bad = await only(await infinite([second]), "weight-not-finite", "not-trained");
  t.match(bad.message, /^is not finite in 2 of \d+ bytes, the first at byte 6 \(element 3 is Infinity\)$/);

  if (good.config.dialect !== "hf") throw new TypeError("the fixture has no config.json");
  const config = good.config.documents.get("config.json")?.with(["rms_norm_eps"], 0.5);
  const documents = new Map([
    ...good.config.documents,
    ...(config === undefined ? [] : [["config.json", config] as const]),
  ]);
  const setting = await only({ ...good, config: { dialect: "hf", documents } }, "setting-changed", "not-trained");
  t.equal(setting.at, "config.json: rms_norm_eps");

  const assets = new Map([["tokenizer.json", memorySource("tokenizer.json", new Uint8Array(3))]]);
  t.equal((await only({ ...good, assets }, "asset-changed", "trained")).severity, "warns");

  await t.rejects(prove(good, new Set([...trainable, "model.nothing.weight"])), {
    tag: "input",
    message: `${before.location}: the mask trains 1 tensors that are not there: model.nothing.weight`,
    fix: "Use the mask that was made for this checkpoint.",
  });
});

t.test("models of different formats are not compared", async (t) => {
  const before = await expanded(t.testdir());
  const after = await openCheckpoint(path.join(fixtures, "llama.gguf"));
  const report = await finish(verifyTrained(before, after, new Set()));
  t.match(report, {
    verdict: "inconclusive",
    reason: "BEFORE is safetensors and AFTER is gguf: their tensors have other names and bytes",
  });
  t.match(junitText(report), '<testcase classname="structure" name="BEFORE and AFTER can be compared">');
  t.match(terminalText(report), /^inconclusive: neither proved nor refuted: BEFORE is safetensors/);
});

t.test("the mask is the one beside BEFORE, the one that is named, or the copies that are found", async (t) => {
  const { before, after, trainable } = await trained(t.testdir(), "llama", { before: "before", after: "after" });
  const file = path.join(before, "mask.json");
  const [first = ""] = trainable;
  const narrow = fs.readFileSync(file, "utf8").replace(`"${first}": "trainable"`, `"${first}": "frozen"`);
  const own = path.join(path.dirname(before), "own.json");
  fs.writeFileSync(own, narrow);
  t.match(await run(before, after, own), { verdict: "not-trained", findings: [{ code: "frozen-changed", at: first }] });
  fs.rmSync(file);
  t.equal((await run(before, after)).verdict, "trained", "its copies add nothing, so they are found");
  for (const [text, message] of [
    [
      narrow.replace('": "trainable"', '": "thawed"'),
      /expected "trainable" or "frozen" for every tensor, found "thawed" for "/,
    ],
    [
      narrow.replace(/"tensors": \{[^}]*\}\n\}/, '"tensors": {}}'),
      'own.json: expected "trainable" or "frozen" for every tensor, found none',
    ],
  ] as const) {
    fs.writeFileSync(own, text);
    await t.rejects(run(before, after, own), { tag: "input", message });
  }
  await t.rejects(run(before, after, `${own}.missing`), {
    tag: "usage",
    message: /own\.json\.missing: cannot be read \(ENOENT\)/,
  });
});

t.test("every rendering says what changed and what did not", async (t) => {
  const before = await expanded(t.testdir());
  const trainable = await trainableTensors(before);
  const [first = "", ...rest] = trainable;
  const prove = async (names: Iterable<string>): Promise<VerificationReport> => ({
    ...(await finish(verifyTrained(before, await withBytes(before, flipped)(names), trainable))),
    seconds: 0.1,
  });
  const report = await prove(trainable);
  const headline = "trained: AFTER is BEFORE with other values in every trainable tensor, and nothing else changed";
  const text = terminalText(report);
  t.match(text, new RegExp(`^${headline}\n`));
  t.match(text, /^ {2}trainable 9 of 9 tensors changed, \d\.\d kB$/m);
  t.match(text, /^ {2}frozen {4}\d+ of \d+ tensors byte-identical, \d+\.\d kB$/m);

  const markdown = markdownText(report);
  t.match(markdown, `## ${headline}`);
  t.match(markdown, "Trainable: 9 of 9 tensors changed");
  t.match(markdown, "| every frozen tensor is the same, byte for byte | passed |");
  t.match(markdown, "| training changed every trainable tensor, and left every value finite | passed |");
  t.notMatch(markdown, "every branch of every copy is closed");

  const junit = junitText(report);
  t.match(junit, 'tests="5" failures="0" errors="0" skipped="0"');
  t.match(junit, '<testcase classname="structure" name="every frozen tensor is the same, byte for byte"/>');

  const html = htmlText(report);
  t.match(html, '<header class="verdict identity">');
  t.match(html, "<dt>trainable</dt><dd>9 of 9 tensors changed");
  t.match(html, "Compared: stored bytes and settings of a model before and after training. No model was run.");

  t.match(githubAnnotations(report), `::notice title=trained::${headline}`);
  t.match(githubOutputs(report, undefined), /^verdict<<(.*)\ntrained\n\1$/m);
  const failed = { ...report, verdict: "not-trained" as const };
  t.match(
    githubAnnotations(failed),
    "::error title=not-trained::not-trained: AFTER is not BEFORE with other values in",
  );
  t.match(htmlText(failed), '<header class="verdict not-identity">');

  const open = await prove(rest);
  const left = `holds 1 of 9 trainable tensors as they were: ${first}`;
  t.match(terminalText(open), `inconclusive: neither proved nor refuted: ${before.location} ${left}\n`);
  t.match(terminalText(open), /^ {2}trainable 8 of 9 tensors changed, \d\.\d kB$/m);
  t.match(terminalText(open), `tensor-unchanged: ${before.location}: ${left}`);
  t.match(markdownText(open), "| training changed every trainable tensor, and left every value finite | **open** |");
  t.match(junitText(open), 'tests="5" failures="0" errors="1" skipped="0"');
  t.match(htmlText(open), '<header class="verdict inconclusive">');
  t.match(githubAnnotations(open), "::error title=inconclusive::inconclusive: neither proved nor refuted");
});

t.test(
  "on the command line: 0 when trained, 1 when not, 7 when in part, 2 for a mask that nobody asked for",
  async (t) => {
    const { before, after, trainable } = await trained(t.testdir(), "llama", { before: "before", after: "after" });
    const partly = path.join(path.dirname(before), "partly");
    const words = async (...argv: string[]): Promise<{ code: number; out: string; err: string }> => {
      const [out, err]: [string[], string[]] = [[], []];
      const streams = {
        out: { write: (text: string) => out.push(text) },
        err: { write: (text: string) => err.push(text) },
      };
      const code = await main(argv, streams);
      return { code, out: out.join(""), err: err.join("") };
    };
    t.match(await words("verify", before, after, "--mode", "trained"), { code: 0, out: /^trained: / });
    const [left = ""] = trainable;
    fs.cpSync(before, partly, { recursive: true });
    for (const name of trainable) if (name !== left) await poke(partly, name);
    t.match(await words("verify", before, partly, "--mode", "trained"), { code: 7, out: /^inconclusive: / });
    await poke(after, "model.norm.weight");
    t.match(await words("verify", before, after, "--mode", "trained"), { code: 1, out: /^not-trained: / });
    t.match(await words("verify", before, after, "--mask", "m.json"), {
      code: 2,
      err: "error: --mask says what was trained, and only --mode trained asks for it\nfix: Add --mode trained, or remove --mask.\n",
    });
    t.equal((await words("verify", before, after, "--mode", "trained", "--tokens", "4")).code, 2);
  },
);

function tensorOf(checkpoint: Checkpoint, name: string): TensorRef {
  const tensor = checkpoint.tensors.get(name);
  if (tensor === undefined) throw new TypeError(`the test has no ${name}`);
  return tensor;
}
