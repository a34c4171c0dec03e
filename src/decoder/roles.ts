// Weights of a part of a spec by the path that leads to them ("attention.qkv.q.weight"), and the part's form without them. Knows no part.
import { createHash } from "node:crypto";
import type { Weight } from "./spec.ts";

/** Every weight once, under the first path that leads to it. */
export function weightsIn(part: object, path: readonly string[] = []): Map<string, Weight> {
  const found = new Map<string, Weight>();
  const seen = new Set<Weight>();
  const visit = (value: unknown, at: readonly string[]): void => {
    if (isWeight(value)) {
      if (seen.has(value)) return;
      seen.add(value);
      found.set(at.join("."), value);
    } else if (value !== null && typeof value === "object") {
      for (const [key, inner] of Object.entries(value)) visit(inner, [...at, key]);
    }
  };
  visit(part, path);
  return found;
}

/** Equal for parts that compute the same from weights of the same shapes. */
export function formOf(part: object): string {
  const text = JSON.stringify(part, (_, value) => (isWeight(value) ? value.tensor.shape : value));
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}

function isWeight(value: unknown): value is Weight {
  return value !== null && typeof value === "object" && "tensor" in value && "name" in value;
}
