// The body of the runtime's thread: one request in, one reply out. Touches no file of its own.
import { parentPort, workerData } from "node:worker_threads";
import { Engine } from "./engine.ts";
import type { EngineOptions, Request } from "./protocol.ts";
import { buffersOf } from "./values.ts";

// Where a thread has Float16Array (from Node 24 on), onnxruntime's library makes its values of it, and its binding cannot read them.
Reflect.deleteProperty(globalThis, "Float16Array");

const engine = new Engine(workerData as EngineOptions);
/** Requests are answered one after the other, in the order they came. */
let last: Promise<void> = Promise.resolve();

parentPort?.on("message", (request: Request) => {
  last = last.then(async () => {
    const reply = await engine.answer(request);
    parentPort?.postMessage(reply, reply.kind === "values" ? buffersOf(reply.values) : []);
  });
});
