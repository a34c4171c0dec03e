// Runs ONNX models on onnxruntime, off the calling thread, on the device that was asked for and no other. Knows nothing of what they mean.
import { ExpandError, throwIfAborted } from "../errors.ts";
import { type Installation, loaderComplaint, requireInstallation } from "./installation.ts";
import { type Link, openLink } from "./link.ts";
import { PROBE } from "./probe.ts";
import type { Device, Optimization, Reply, Request, SessionSettings } from "./protocol.ts";
import { buffersOf, checkValue, type ValueInfo, type Values } from "./values.ts";

export interface RuntimeOptions {
  readonly device: Device;
  /** Which of several CUDA devices. Default: the first. */
  readonly deviceId?: number;
  /** Threads inside an operator. Default: the number of cores. */
  readonly threads?: number;
  /** How far onnxruntime may rewrite a model before it runs it. Default "all". */
  readonly optimization?: Optimization;
  /** What the user can do when memory runs out, as one imperative sentence. */
  readonly memoryFix?: string;
  /** Stops between two runs; a run that has begun goes on to its end, unheard. */
  readonly signal?: AbortSignal;
  /** File whose view of node_modules counts. Default: this package's. */
  readonly from?: string;
}

/** `folder` is needed for a model given as bytes; without it, external data lies beside the model's file. */
export interface OpenOptions extends SessionSettings {
  /** What to call the model in errors. Default: its path, or "model". */
  readonly name?: string;
}

/** Values that stay in the runtime's thread, to be fed to several runs. */
export interface Held {
  /** Ends the holding and gives the buffers back: the same memory, to be filled again. */
  release(): Promise<Values>;
}

export interface Session {
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  /** Feeds are copied; `held` are not. Without `wanted`, every output. Throws "unsupported" when onnxruntime refuses, "interrupted". */
  run(feeds: Values, wanted?: readonly string[], held?: readonly Held[]): Promise<Values>;
  close(): Promise<void>;
}

export interface Runtime {
  readonly device: Device;
  readonly version: string;
  /** A path, or the bytes of a model. Weights in files are mapped. Throws "unsupported" when onnxruntime refuses the model. */
  open(model: Uint8Array | string, options?: OpenOptions): Promise<Session>;
  /** Moves the values' buffers, whole, to the runtime's thread: no copy is made, and the caller's arrays become empty. */
  hold(values: Values): Promise<Held>;
  close(): Promise<void>;
}

/** Throws "backend" (exit 6), with what to do, when onnxruntime-node is not installed or cannot reach the device. */
export async function openRuntime(options: RuntimeOptions): Promise<Runtime> {
  const { device, deviceId, threads, optimization = "all", signal, from } = options;
  throwIfAborted(signal);
  const installation = requireInstallation(device, from);
  // TF32 rounds f32 products to 10 bits of fraction, which would hide what a comparison looks for. Read once a process.
  if (device === "cuda") process.env.NVIDIA_TF32_OVERRIDE = "0";
  const { memoryFix = "Free memory on the device, or give it less to do at a time." } = options;
  const link = await openLink({
    device,
    optimization,
    module: installation.module,
    ...(threads === undefined ? {} : { threads }),
    ...(deviceId === undefined ? {} : { deviceId }),
  });
  const runtime = new OnnxRuntime(link, device, installation, { signal, memoryFix });
  try {
    await runtime.start();
    return runtime;
  } catch (error) {
    await link.close();
    throw error;
  }
}

class OnnxRuntime implements Runtime {
  readonly device: Device;
  readonly version: string;
  readonly #link: Link;
  readonly #installation: Installation;
  readonly #signal: AbortSignal | undefined;
  readonly #memoryFix: string;
  readonly #numbers = new WeakMap<Held, number>();
  #count = 0;

  constructor(
    link: Link,
    device: Device,
    installation: Installation,
    { signal, memoryFix }: { signal: AbortSignal | undefined; memoryFix: string },
  ) {
    this.#link = link;
    this.device = device;
    this.version = installation.version;
    this.#installation = installation;
    this.#signal = signal;
    this.#memoryFix = memoryFix;
  }

  /** Loads the library, and on CUDA runs one node there, with every way back to the CPU closed. */
  async start(): Promise<void> {
    const at = `onnxruntime-node ${this.version}`;
    const loaded = await this.#link.ask({ kind: "start" });
    if (loaded.kind === "failed") {
      const fix = "Install onnxruntime-node again, or verify the structure only.";
      throw new ExpandError("backend", `cannot be loaded: ${firstLine(loaded.message)}`, { at, fix });
    }
    if (this.device === "cpu") return;
    const to = this.#count++;
    const opened = await this.#link.ask({ kind: "open", to, model: PROBE, settings: { strict: true } });
    const x = { dtype: "float32", shape: [1, 1], data: Float32Array.of(1) } as const;
    const ran = opened.kind === "failed" ? opened : await this.#link.ask({ kind: "run", to, feeds: { x }, held: [] });
    if (ran.kind !== "failed") return void (await this.#link.ask({ kind: "close", to }));
    const reason = loaderComplaint(this.#installation) ?? ran.message;
    throw new ExpandError("backend", `cannot use CUDA: ${firstLine(reason)}`, {
      at,
      fix: "Install CUDA 12 and cuDNN 9 where the loader finds them (LD_LIBRARY_PATH) and an NVIDIA driver, or use --device cpu.",
    });
  }

  async open(model: Uint8Array | string, { name, ...settings }: OpenOptions = {}): Promise<Session> {
    const to = this.#count++;
    const at = name ?? (typeof model === "string" ? model : "model");
    const reply = await this.#ask(at, { kind: "open", to, model, settings });
    if (reply.kind !== "opened") throw unexpected(reply);
    return {
      inputs: reply.inputs,
      outputs: reply.outputs,
      run: (feeds, wanted, held = []) => this.#run(at, to, feeds, wanted, held),
      close: async () => void (await this.#link.ask({ kind: "close", to })),
    };
  }

  async #run(
    at: string,
    to: number,
    feeds: Values,
    wanted: readonly string[] | undefined,
    held: readonly Held[],
  ): Promise<Values> {
    for (const [name, value] of Object.entries(feeds)) checkValue(name, value);
    const reply = await this.#ask(at, {
      kind: "run",
      to,
      feeds,
      held: held.map((each) => this.#numbers.get(each) ?? -1),
      ...(wanted === undefined ? {} : { wanted }),
    });
    if (reply.kind !== "values") throw unexpected(reply);
    return reply.values;
  }

  async hold(values: Values): Promise<Held> {
    for (const [name, value] of Object.entries(values)) checkValue(name, value);
    const to = this.#count++;
    await this.#ask("weights", { kind: "hold", to, values }, buffersOf(values));
    const held: Held = {
      release: async () => {
        const reply = await this.#ask("weights", { kind: "release", to });
        if (reply.kind !== "values") throw unexpected(reply);
        return reply.values;
      },
    };
    this.#numbers.set(held, to);
    return held;
  }

  close(): Promise<void> {
    return this.#link.close();
  }

  /** Rejects as soon as the signal fires. */
  async #ask(at: string, request: Request, transfer: readonly ArrayBuffer[] = []): Promise<Reply> {
    throwIfAborted(this.#signal);
    const reply = await untilAborted(this.#link.ask(request, transfer), this.#signal);
    if (reply.kind !== "failed") return reply;
    if (OUT_OF_MEMORY.test(reply.message)) {
      const message = `onnxruntime ran out of memory on ${this.device}: ${firstLine(reply.message)}`;
      throw new ExpandError("backend", message, { at, fix: this.#memoryFix });
    }
    const fix = "Check the model, or verify the structure only.";
    throw new ExpandError("unsupported", `onnxruntime refuses: ${firstLine(reply.message)}`, { at, fix });
  }
}

/** What the arena (BFCArena), CUDA, cuBLAS, the C++ library and the binding say when memory is gone. */
const OUT_OF_MEMORY =
  /failed to allocate memory|out of memory|CUBLAS_STATUS_ALLOC_FAILED|bad.?alloc|available memory of \d+ is smaller/i;

function untilAborted<Result>(work: Promise<Result>, signal: AbortSignal | undefined): Promise<Result> {
  if (signal === undefined) return work;
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(new ExpandError("interrupted", "interrupted"));
    signal.addEventListener("abort", stop, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}

/** onnxruntime adds stacks and file names of its own sources. */
function firstLine(message: string): string {
  return message.trim().split("\n")[0] ?? message;
}

function unexpected(reply: Reply): ExpandError {
  return new ExpandError("bug", `the runtime's thread answered "${reply.kind}"`);
}
