// The command line in a process of its own, from its source.
import { guardStreams, main } from "../src/cli/main.ts";

guardStreams(process);
process.exitCode = await main(process.argv.slice(2));
