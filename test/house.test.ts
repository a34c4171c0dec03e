// The rules of the house, read off the source text: who may import whom, what may not be written, how long a file may be.
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import ts from "typescript";

const root = path.resolve(import.meta.dirname, "..");
const src = path.join(root, "src");

/** Lowest first; a folder imports only from rows before its own. */
const ROWS: readonly (readonly string[])[] = [
  ["errors.ts", "version.ts", "nearest.ts"],
  ["events.ts", "json.ts"],
  ["tensor"],
  ["graph", "hub", "storage", "corpus"],
  ["checkpoint"],
  ["architecture", "formats"],
  ["residual"],
  ["expansion", "decoder", "runtime"],
  ["conversion", "autodiff"],
  ["verification"],
  ["evaluation"],
  ["training"],
  ["card"],
  ["commands"],
  ["index.ts"],
  ["cli"],
];
/** A command line reaches past the library's face into the verbs, errors and events only. */
const CLI_MAY_IMPORT = ["commands", "errors.ts", "events.ts", "nearest.ts", "version.ts"];
const MAX_FILE_LINES = 300;
const MAX_FUNCTION_LINES = 60;

interface SourceFile {
  readonly name: string;
  readonly text: string;
  readonly tree: ts.SourceFile;
}

const files: readonly SourceFile[] = fs
  .readdirSync(src, { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts"))
  .map((file) => {
    const name = file.split(path.sep).join("/");
    const text = fs.readFileSync(path.join(src, file), "utf8");
    return { name, text, tree: ts.createSourceFile(name, text, ts.ScriptTarget.Latest, true) };
  });

t.test("a folder imports only from rows below its own, never sideways and never back", async (t) => {
  for (const file of files) {
    const from = topOf(file.name);
    const row = rowOf(from);
    t.ok(row >= 0, `${file.name}: ${from} stands in the table of rows`);
    for (const target of importsOf(file)) {
      const to = topOf(target);
      if (to === from) continue;
      t.ok(rowOf(to) < row, `${file.name} may not import ${target}`);
      if (from === "cli") t.ok(CLI_MAY_IMPORT.includes(to), `${file.name} may not import ${target}`);
    }
  }
});

t.test("no file imports, even through others, a file that imports it; what is loaded on demand aside", async (t) => {
  const imports = new Map(files.map((file) => [file.name, importsOf(file, "static")]));
  const done = new Set<string>();
  const circles: string[] = [];
  const follow = (name: string, trail: readonly string[]): void => {
    const begun = trail.indexOf(name);
    if (begun >= 0) circles.push([...trail.slice(begun), name].join(" => "));
    if (begun >= 0 || done.has(name)) return;
    for (const target of imports.get(name) ?? []) follow(target, [...trail, name]);
    done.add(name);
  };
  for (const { name } of files) follow(name, []);
  t.same(circles, []);
});

t.test("yargs lives in cli/, and nothing but cli/ prints", async (t) => {
  for (const file of files.filter(({ name }) => topOf(name) !== "cli")) {
    t.notMatch(file.text, /from "yargs"/, `${file.name} does not import yargs`);
    t.notMatch(file.text, /console\.|process\.std(?:out|err)/, `${file.name} does not print`);
  }
});

t.test("no any, no default export, no bare Error, no loose ends", async (t) => {
  for (const { name, text, tree } of files) {
    t.notMatch(text, /\b(?:TODO|FIXME|XXX|HACK)\b/, `${name} has no loose ends`);
    visit(tree, (node) => {
      if (node.kind === ts.SyntaxKind.AnyKeyword) t.fail(`${name}:${lineOf(tree, node)} uses any`);
      if (ts.isExportAssignment(node)) t.fail(`${name}:${lineOf(tree, node)} has a default export`);
      if (ts.isNewExpression(node) && node.expression.getText(tree) === "Error") {
        t.fail(`${name}:${lineOf(tree, node)} throws a bare Error`);
      }
    });
  }
});

t.test(
  "a file opens with its job, and holds one idea: at most 300 lines, functions at most 60, tables aside",
  async (t) => {
    for (const { name, text, tree } of files) {
      t.match(text, /^\/\/ \S/, `${name} opens with a comment`);
      const isTable = name.includes("/families/");
      const lines = text.split("\n").length;
      if (!isTable) t.ok(lines <= MAX_FILE_LINES, `${name} has ${lines} lines`);
      visit(tree, (node) => {
        if (!ts.isFunctionLike(node) || !("body" in node) || node.body === undefined) return;
        const length = lineOf(tree, node, node.end) - lineOf(tree, node) + 1;
        if (length > MAX_FUNCTION_LINES) t.fail(`${name}:${lineOf(tree, node)} is a function of ${length} lines`);
      });
    }
  },
);

t.test("a file's name says what it holds: no util, helper, common or manager", async (t) => {
  for (const { name } of files) t.notMatch(name, /util|helper|common|manager/i, name);
});

function topOf(name: string): string {
  return name.split("/")[0] ?? name;
}

function rowOf(top: string): number {
  return ROWS.findIndex((row) => row.includes(top));
}

/** Relative imports, dynamic ones included, as paths below src/. */
function importsOf(file: SourceFile, kind: "static" | "any" = "any"): string[] {
  const found: string[] = [];
  visit(file.tree, (node) => {
    const isStatic = ts.isImportDeclaration(node) || ts.isExportDeclaration(node);
    const isDynamic =
      kind === "any" && ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword;
    const target = isStatic ? node.moduleSpecifier : isDynamic ? node.arguments[0] : undefined;
    if (target === undefined || !ts.isStringLiteral(target) || !target.text.startsWith(".")) return;
    found.push(path.posix.join(path.posix.dirname(file.name), target.text));
  });
  return found;
}

function visit(node: ts.Node, each: (node: ts.Node) => void): void {
  each(node);
  ts.forEachChild(node, (child) => visit(child, each));
}

function lineOf(tree: ts.SourceFile, node: ts.Node, position: number = node.getStart(tree)): number {
  return tree.getLineAndCharacterOfPosition(position).line + 1;
}
