// What the Hub double remembers: repositories, their branches and commits, and large objects by their SHA-256.
import { createHash, randomUUID } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { bytes, type Content, file } from "./content.ts";

/** A file of a commit. */
export interface HubFile {
  /** Git's id of the file, or of its pointer. */
  readonly oid: string;
  readonly size: number;
  /** SHA-256 of an object that is kept apart (LFS). */
  readonly sha256?: string;
  readonly content: Content;
}

export type Files = ReadonlyMap<string, HubFile>;

export interface HubCommit {
  readonly oid: string;
  readonly title: string;
  readonly description: string;
  readonly parent: string | undefined;
  readonly files: Files;
}

export interface HubRepository {
  /** Another name after a rename: the old one redirects. */
  name: string;
  private: boolean;
  /** Its files need an accepted licence. */
  gated: boolean;
  /** Branches, tags and refs/pr/N, by the commit they stand at. */
  readonly refs: Map<string, string>;
  readonly commits: Map<string, HubCommit>;
  pullRequests: number;
}

export const sha1 = (text: string): string => createHash("sha1").update(text).digest("hex");
const gitId = (data: Uint8Array): string =>
  createHash("sha1").update(`blob ${data.length}\0`).update(data).digest("hex");

/** The text that stands in the repository for a large object. */
export function pointer(sha256: string, size: number): Buffer {
  return Buffer.from(`version https://git-lfs.github.com/spec/v1\noid sha256:${sha256}\nsize ${size}\n`);
}

export function regularFile(data: Uint8Array): HubFile {
  return { oid: gitId(data), size: data.length, content: bytes(data) };
}

export function largeFile(sha256: string, content: Content): HubFile {
  return { oid: gitId(pointer(sha256, content.size)), size: content.size, sha256, content };
}

export class HubState {
  readonly repositories = new Map<string, HubRepository>();
  readonly #objects = new Map<string, Content>();
  readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  object(sha256: string): Content | undefined {
    return this.#objects.get(sha256);
  }

  addObject(sha256: string, content: Content): void {
    this.#objects.set(sha256, content);
  }

  /** A file of the double's own, moved to its place as an object. */
  adopt(sha256: string, partial: string): void {
    const at = path.join(this.directory, sha256);
    fs.renameSync(partial, at);
    this.addObject(sha256, file(at));
  }

  newPath(): string {
    return path.join(this.directory, `${randomUUID()}.partial`);
  }

  create(kind: string, name: string, isPrivate: boolean): HubRepository {
    const repository: HubRepository = {
      name,
      private: isPrivate,
      gated: false,
      refs: new Map(),
      commits: new Map(),
      pullRequests: 0,
    };
    this.repositories.set(`${kind}/${name}`, repository);
    const attributes = regularFile(Buffer.from("*.safetensors filter=lfs diff=lfs merge=lfs -text\n"));
    this.commit(repository, "main", "initial commit", "", new Map([[".gitattributes", attributes]]));
    return repository;
  }

  /** Puts a commit with exactly these files on a branch, made when it is not there. */
  commit(repository: HubRepository, branch: string, title: string, description: string, files: Files): HubCommit {
    const parent = repository.refs.get(branch);
    const content = [...files].map(([name, { oid }]) => `${name} ${oid}`).join();
    const oid = sha1([repository.name, branch, parent, title, content].join("\n"));
    const commit = { oid, title, description, parent, files };
    repository.commits.set(oid, commit);
    repository.refs.set(branch, oid);
    return commit;
  }

  /** The commit of a branch, tag or commit. */
  at(repository: HubRepository, revision: string): HubCommit | undefined {
    const oid = repository.refs.get(revision === "HEAD" ? "main" : revision) ?? revision;
    return repository.commits.get(oid);
  }
}
