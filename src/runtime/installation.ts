// What of onnxruntime is on this machine: the package, its binding, its CUDA files. Loads none of it.
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { ExpandError, isSystemError } from "../errors.ts";
import type { Device } from "./protocol.ts";

const PACKAGE = "onnxruntime-node";
/** Not in the npm package, which may not hold so much: its install script fetches them (0.3 GB) from NuGet. */
const CUDA_FILES = ["libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so"] as const;
const CUDA_PLATFORM = "linux-x64";

export interface Installation {
  readonly version: string;
  /** File URL of the module. */
  readonly module: string;
  /** The folder of the native binding for this machine. */
  readonly binding: string;
  /** False when the package has no binding for this machine. */
  readonly hasBinding: boolean;
  /** False: CUDA exists for Linux on x64 only. */
  readonly canUseCuda: boolean;
  /** CUDA files that are not beside the binding. */
  readonly missing: readonly string[];
  /** Fetches them. */
  readonly fetch: string;
}

/** Undefined when the package is not installed. `from` is the file that would import it. */
export function findInstallation(from: string = import.meta.url): Installation | undefined {
  const require = createRequire(from);
  let manifest: string;
  try {
    manifest = require.resolve(`${PACKAGE}/package.json`);
  } catch (error) {
    if (isSystemError(error) && error.code === "MODULE_NOT_FOUND") return undefined;
    throw error;
  }
  const directory = path.dirname(manifest);
  const { version = "unknown" } = JSON.parse(fs.readFileSync(manifest, "utf8")) as { version?: string };
  const binding = path.join(directory, "bin", "napi-v6", process.platform, process.arch);
  return {
    version,
    module: pathToFileURL(require.resolve(PACKAGE)).href,
    binding,
    hasBinding: fs.existsSync(path.join(binding, "onnxruntime_binding.node")),
    canUseCuda: `${process.platform}-${process.arch}` === CUDA_PLATFORM,
    missing: CUDA_FILES.filter((file) => !fs.existsSync(path.join(binding, file))),
    // The script itself, not `npm rebuild`: it runs whatever .npmrc says of scripts, and its flag overrides "skip" defaults.
    fetch: `node ${path.join(directory, "script", "install.js")} --onnxruntime-node-install=cuda12`,
  };
}

/** Throws "backend" when the device cannot be there; that it can does not mean that it is. */
export function requireInstallation(device: Device, from?: string): Installation {
  const found = findInstallation(from);
  if (found === undefined) {
    throw new ExpandError("backend", "the package onnxruntime-node is not installed; models cannot be run without it", {
      fix: "Run npm install onnxruntime-node --ignore-scripts beside expand-checkpoint, or verify the structure only.",
    });
  }
  const at = `${PACKAGE} ${found.version}`;
  if (!found.hasBinding) {
    throw new ExpandError("backend", `has no binding for ${process.platform} ${process.arch}`, {
      at,
      fix: "Run on Linux, Windows or macOS (Apple silicon), or verify the structure only.",
    });
  }
  if (device === "cpu") return found;
  if (!found.canUseCuda) {
    const message = `runs CUDA on Linux x64 only; this is ${process.platform} ${process.arch}`;
    throw new ExpandError("backend", message, { at, fix: "Use --device cpu." });
  }
  if (found.missing.length === 0) return found;
  throw new ExpandError(
    "backend",
    `${found.missing.join(" and ")} ${found.missing.length === 1 ? "is" : "are"} missing`,
    {
      at: found.binding,
      fix: `Run ${found.fetch} where the network is open, or use --device cpu.`,
    },
  );
}

/** Why the system's loader refuses a CUDA file: it names the library that is missing (cuDNN, cuBLAS). Undefined when it takes it. */
export function loaderComplaint({ binding }: Installation): string | undefined {
  for (const file of CUDA_FILES) {
    try {
      process.dlopen({ exports: {} }, path.join(binding, file));
    } catch (error) {
      // The file loads; it is only no Node module.
      if (error instanceof Error && !error.message.includes("did not self-register")) return error.message;
    }
  }
  return undefined;
}
