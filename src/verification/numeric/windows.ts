// How sliding windows are passed by a model whose masks count tokens, so that positions cannot jump: behind caches that hold as many
// tokens, else by sequences that are longer. Runs nothing.
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { intAttribute } from "../../graph/attributes.ts";
import { nodesIn } from "../../graph/walk.ts";
import type { JsonValue } from "../../json.ts";
import type { Wishes } from "./options.ts";
import { cacheWidth } from "./whole-inputs.ts";

/** Tokens behind a window, so that it cuts something off. */
const BEHIND = 8;
/** Values of a block's attention scores, which grow with the square of the tokens: 2.4 GB. 32 heads pass a window of 4096. */
const MOST_SCORES = 6e8;
/** Values of all logits: 4 GiB. */
const MOST_LOGITS = 2 ** 30;
/** Values of all caches: 2 GiB. */
const MOST_CACHED = 2 ** 29;
/** Where nothing says how many heads there are. */
const USUAL_HEADS = 32;

/** What a token takes. */
export interface Sizes {
  readonly vocabulary: number;
  readonly heads: number;
}

/** Windows, in tokens, that the fused nodes and the settings of an ONNX model name. */
export function windowsOf(checkpoint: Checkpoint): readonly number[] {
  const nodes = nodesOf(checkpoint).map((node) => intAttribute(node, "local_window_size", 0));
  return [...new Set([...nodes, ...documentsOf(checkpoint).flatMap(windowsIn)])].filter((each) => each > 0);
}

/** Attention heads of an ONNX model. */
export function headsOf(checkpoint: Checkpoint): number {
  const nodes = nodesOf(checkpoint).map((node) => intAttribute(node, "num_heads", 0));
  const said = [...nodes, ...documentsOf(checkpoint).flatMap((value) => named(value, HEADS))];
  return said.reduce((most, each) => Math.max(most, each), 0) || USUAL_HEADS;
}

/** More tokens in fewer samples where windows ask for it, and the windows that are beyond what is run. */
export function pastWindows(
  wishes: Wishes,
  windows: readonly number[],
  { vocabulary, heads }: Sizes,
): { readonly wishes: Wishes; readonly beyond: readonly number[] } {
  const fits = (tokens: number): boolean => heads * tokens ** 2 <= MOST_SCORES && vocabulary * tokens <= MOST_LOGITS;
  const within = windows.filter((each) => fits(each + BEHIND));
  const least = Math.max(0, ...within) + BEHIND;
  const enough = wishes.tokenIds !== undefined || within.length === 0 || wishes.tokens >= least;
  const tokens = enough ? wishes.tokens : least;
  const samples = enough ? wishes.samples : Math.max(1, Math.floor((wishes.samples * wishes.tokens) / least));
  return { wishes: { ...wishes, tokens, samples }, beyond: windows.filter((each) => each >= tokens) };
}

/** Tokens that caches hold so that windows are passed, from `least` up, and the windows whose caches would be too large. */
export function pastOf(
  checkpoint: Checkpoint,
  windows: readonly number[],
  least: number,
): { readonly past: number; readonly beyond: readonly number[] } {
  const width = cacheWidth(checkpoint);
  const fits = (window: number): boolean => (window + BEHIND) * width <= MOST_CACHED;
  const past = Math.max(least, ...windows.filter(fits).map((each) => each + BEHIND));
  return { past, beyond: windows.filter((each) => each >= past) };
}

/** What the user is told of windows that nothing was seen of. */
export function beyondText(beyond: readonly number[], tokens: number): string {
  return `${tokens} tokens do not pass a sliding window of ${beyond.join(" or ")}: a shifted pattern of windows would not show; use --tokens ${Math.max(...beyond) + BEHIND}`;
}

const WINDOW = new Set(["sliding_window", "window_size"]);
const HEADS = new Set(["num_attention_heads", "n_head"]);

/** sliding_window of config.json, sliding_window.window_size of genai_config.json; not what is switched off, or as long as the context. */
function windowsIn(value: JsonValue): readonly number[] {
  return named(value, WINDOW, (owner) => {
    const { use_sliding_window: used, max_position_embeddings: context } = owner;
    return used === false ? 0 : typeof context === "number" ? context - 1 : Number.POSITIVE_INFINITY;
  });
}

/** Numbers under one of the keys, wherever they stand, up to what their owner allows. */
function named(
  value: JsonValue,
  keys: ReadonlySet<string>,
  most: (owner: { readonly [key: string]: JsonValue }) => number = () => Number.POSITIVE_INFINITY,
): readonly number[] {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return [];
  const owner = value as { readonly [key: string]: JsonValue };
  return Object.entries(owner).flatMap(([key, each]) => {
    if (!keys.has(key) || typeof each !== "number") return named(each, keys, most);
    return each <= most(owner) ? [each] : [];
  });
}

function nodesOf({ graph }: Checkpoint) {
  return [...nodesIn(graph?.model.graph?.node ?? [])];
}

function documentsOf({ config }: Checkpoint): readonly JsonValue[] {
  return config.dialect === "onnx" ? [...config.documents.values()].map(({ value }) => value) : [];
}
