// The GGUF reader by the path of a file, as most tests have it.
import path from "node:path";
import type { Checkpoint } from "../../src/checkpoint/checkpoint.ts";
import * as gguf from "../../src/formats/gguf/read.ts";
import { localFolder } from "../../src/tensor/folder.ts";

export function openGguf(file: string): Promise<Checkpoint> {
  return gguf.openGguf(localFolder(path.dirname(file)), path.basename(file));
}
