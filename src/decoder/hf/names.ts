// Settings that go by several names, as transformers' attribute_map and older files have it. Two that disagree are refused.
import type { Settings } from "./settings.ts";

/** The one value that is stored under any of these names; absent when none is. */
function anyOf(settings: Settings, names: readonly string[]): number | undefined {
  const stored = names.filter((name) => settings.has(name));
  const [first, ...others] = stored.map((name) => settings.count(name));
  const [name = "", ...rest] = stored;
  const other = rest[others.findIndex((value) => value !== first)];
  if (other === undefined) return first;
  throw settings.refuse(other, `is ${settings.count(other)}, but ${name} is ${first}`);
}

/** A whole number of at least 1; `fallback` where no name is stored. */
export function countOf(settings: Settings, names: readonly string[], fallback?: number): number {
  return anyOf(settings, names) ?? settings.count(names[0] ?? "", fallback);
}

/** Notes of a training program that no forward pass reads: whatever they say, they count as understood. */
export function skip(settings: Settings, names: readonly string[]): void {
  for (const name of names) settings.value(name);
}
