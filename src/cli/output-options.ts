// How files are written, in the words of every verb that writes a checkpoint.
import type { Options } from "yargs";

const group = "Output:";

export const WRITE_OPTIONS: Readonly<Record<string, Options>> = {
  force: { group, type: "boolean", default: false, describe: "Replace files of the same names in OUT" },
  direct: {
    group,
    type: "boolean",
    describe: "Write past the page cache [default: large files on Linux] (--no-direct)",
  },
  sparse: { group, type: "boolean", default: true, describe: "Leave zeros as holes (--no-sparse writes them)" },
  hash: { group, type: "boolean", default: true, describe: "SHA-256 of every file in the manifest (--no-hash)" },
  resume: { group, type: "boolean", default: true, describe: "Go on where a killed run stopped (--no-resume)" },
};
