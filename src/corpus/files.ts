// The files that a corpus source names: one file, or a directory of them, sorted and recursive. Never leaves the directory by a link.
import fs from "node:fs";
import path from "node:path";
import { ExpandError, isSystemError } from "../errors.ts";
import { type ByteSource, fileSource } from "../tensor/source.ts";
import type { TextFile } from "./document.ts";
import { openJsonLines } from "./jsonl.ts";
import { openText } from "./text.ts";

type Open = (source: ByteSource, field: string | undefined) => Promise<TextFile>;

const KINDS: Readonly<Record<string, Open>> = {
  ".txt": async (source) => openText(source),
  ".jsonl": openJsonLines,
  ".parquet": async (source, field) => (await import("./parquet.ts")).openParquet(source, field),
};
const KNOWN = ".txt, .jsonl or .parquet";

/** Throws "input" when there is nothing to read, naming what was expected. */
export async function openFiles(where: string, field: string | undefined): Promise<readonly TextFile[]> {
  if (!isDirectory(where)) return [await openFile(where, field, true)];
  const { files, outside } = walk(where);
  if (files.length === 0) {
    const links = outside === 0 ? "" : `; ${outside} links that lead out of it are not followed`;
    throw new ExpandError("input", `holds no ${KNOWN} file${links}`, {
      at: where,
      fix: "Name a file, or a directory that holds some.",
    });
  }
  const opened: TextFile[] = [];
  for (const file of files) opened.push(await openFile(file, field, false));
  return opened;
}

async function openFile(file: string, field: string | undefined, isNamed: boolean): Promise<TextFile> {
  const kind = path.extname(file);
  const open = Object.hasOwn(KINDS, kind) ? KINDS[kind] : undefined;
  if (open === undefined)
    throw new ExpandError("input", `is not a ${KNOWN} file`, { at: file, fix: `Give a ${KNOWN} file.` });
  if (isNamed && kind === ".txt" && field !== undefined)
    throw new ExpandError("usage", `has no fields, but ${JSON.stringify(field)} was asked for`, {
      at: file,
      fix: "Leave the field out.",
    });
  return open(fileSource(path.resolve(file), file), field);
}

function isDirectory(where: string): boolean {
  try {
    return fs.statSync(where).isDirectory();
  } catch (error) {
    if (!isSystemError(error)) throw error;
    const reason = error.code === "ENOENT" ? "does not exist" : `cannot be read (${error.code})`;
    throw new ExpandError("input", reason, { at: where, fix: "Name a file or a directory that exists.", cause: error });
  }
}

/** Hidden names and other kinds of files are left out. Links to files inside are followed, links to directories never: they may go in circles. */
function walk(root: string): { readonly files: readonly string[]; readonly outside: number } {
  const real = fs.realpathSync(root);
  const files: string[] = [];
  let outside = 0;
  const visit = (directory: string): void => {
    for (const name of fs.readdirSync(directory).sort()) {
      const full = path.join(directory, name);
      if (name.startsWith(".")) continue;
      const stat = fs.lstatSync(full);
      if (stat.isDirectory()) visit(full);
      else if (Object.hasOwn(KINDS, path.extname(name)) && (stat.isFile() || stat.isSymbolicLink())) {
        if (stat.isFile() || isInside(real, full)) files.push(full);
        else outside++;
      }
    }
  };
  visit(root);
  return { files, outside };
}

function isInside(root: string, link: string): boolean {
  try {
    const target = fs.realpathSync(link);
    return target.startsWith(root + path.sep) && fs.statSync(target).isFile();
  } catch {
    // A link to nothing, or in circles.
    return false;
  }
}
