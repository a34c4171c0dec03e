// Calls onnxruntime-node: loads models, runs them, keeps values that several runs share. Its calls block the thread they run in.
// Never chooses a device by itself, and never falls back to another.
import type { InferenceSession, Tensor } from "onnxruntime-node";
import type { EngineOptions, Reply, Request, SessionSettings } from "./protocol.ts";
import { isValueType, type Value, type ValueData, type ValueInfo, type Values } from "./values.ts";

type Ort = typeof import("onnxruntime-node");

export class Engine {
  readonly #options: EngineOptions;
  readonly #sessions = new Map<number, InferenceSession>();
  readonly #held = new Map<number, Values>();
  #ort: Ort | undefined;

  constructor(options: EngineOptions) {
    this.#options = options;
  }

  /** Never throws: what onnxruntime throws is an answer. */
  async answer(request: Request): Promise<Reply> {
    try {
      return await this.#handle(request);
    } catch (error) {
      return { kind: "failed", message: error instanceof Error ? error.message : String(error) };
    }
  }

  async #handle(request: Request): Promise<Reply> {
    if (request.kind === "start") this.#ort = await load(this.#options.module);
    else if (request.kind === "open") return this.#open(request);
    else if (request.kind === "run") return this.#run(request);
    else if (request.kind === "close") {
      await this.#sessions.get(request.to)?.release();
      this.#sessions.delete(request.to);
    } else if (request.kind === "hold") this.#held.set(request.to, request.values);
    else {
      const values = this.#held.get(request.to) ?? {};
      this.#held.delete(request.to);
      return { kind: "values", values };
    }
    return { kind: "done" };
  }

  async #open({ to, model, settings }: Extract<Request, { kind: "open" }>): Promise<Reply> {
    const options = sessionOptions(this.#options, settings);
    const { InferenceSession } = this.#loaded();
    const session = await (typeof model === "string"
      ? InferenceSession.create(model, options)
      : InferenceSession.create(model, options));
    this.#sessions.set(to, session);
    return { kind: "opened", inputs: infoOf(session.inputMetadata), outputs: infoOf(session.outputMetadata) };
  }

  async #run({ to, feeds, held, wanted }: Extract<Request, { kind: "run" }>): Promise<Reply> {
    const session = this.#sessions.get(to);
    if (session === undefined) return { kind: "failed", message: "the session is closed" };
    const all = Object.assign({}, ...held.map((each) => this.#held.get(each) ?? {}), feeds) as Values;
    const { Tensor } = this.#loaded();
    const tensors = Object.entries(all).map(([name, value]) => [name, tensorOf(Tensor, value)] as const);
    const outputs = await session.run(Object.fromEntries(tensors), wanted ?? session.outputNames);
    return { kind: "values", values: valuesOf(outputs) };
  }

  #loaded(): Ort {
    if (this.#ort === undefined) throw new TypeError("onnxruntime-node was not loaded");
    return this.#ort;
  }
}

/** A CommonJS package: its names are on `default` where Node could not find them. */
async function load(module: string): Promise<Ort> {
  const loaded = (await import(module)) as Ort & { readonly default?: Ort };
  const ort = loaded.default ?? loaded;
  // What goes wrong is thrown; the library would print it as well, where nothing may be printed.
  ort.env.logLevel = "fatal";
  return ort;
}

/** Prepacking would copy every weight into anonymous memory; without it, weights in files stay mapped. */
function sessionOptions(
  { device, deviceId, threads, optimization }: EngineOptions,
  { folder, strict, without, memory = "planned", optimizedPath }: SessionSettings,
): InferenceSession.SessionOptions {
  return {
    executionProviders: [deviceId === undefined ? device : { name: device, deviceId }],
    graphOptimizationLevel: optimization,
    // 4: fatal. Unused initializers are no news to the user, and errors are thrown.
    logSeverityLevel: 4,
    ...(threads === undefined ? {} : { intraOpNumThreads: threads }),
    enableMemPattern: memory === "planned",
    enableCpuMemArena: memory !== "returned",
    ...(optimizedPath === undefined ? {} : { optimizedModelFilePath: optimizedPath }),
    extra: {
      session: {
        disable_prepacking: "1",
        ...(strict === true ? { disable_cpu_ep_fallback: "1" } : {}),
        ...(folder === undefined ? {} : { model_external_initializers_file_folder_path: folder }),
      },
      ...(without === undefined ? {} : { optimization: { disable_specified_optimizers: without.join(";") } }),
    },
  };
}

function infoOf(metadata: readonly InferenceSession.ValueMetadata[]): readonly ValueInfo[] {
  return metadata.map((each) => {
    if (!each.isTensor) return { name: each.name, shape: [] };
    return { name: each.name, shape: [...each.shape], ...(isValueType(each.type) ? { dtype: each.type } : {}) };
  });
}

function tensorOf(tensor: Ort["Tensor"], { dtype, shape, data }: Value): Tensor {
  // The typings name one overload a type; at run time one constructor takes them all.
  const Make = tensor as unknown as new (type: string, data: ValueData, dims: readonly number[]) => Tensor;
  return new Make(dtype, data, shape);
}

function valuesOf(outputs: InferenceSession.OnnxValueMapType): Values {
  const values: Record<string, Value> = {};
  for (const [name, { type, dims, data }] of Object.entries(outputs as Readonly<Record<string, Tensor>>)) {
    if (!isValueType(type)) throw new TypeError(`output ${name} is of type ${type}, which is not read`);
    values[name] = { dtype: type, shape: [...dims], data: data as ValueData };
  }
  return values;
}
