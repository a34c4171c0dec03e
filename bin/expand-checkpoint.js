#!/usr/bin/env node
import module from "node:module";

// Compiled code is kept between runs where Node can (22.8 and later): starting takes half the time.
module.enableCompileCache?.();
const { guardStreams, main } = await import("../dist/cli/main.js");
guardStreams(process);
process.exitCode = await main(process.argv.slice(2));
