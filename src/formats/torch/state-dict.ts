// Finds the one dict of tensors in an unpickled value. Never chooses between two.
import { ExpandError } from "../../errors.ts";
import { quote } from "../shards.ts";
import { describe, isTensor, type TorchTensor } from "./objects.ts";
import type { PickleValue } from "./pickle.ts";

/** A container that holds tensors itself. */
interface Place {
  readonly path: readonly string[];
  readonly value: PickleValue;
}

/** A trainer's checkpoint has five or so; keeps a hostile one from taking hours. */
const MAX_DEPTH = 32;

/** Tensors by name, in the dict's order. Throws "unsupported" when there is no such dict, or more than one. */
export function findStateDict(at: string, root: PickleValue): ReadonlyMap<string, TorchTensor> {
  const places = findPlaces(at, root);
  const [place] = places;
  if (place === undefined) refuse(at, `holds no tensor, but ${describe(root)}`);
  if (places.length > 1) {
    const names = places.slice(0, 4).map(({ path }) => (path.length === 0 ? "the top" : quote(path.join("."))));
    const more = places.length > names.length ? ` and ${places.length - names.length} more` : "";
    refuse(
      at,
      `holds tensors in ${places.length} places (${names.join(", ")}${more}): which are the weights is not sure`,
    );
  }
  const { path, value } = place;
  if (!(value instanceof Map)) refuse(at, `holds its tensors in ${describe(value)}${under(path)}, not in a dict`);
  const tensors = new Map<string, TorchTensor>();
  for (const [name, item] of value) {
    if (typeof name !== "string") refuse(at, `names a tensor with ${describe(name)}${under(path)}, not with text`);
    if (isTensor(item)) tensors.set(name, item);
    else if (!isRemark(item)) refuse(at, `holds ${describe(item)} under ${quote(name)} among its tensors`);
  }
  return tensors;
}

/** Words about the weights. A number is not: it could be a scale. */
function isRemark(value: PickleValue): boolean {
  return value === null || typeof value === "string" || typeof value === "boolean";
}

function findPlaces(at: string, root: PickleValue): Place[] {
  const places: Place[] = [];
  const seen = new Set<PickleValue>();
  const queue: Place[] = [{ path: [], value: root }];
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    const { path, value } = next;
    if (isTensor(value)) {
      places.push(next);
      continue;
    }
    if (seen.has(value)) continue;
    seen.add(value);
    if (path.length > MAX_DEPTH) refuse(at, `nests dicts and lists deeper than ${MAX_DEPTH} levels`);
    const items = itemsOf(value);
    if (items.some(([, item]) => isTensor(item))) places.push(next);
    // The last in the queue goes first: reversed, so that places come in the order of the file.
    for (const [key, item] of items.reverse()) {
      if (isContainer(item) && !seen.has(item)) queue.push({ path: [...path, key], value: item });
    }
  }
  return places;
}

function isContainer(value: PickleValue): boolean {
  return value instanceof Map || Array.isArray(value) || value instanceof Set;
}

function itemsOf(value: PickleValue): [key: string, item: PickleValue][] {
  if (value instanceof Map) return [...value].map(([key, item]) => [keyText(key), item]);
  if (Array.isArray(value)) return value.map((item, at) => [String(at), item]);
  return value instanceof Set ? [...value].map((item, at) => [String(at), item]) : [];
}

function keyText(key: PickleValue): string {
  return typeof key === "object" ? describe(key) : String(key).slice(0, 100);
}

function under(path: readonly string[]): string {
  return path.length === 0 ? "" : ` under ${quote(path.join("."))}`;
}

function refuse(at: string, message: string): never {
  throw new ExpandError("unsupported", message, {
    at,
    fix: "Save plain tensors alone: torch.save(model.state_dict(), PATH).",
  });
}
