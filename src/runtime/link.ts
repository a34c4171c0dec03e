// The way to the engine: a thread of its own. Never lets two requests overtake each other.
import { Worker } from "node:worker_threads";
import { ExpandError, isSystemError } from "../errors.ts";
import { Engine } from "./engine.ts";
import type { EngineOptions, Reply, Request } from "./protocol.ts";

export interface Link {
  /** Buffers in `transfer` are gone from the caller. Rejects only with "bug". */
  ask(request: Request, transfer?: readonly ArrayBuffer[]): Promise<Reply>;
  close(): Promise<void>;
}

interface Waiting {
  resolve(reply: Reply): void;
  reject(error: unknown): void;
}

/** Starts the thread. TypeScript sources on Node 20 cannot be loaded into one: they run on the calling thread, built code never does. */
export async function openLink(options: EngineOptions): Promise<Link> {
  // The extension is .ts in the sources and .js once built.
  const entry = new URL(`./worker${import.meta.url.slice(import.meta.url.lastIndexOf("."))}`, import.meta.url);
  // No inherited options: they are the main program's, such as a loader that costs each thread a second.
  const link = new WorkerLink(new Worker(entry, { workerData: options, execArgv: [] }));
  try {
    await link.loaded();
    return link;
  } catch (error) {
    await link.close();
    if (isSystemError(error) && error.code === "ERR_UNKNOWN_FILE_EXTENSION") return new DirectLink(options);
    throw error;
  }
}

class WorkerLink implements Link {
  readonly #worker: Worker;
  readonly #waiting: Waiting[] = [];
  /** Settles when the newest request is answered. */
  #last: Promise<unknown> = Promise.resolve();
  #failure: unknown;

  constructor(worker: Worker) {
    this.#worker = worker;
    worker.on("message", (reply: Reply) => this.#waiting.shift()?.resolve(reply));
    worker.on("error", (error: unknown) => this.#fail(error));
    worker.on("exit", (code) =>
      this.#fail(new ExpandError("bug", `the runtime's thread ended by itself with code ${code}`)),
    );
  }

  /** Resolves once the thread's code is there. */
  async loaded(): Promise<void> {
    await this.ask({ kind: "release", to: -1 });
  }

  ask(request: Request, transfer: readonly ArrayBuffer[] = []): Promise<Reply> {
    const reply = new Promise<Reply>((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure);
      this.#waiting.push({ resolve, reject });
      this.#worker.postMessage(request, [...transfer]);
    });
    this.#last = Promise.allSettled([this.#last, reply]);
    return reply;
  }

  /** Once what was asked is answered: a thread that ends while onnxruntime computes takes the process with it (SIGABRT). */
  async close(): Promise<void> {
    this.#failure ??= new ExpandError("interrupted", "interrupted");
    await this.#last;
    await this.#worker.terminate();
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
    for (const waiting of this.#waiting.splice(0)) waiting.reject(this.#failure);
  }
}

class DirectLink implements Link {
  readonly #engine: Engine;
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: EngineOptions) {
    this.#engine = new Engine(options);
  }

  ask(request: Request, transfer: readonly ArrayBuffer[] = []): Promise<Reply> {
    const message = structuredClone(request, { transfer: [...transfer] });
    const reply = this.#last.then(() => this.#engine.answer(message));
    this.#last = reply;
    return reply;
  }

  async close(): Promise<void> {
    await this.#last;
  }
}
