// What `doctor` says of onnxruntime: whether models can be run here, on what, and what is missing. Opens no model but a probe.
import { ExpandError } from "../errors.ts";
import { findInstallation } from "../runtime/installation.ts";
import type { Device } from "../runtime/protocol.ts";
import { openRuntime } from "../runtime/runtime.ts";

export interface DoctorCheck {
  readonly name: string;
  readonly status: "ok" | "note" | "broken";
  readonly detail: string;
  /** What to do, for "broken" and some notes. */
  readonly fix?: string;
}

/** `from` is the file whose view of node_modules counts. Default: this package's. */
export async function runtimeChecks(from?: string): Promise<readonly DoctorCheck[]> {
  const found = findInstallation(from);
  const cpu = await tryDevice("cpu", from);
  const name = "onnxruntime";
  if (cpu !== undefined) {
    const rest = "expansion and --mode structure do not need it";
    return [
      { name, status: "note", detail: `${cpu.message}; ${rest}`, ...(cpu.fix === undefined ? {} : { fix: cpu.fix }) },
    ];
  }
  const here = { name, status: "ok", detail: `onnxruntime-node ${found?.version}, runs on the CPU` } as const;
  if (found?.canUseCuda !== true)
    return [here, { name: "cuda", status: "note", detail: "not to be had on this system" }];
  const cuda = await tryDevice("cuda", from);
  if (cuda === undefined) {
    return [here, { name: "cuda", status: "ok", detail: "its libraries are there, and a model ran on the device" }];
  }
  const fix = cuda.fix?.replace(/,? or use --device cpu\.$/, ".");
  return [here, { name: "cuda", status: "note", detail: cuda.message, ...(fix === undefined ? {} : { fix }) }];
}

/** Why nothing runs there; undefined when something did. */
async function tryDevice(device: Device, from: string | undefined): Promise<ExpandError | undefined> {
  try {
    const runtime = await openRuntime({ device, ...(from === undefined ? {} : { from }) });
    await runtime.close();
    return undefined;
  } catch (error) {
    if (error instanceof ExpandError && error.tag === "backend") return error;
    throw error;
  }
}
