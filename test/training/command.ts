// The command line in a process of its own, which sends itself a signal as soon as it has said something.
import { main } from "../../src/cli/main.ts";

const [signal = "", after = "", ...words] = process.argv.slice(2);
const err = {
  write: (text: string) => {
    process.stderr.write(text);
    if (text.startsWith(after)) process.kill(process.pid, signal);
  },
};
main(words, { out: process.stdout, err }).then((code) => {
  process.exitCode = code;
});
