// Peak memory and CPU per GB of an upload, against the Hub double in another process. Prints one line per way of sending.
//   npm run build && npx tsx test/bench/hub-publish.ts [MEGABYTES=2000] [FILES=2] [DIST=dist]
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { pattern, startHub } from "../hub/double.ts";

const [megabytes = "2000", count = "2", dist = path.resolve(import.meta.dirname, "../../dist")] = process.argv.slice(2);

/** Runs in plain Node, so that no loader counts. */
const CLIENT = `
const [dist, endpoint, token, list, xet] = process.argv.slice(1);
const { Upload } = await import(dist + "/hub/publish.js");
const { finish } = await import(dist + "/events.js");
const files = JSON.parse(list);
const before = process.resourceUsage();
const start = performance.now();
const settings = { endpoint, token, cache: "/nonexistent", offline: false, xet: xet === "xet" };
const upload = await Upload.open({ target: { repo: "bench/" + xet + Date.now() }, settings });
let events = 0;
await finish(upload.send(files), () => { events++; });
await upload.commit({ message: "bench" });
upload.close();
const after = process.resourceUsage();
const cpu = (after.userCPUTime + after.systemCPUTime - before.userCPUTime - before.systemCPUTime) / 1e6;
console.log(JSON.stringify({ seconds: (performance.now() - start) / 1000, cpu, peak: after.maxRSS / 1000, start: before.maxRSS / 1000, events }));
`;

if (process.argv[2] === "serve") {
  const hub = await startHub({ partBytes: Number(process.argv[3]), xet: process.argv[4] === "xet" });
  process.stdout.write(`${hub.url} ${hub.token}\n`);
} else await main();

async function main(): Promise<void> {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "hub-bench-"));
  try {
    const files = await Promise.all(Array.from({ length: Number(count) }, (_, at) => make(directory, at)));
    const bytes = files.reduce((sum, { size }) => sum + size, 0);
    for (const [way, partBytes, xet] of [
      ["whole objects", 0, "basic"],
      ["in parts of 100 MB", 100_000_000, "basic"],
      ["Xet", 0, "xet"],
    ] as const) {
      // Xet computes in JavaScript; a tenth of the bytes says enough.
      const sent = xet === "xet" ? [await make(directory, 99, Number(megabytes) / 10)] : files;
      const size = xet === "xet" ? bytes / 10 : bytes;
      const said = await measure(directory, sent, partBytes, xet);
      const { seconds, cpu, peak, start, events } = JSON.parse(said) as Readonly<Record<string, number>>;
      console.log(
        `${way}: ${(size / 1e9).toFixed(2)} GB in ${seconds?.toFixed(1)} s, ${((cpu ?? 0) / (size / 1e9)).toFixed(2)} s CPU per GB, peak ${peak?.toFixed(0)} MB (${start?.toFixed(0)} before), ${events} events`,
      );
    }
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

interface BenchFile {
  readonly name: string;
  readonly content: string;
  readonly size: number;
  readonly sha256: string;
}

async function make(directory: string, at: number, mb = Number(megabytes) / Number(count)): Promise<BenchFile> {
  const name = `model-${at}.safetensors`;
  const content = path.join(directory, name);
  const size = Math.round(mb * 1e6);
  const hash = createHash("sha256");
  const handle = await fs.promises.open(content, "w");
  for await (const piece of pattern(size, at + 1).read(0, size)) {
    hash.update(piece);
    await handle.write(piece);
  }
  await handle.close();
  return { name, content, size, sha256: hash.digest("hex") };
}

async function measure(
  directory: string,
  files: readonly BenchFile[],
  partBytes: number,
  xet: string,
): Promise<string> {
  const server = spawn("npx", ["tsx", import.meta.filename, "serve", String(partBytes), xet], {
    stdio: ["ignore", "pipe", "inherit"],
    detached: true,
    // What it keeps goes with the files.
    env: { ...process.env, TMPDIR: directory },
  });
  try {
    const [url = "", token = ""] = (await firstLine(server.stdout)).split(" ");
    const words = ["--input-type=module", "-e", CLIENT, dist, url, token, JSON.stringify(files), xet];
    const client = spawn(process.execPath, words, { stdio: ["ignore", "pipe", "inherit"] });
    return await firstLine(client.stdout);
  } finally {
    // The group: npx, tsx and the double.
    if (server.pid !== undefined) process.kill(-server.pid);
    await new Promise((ended) => server.on("close", ended));
  }
}

function firstLine(stream: NodeJS.ReadableStream): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    stream.on("data", (piece: Buffer) => {
      text += piece.toString();
      if (text.includes("\n")) resolve(text.split("\n")[0] ?? "");
    });
    stream.on("end", () => reject(new Error(`ended without a line: ${text}`)));
  });
}
