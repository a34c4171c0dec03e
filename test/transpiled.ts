// The storage engine as plain JavaScript: its worker threads then load on every Node version without a TypeScript loader, which would
// cost each thread a second, and a killed process starts in milliseconds. Made afresh, so it is never a stale build.
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import ts from "typescript";

const SRC = path.join(import.meta.dirname, "../src");
const FOLDERS = ["tensor", "storage"];
const OPTIONS = {
  target: ts.ScriptTarget.ES2023,
  module: ts.ModuleKind.ESNext,
  rewriteRelativeImportExtensions: true,
};

/** Writes the engine into a new directory. */
export function transpileEngine(to: string): void {
  const inFolders = FOLDERS.flatMap((folder) =>
    fs.readdirSync(path.join(SRC, folder)).map((name) => `${folder}/${name}`),
  );
  for (const file of ["errors.ts", "events.ts", ...inFolders]) {
    if (!file.endsWith(".ts")) continue;
    const text = fs.readFileSync(path.join(SRC, file), "utf8");
    const target = path.join(to, file.replace(/\.ts$/, ".js"));
    fs.mkdirSync(path.dirname(target), { recursive: true });
    fs.writeFileSync(target, ts.transpileModule(text, { compilerOptions: OPTIONS }).outputText);
  }
  fs.writeFileSync(path.join(to, "package.json"), '{"type":"module"}');
}

/** `writeFiles`, with worker threads. Its errors are those of a copy of the class: compare their fields. */
export async function transpiledWriteFiles(to: string): Promise<typeof import("../src/storage/write.ts").writeFiles> {
  transpileEngine(to);
  const module = await import(pathToFileURL(path.join(to, "storage/write.js")).href);
  return module.writeFiles;
}

/** A file with all that it imports, as plain JavaScript below `to`; gives the path of the file. A program of its own then starts at once. */
export function transpileProgram(entry: string, to: string): string {
  const root = path.join(import.meta.dirname, "..");
  const target = (file: string): string => path.join(to, path.relative(root, file)).replace(/\.ts$/, ".js");
  const todo = [entry];
  for (const file of todo) {
    const { outputText } = ts.transpileModule(fs.readFileSync(file, "utf8"), { compilerOptions: OPTIONS });
    fs.mkdirSync(path.dirname(target(file)), { recursive: true });
    fs.writeFileSync(target(file), outputText);
    for (const [, name = ""] of outputText.matchAll(/(?:from|import) ?\(?"(\.[^"]+)\.js"/g)) {
      const next = `${path.resolve(path.dirname(file), name)}.ts`;
      if (!todo.includes(next)) todo.push(next);
    }
  }
  fs.writeFileSync(path.join(to, "package.json"), '{"type":"module"}');
  return target(entry);
}
