// Every model of Debian's libonnx-testdata is read past its weights and written back byte for byte, checked, and printed. One line for
// each group of models. Usage: npx tsx test/conformance/onnx_roundtrip.ts [DIRECTORY with .onnx files]. Without one the package is fetched
// with apt-get download (no root) into a temporary directory; "skip" is printed where that is impossible.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { readModel } from "../../src/formats/onnx/read.ts";
import { serialise } from "../../src/formats/onnx/serialise.ts";
import { checkGraph } from "../../src/graph/check.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { inlineFunctions } from "../../src/graph/inline.ts";
import { printGraph } from "../../src/graph/print.ts";
import { fileSource } from "../../src/tensor/source.ts";

const PACKAGE = "libonnx-testdata";
/** What version 1.12.0-2 holds. */
const EXPECTED = 1072;

async function main(): Promise<void> {
  const [given] = process.argv.slice(2);
  const scratch = fs.mkdtempSync(path.join(os.tmpdir(), "onnx-roundtrip-"));
  try {
    const directory = given ?? fetchPackage(scratch);
    if (directory !== undefined) await tryAll(directory, given === undefined);
  } finally {
    fs.rmSync(scratch, { recursive: true });
  }
}

/** Undefined, and said so, where the package cannot be had. */
function fetchPackage(scratch: string): string | undefined {
  try {
    execFileSync("apt-get", ["download", "-qq", PACKAGE], { cwd: scratch, stdio: "pipe" });
    const [file] = fs.readdirSync(scratch).filter((name) => name.endsWith(".deb"));
    execFileSync("dpkg", ["-x", file ?? PACKAGE, "unpacked"], { cwd: scratch, stdio: "pipe" });
    return path.join(scratch, "unpacked");
  } catch (error) {
    const reason = error instanceof Error ? error.message.split("\n")[0] : String(error);
    console.log(`skip: ${PACKAGE} cannot be downloaded here: ${reason}`);
    return undefined;
  }
}

async function tryAll(directory: string, whole: boolean): Promise<void> {
  const groups = new Map<string, { count: number; faults: string[] }>();
  const seen = new Set<string>();
  for (const name of fs.readdirSync(directory, { recursive: true, encoding: "utf8" }).sort()) {
    const file = path.join(directory, name);
    // Links lead to directories that are listed themselves.
    if (!name.endsWith(".onnx") || seen.has(fs.realpathSync(file))) continue;
    seen.add(fs.realpathSync(file));
    const key = path.basename(path.dirname(path.dirname(file)));
    const group = groups.get(key) ?? { count: 0, faults: [] };
    groups.set(key, group);
    group.count++;
    const fault = await faultOf(file);
    if (fault !== undefined) group.faults.push(`${name}: ${fault}`);
  }
  for (const [name, { count, faults }] of groups) {
    console.log(
      `${faults.length === 0 ? "ok" : "not ok"} ${count} models of ${name} round-trip byte for byte, and check`,
    );
    for (const fault of faults.slice(0, 10)) console.log(`  ${fault}`);
    if (faults.length > 0) process.exitCode = 1;
  }
  if (!whole) return;
  const isWhole = seen.size === EXPECTED;
  console.log(`${isWhole ? "ok" : "not ok"} ${seen.size} models, ${EXPECTED} expected`);
  if (!isWhole) process.exitCode = 1;
}

async function faultOf(file: string): Promise<string | undefined> {
  try {
    const name = path.basename(file);
    const source = fileSource(file);
    const graph: Graph = { model: await readModel(source, name), files: new Map([[name, source]]) };
    const again = await serialise(graph, (location) => location === name);
    if (Buffer.compare(again, fs.readFileSync(file)) !== 0) return "comes back with other bytes";
    checkGraph(graph);
    checkGraph(inlineFunctions(graph));
    return printGraph(graph).length > 0 ? undefined : "prints nothing";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

await main();
