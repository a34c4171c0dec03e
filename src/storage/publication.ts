// The order of steps that makes a file appear under its final name only when the disk has all of it: written aside, synced, journalled,
// renamed. Never leaves an unfinished file where a reader would look.
import fs from "node:fs";
import path from "node:path";
import { outputFailure } from "./failure.ts";
import type { FilePlan, WrittenFile } from "./file-plan.ts";
import { Journal, type JournalLine, partialDirectory, readJournal } from "./journal.ts";

export class Publication {
  readonly #directory: string;
  readonly #partial: string;
  readonly #key: string;
  readonly #journal: Journal;
  /** True when the directory was not there before. */
  readonly #made: boolean;
  /** Tells this run's unfinished files from those of a run that is started on the same output meanwhile. */
  readonly #run = `${process.pid.toString(36)}-${Date.now().toString(36)}`;
  #count = 0;
  #ended = false;

  private constructor(directory: string, partial: string, key: string, journal: Journal, made: boolean) {
    this.#directory = directory;
    this.#partial = partial;
    this.#key = key;
    this.#journal = journal;
    this.#made = made;
  }

  /** Makes the directory, keeps the lines of what an earlier run finished, and drops everything that one left unfinished. */
  static async open(
    directory: string,
    files: readonly FilePlan[],
    key: string,
    finished: Iterable<JournalLine>,
  ): Promise<Publication> {
    const names = files.map((file) => file.name);
    const partial = partialDirectory(directory, names);
    try {
      const made = !fs.existsSync(directory);
      fs.mkdirSync(partial, { recursive: true });
      const journal = await Journal.create(partial, finished);
      const publication = new Publication(directory, partial, key, journal, made);
      publication.#removeUnfinished("");
      return publication;
    } catch (error) {
      throw outputFailure(error, directory);
    }
  }

  /** Where the next file is to be written before it is published. */
  nextPath(): string {
    return path.join(this.#partial, `${this.#run}-${this.#count++}`);
  }

  /** Gives a complete, synced file its final name. A run that goes on from here will know it as its own. */
  async publish(file: WrittenFile, from: string): Promise<void> {
    const { name, size, sha256 } = file;
    const target = path.join(this.#directory, name);
    try {
      await this.#makeParents(path.dirname(target));
      const { mtimeMs } = fs.statSync(from);
      // Before the rename: a kill in between leaves a line that no file bears out, and never a file that no line explains.
      await this.#journal.add({ key: this.#key, name, size, mtimeMs, ...(sha256 !== undefined && { sha256 }) });
      fs.renameSync(from, target);
      await syncDirectory(path.dirname(target));
    } catch (error) {
      throw outputFailure(error, name);
    }
  }

  /** After the last file: nothing but the output remains. */
  async complete(): Promise<void> {
    try {
      await this.#journal.close();
      // The journal goes last: it is what marks the directory as ours.
      this.#removeUnfinished("");
      fs.rmSync(this.#partial, { recursive: true, force: true });
      this.#ended = true;
      await syncDirectory(this.#directory);
    } catch (error) {
      throw outputFailure(error, this.#directory);
    }
  }

  /** After a failure: finished files and the journal stay, if there are any; everything unfinished goes. Nothing after `complete`. */
  async abandon(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    try {
      await this.#journal.close();
      this.#removeUnfinished(this.#run);
      if (readJournal(this.#partial, this.#directory, this.#key).size > 0) return;
      fs.rmSync(this.#partial, { recursive: true, force: true });
      if (this.#made) fs.rmdirSync(this.#directory);
    } catch {
      // What failed first is what the user must hear about; the next run clears up.
    }
  }

  #removeUnfinished(run: string): void {
    for (const entry of fs.readdirSync(this.#partial)) {
      if (!entry.startsWith("journal.") && entry.startsWith(run)) {
        fs.rmSync(path.join(this.#partial, entry), { recursive: true, force: true });
      }
    }
  }

  async #makeParents(directory: string): Promise<void> {
    if (fs.existsSync(directory)) return;
    await this.#makeParents(path.dirname(directory));
    fs.mkdirSync(directory);
    await syncDirectory(path.dirname(directory));
  }
}

/** Makes renames in a directory last. Windows cannot, and some network file systems refuse; both are as safe as they get without. */
export async function syncDirectory(directory: string): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await fs.promises.open(directory, "r");
  try {
    await handle.sync();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EINVAL") throw error;
  } finally {
    await handle.close();
  }
}
