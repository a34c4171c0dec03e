// What must never be published by accident: files and lines that look like keys and tokens. Never repeats what it found.
import path from "node:path";
import { ExpandError } from "../errors.ts";

/** Files that hold keys by their custom. */
const NAMES: readonly RegExp[] = [
  /^\.env(?:\..+)?$/i,
  /\.(?:pem|key|p12|pfx|jks|keystore|kdbx)$/i,
  /^id_(?:rsa|dsa|ecdsa|ed25519)(?:\.pub)?$/,
  /^\.?(?:netrc|npmrc|pypirc|pgpass|git-credentials)$/i,
  /^(?:hf|huggingface|access|api|auth|github|aws)?[_-]?(?:token|credentials?|secrets?)(?:\.(?:txt|json|ya?ml))?$/i,
];

/** Forms of keys that nothing else has. */
const FORMS: readonly (readonly [what: string, form: RegExp])[] = [
  ["a token of Hugging Face", /\bhf_[A-Za-z0-9]{30,}\b/],
  ["a key of AWS", /\b(?:AKIA|ASIA)[0-9A-Z]{16}\b/],
  ["a token of GitHub", /\b(?:gh[opsur]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})\b/],
  ["a token of Slack", /\bxox[abprs]-[A-Za-z0-9-]{20,}\b/],
  ["a private key", /-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----/],
];

/** Bytes: larger files are weights and vocabularies. */
const MOST_TEXT = 16_000_000;

/** Throws "output" for a name that is hidden, or that files with keys have. */
export function refuseSecretName(name: string): void {
  const steps = name.split("/");
  if (NAMES.some((pattern) => pattern.test(path.posix.basename(name)))) {
    throw refusal(name, "looks like a file of keys or tokens");
  }
  if (steps.some((step) => step.startsWith("."))) throw refusal(name, "is a hidden file");
}

/** True for files whose content is looked at. */
export function isLookedInto(name: string, size: number): boolean {
  return size <= MOST_TEXT && !/\.(?:safetensors|bin|gguf|onnx|onnx_data|data|model|png|jpe?g|gif|webp)$/i.test(name);
}

/** Throws "output" for content that holds a key or a token. */
export function refuseSecretText(name: string, data: Uint8Array): void {
  const text = Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("latin1");
  for (const [what, form] of FORMS) {
    const found = form.exec(text);
    if (found === null) continue;
    const line = text.slice(0, found.index).split("\n").length;
    throw refusal(name, `line ${line} holds what looks like ${what}`);
  }
}

function refusal(name: string, message: string): ExpandError {
  return new ExpandError("output", message, {
    at: name,
    fix: "Remove it from the source, expand again, and make a new key if this one was ever shared.",
  });
}
