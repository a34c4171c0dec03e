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
const PACKED = /\.(?:gz|zst|bz2|xz|zip)$/i;

/** Throws "input" when there is nothing to read, naming what was expected. */
export async function openFiles(where: string, field: string | undefined): Promise<readonly TextFile[]> {
  if (!isDirectory(where)) return [await openFile(where, field)];
  const files = walk(where);
  if (files.length === 0) {
    throw new ExpandError("input", `holds no ${KNOWN} file`, {
      at: where,
      fix: "Name a file, or a directory that holds some.",
    });
  }
  const opened: TextFile[] = [];
  for (const file of files) opened.push(await openFile(file, field));
  return opened;
}

async function openFile(file: string, field: string | undefined): Promise<TextFile> {
  const open = kindOf(file);
  if (open === undefined) {
    const fix = PACKED.test(file) ? "Unpack it first." : `Give a ${KNOWN} file.`;
    throw new ExpandError("input", `is not a ${KNOWN} file`, { at: file, fix });
  }
  return open(fileSource(path.resolve(file), file), field);
}

function kindOf(file: string): Open | undefined {
  const kind = path.extname(file).toLowerCase();
  return Object.hasOwn(KINDS, kind) ? KINDS[kind] : undefined;
}

function isDirectory(where: string): boolean {
  return readable(where, () => fs.statSync(where)).isDirectory();
}

/** Hidden names and other kinds of files are left out. Links to files inside are followed, links to directories never: they may go in circles. */
function walk(root: string): readonly string[] {
  const real = fs.realpathSync(root);
  const files: string[] = [];
  const visit = (directory: string): void => {
    for (const name of readable(directory, () => fs.readdirSync(directory)).sort()) {
      const full = path.join(directory, name);
      if (name.startsWith(".")) continue;
      const stat = readable(full, () => fs.lstatSync(full));
      if (stat.isDirectory()) visit(full);
      else if (stat.isSymbolicLink() ? isTextLink(real, full) : stat.isFile() && kindOf(full) !== undefined)
        files.push(full);
    }
  };
  visit(root);
  return files;
}

/** Whether a link is a file of text inside. A directory inside is visited anyway; what is outside may be anything, and is not left out in silence. */
function isTextLink(root: string, link: string): boolean {
  const target = targetOf(link);
  const isInside = target !== undefined && (target === root || target.startsWith(root + path.sep));
  const isDirectory = target !== undefined && fs.statSync(target).isDirectory();
  const isText = kindOf(link) !== undefined;
  if (!isInside && (isText || isDirectory))
    throw new ExpandError("input", `is a link that leads ${target === undefined ? "nowhere" : `out of ${root}`}`, {
      at: link,
      fix: "Name what it leads to as a corpus of its own, or remove the link.",
    });
  return isText && !isDirectory;
}

/** Undefined for a link to nothing, or in circles. */
function targetOf(link: string): string | undefined {
  try {
    return fs.realpathSync(link);
  } catch {
    return undefined;
  }
}

function readable<Found>(where: string, look: () => Found): Found {
  try {
    return look();
  } catch (error) {
    if (!isSystemError(error)) throw error;
    const reason = error.code === "ENOENT" ? "does not exist" : `cannot be read (${error.code})`;
    throw new ExpandError("input", reason, { at: where, fix: "Name a file or a directory that exists.", cause: error });
  }
}
