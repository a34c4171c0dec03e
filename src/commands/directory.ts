// Directories for what a user named. Makes nothing else.
import fs from "node:fs";
import path from "node:path";

/** With all above it, one by one: mkdir's own recursion never ends where nothing can be made, as in /proc. Throws the system's errors. */
export function makeDirectory(directory: string): void {
  if (fs.existsSync(directory)) return;
  makeDirectory(path.dirname(directory));
  fs.mkdirSync(directory);
}
