// Speed, CPU per GB and peak memory of reading by ranges, against the Hub double in another process. Prints one line per way of reading.
//   npm run build && npx tsx test/bench/hub-read.ts [MEGABYTES=2000] [DIST=dist]
import { spawn } from "node:child_process";
import path from "node:path";
import { pattern, startHub } from "../hub/double.ts";

const [megabytes = "2000", dist = path.resolve(import.meta.dirname, "../../dist")] = process.argv.slice(2);

/** How a file is read: by so many streams at once, or by so many reads of 4 KiB; "get" is Node's own client, for comparison. */
const WAYS = ["get 1", "stream 1", "stream 4", "read 1000"];

/** Runs in plain Node, so that no loader counts. */
const CLIENT = `
const [dist, endpoint, token, way] = process.argv.slice(1);
const { openRepository } = await import(dist + "/hub/repository.js");
const http = await import("node:http");
const [kind, times] = way.split(" ");
const settings = { endpoint, token, cache: "/nonexistent", offline: false };
const repository = await openRepository({ repo: "bench/model", revision: "main" }, settings);
const source = repository.source("model.gguf");
await source.read(0, 8);
const before = process.resourceUsage();
const start = performance.now();
const received = repository.received;
let bytes = 0;
const take = async (pieces) => { for await (const piece of pieces) bytes += piece.length; };
const get = (url) => new Promise((resolve) => http.get(url, resolve));
if (kind === "read") {
  for (let at = 0; at < Number(times); at++) bytes += (await source.read(at * 65536, 4096)).length;
} else if (kind === "stream") {
  const part = Math.floor(source.size / Number(times));
  await Promise.all(Array.from({ length: Number(times) }, (_, at) => take(source.stream(at * part, part))));
} else {
  const sent = await get(endpoint + "/bench/model/resolve/main/model.gguf");
  sent.resume();
  await take(await get(sent.headers.location));
}
const after = process.resourceUsage();
repository.close();
const cpu = (after.userCPUTime + after.systemCPUTime - before.userCPUTime - before.systemCPUTime) / 1e6;
const over = kind === "get" ? 0 : repository.received - received - bytes;
console.log(JSON.stringify({ bytes, over, seconds: (performance.now() - start) / 1000, cpu, peak: after.maxRSS / 1000, start: before.maxRSS / 1000 }));
`;

if (process.argv[2] === "serve") {
  const hub = await startHub();
  hub.add("bench/model", { "model.gguf": pattern(Number(process.argv[3])), "config.json": "{}" });
  process.stdout.write(`${hub.url} ${hub.token}\n`);
} else {
  for (const way of WAYS) {
    const { bytes = 0, over, seconds = 1, cpu = 0, peak, start } = await measure(way);
    const times = Number(way.split(" ")[1]);
    const each = `${((1000 * seconds) / times).toFixed(2)} ms and ${((1000 * cpu) / times).toFixed(2)} ms CPU each`;
    const rates = `${(bytes / 1e6 / seconds).toFixed(0)} MB/s, ${(cpu / (bytes / 1e9)).toFixed(2)} s CPU per GB`;
    console.log(
      `${way}: ${(bytes / 1e9).toFixed(3)} GB in ${seconds.toFixed(2)} s, ${way.startsWith("read") ? each : rates}, peak ${peak?.toFixed(0)} MB (${start?.toFixed(0)} before), ${over} bytes too many`,
    );
  }
}

async function measure(way: string): Promise<Readonly<Record<string, number>>> {
  const server = spawn("npx", ["tsx", import.meta.filename, "serve", String(Number(megabytes) * 1e6)], {
    stdio: ["ignore", "pipe", "inherit"],
    detached: true,
  });
  try {
    const [url = "", token = ""] = (await firstLine(server.stdout)).split(" ");
    const words = ["--input-type=module", "-e", CLIENT, dist, url, token, way];
    const client = spawn(process.execPath, words, { stdio: ["ignore", "pipe", "inherit"] });
    return JSON.parse(await firstLine(client.stdout)) as Readonly<Record<string, number>>;
  } finally {
    // The group: npx, tsx and the double.
    if (server.pid !== undefined) process.kill(-server.pid);
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
