// The files of an expanded checkpoint that are published, and those that stay at home. What was proved goes, with its papers; nothing that
// looks like a secret does.
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { ExpandError } from "../errors.ts";
import type { PublishFile } from "../hub/publish-files.ts";
import type { Expanded } from "./expanded.ts";
import { isLookedInto, refuseSecretName, refuseSecretText } from "./secrets.ts";

export const CARD = "README.md";

export interface PushFiles {
  readonly files: readonly PublishFile[];
  /** Names in the directory that are not published. */
  readonly leftOut: readonly string[];
}

/** Papers that a user adds to a model: a licence, a report, pictures of a card. */
const PAPERS = /^(?:LICEN[CS]E|NOTICE|COPYING|USE_POLICY)(?:\..+)?$|\.(?:md|html|png|jpe?g|svg|gif|webp)$/i;
/** Bytes: files up to this size are held against the manifest before anything is sent, larger ones while they are. */
const SMALL = 16_000_000;

/** All but those that were `sent` before. Throws "output" for secrets, "input" for small files that are not what the manifest says. */
export function pushFiles(expanded: Expanded, card: string, sent: ReadonlySet<string> = new Set()): PushFiles {
  const { directory, entries, file, sidecar } = expanded;
  const summary = expanded.training === undefined ? [] : [sidecar("training.json")];
  const own = new Set([...entries.map(({ name }) => name), ...summary, CARD]);
  const papers =
    file === undefined ? fs.readdirSync(directory).filter((name) => !own.has(name) && isPaper(directory, name)) : [];
  const written = entries.filter(({ name }) => name !== CARD && !sent.has(name));
  const files = [
    ...written.map(({ name, size, sha256 = "" }) => ({ name, content: path.join(directory, name), size, sha256 })),
    ...[sidecar("manifest.json"), ...summary, ...papers].map((name) =>
      inMemory(name, fs.readFileSync(path.join(directory, name))),
    ),
    inMemory(sidecar("verification.json"), Buffer.from(`${JSON.stringify(proofOf(expanded), null, 2)}\n`)),
    inMemory(CARD, Buffer.from(card)),
  ].sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const each of files) check(each);
  const known = new Set(files.map(({ name }) => name.split("/")[0]));
  const stays = (name: string): boolean => file === undefined && !known.has(name);
  return { files, leftOut: fs.readdirSync(directory).filter(stays).sort() };
}

/** The report as it was written, but for paths of this machine, which are nobody's business. */
function proofOf({ report, source }: Expanded): Expanded["report"] {
  // What was trained was the expanded checkpoint, which has no address.
  const isSource = source !== undefined && report.verdict === "identity";
  const before = isSource ? `${source.repo}@${source.commit}` : "BEFORE";
  return {
    ...report,
    before: { ...report.before, location: before },
    after: { ...report.after, location: "AFTER" },
  };
}

function isPaper(directory: string, name: string): boolean {
  return PAPERS.test(name) && !name.startsWith(".") && fs.statSync(path.join(directory, name)).isFile();
}

function inMemory(name: string, content: Uint8Array): PublishFile {
  return { name, content, size: content.length, sha256: sha256(content) };
}

function check({ name, content, size, sha256: expected }: PublishFile): void {
  refuseSecretName(name);
  if (size > SMALL) return;
  const data = typeof content === "string" ? fs.readFileSync(content) : content;
  if (sha256(data) !== expected) {
    throw new ExpandError("input", "has another SHA-256 than the manifest says: it changed after it was proved", {
      at: name,
      fix: "Expand again, or restore the file.",
    });
  }
  if (isLookedInto(name, size)) refuseSecretText(name, data);
}

function sha256(data: Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}
