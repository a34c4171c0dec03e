// Enough tokens to pass the sliding windows of a model that is run whole: its masks count tokens, so positions cannot jump.
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { intAttribute } from "../../graph/attributes.ts";
import { nodesIn } from "../../graph/walk.ts";
import type { JsonValue } from "../../json.ts";
import type { Wishes } from "./options.ts";

/** Tokens of one sequence that are run at most to pass a window: memory and time grow with their square. */
const MOST_TOKENS = 1024;
/** Tokens behind a window, so that it cuts something off. */
const BEHIND = 8;

/** Windows, in tokens, that the fused nodes and the settings of an ONNX model name. */
export function windowsOf({ graph, config }: Checkpoint): readonly number[] {
  const nodes = [...nodesIn(graph?.model.graph?.node ?? [])].map((node) => intAttribute(node, "local_window_size", 0));
  const documents = config.dialect === "onnx" ? [...config.documents.values()] : [];
  return [...nodes, ...documents.flatMap(({ value }) => named(value))].filter((each) => each > 0);
}

/** More tokens in fewer samples where windows ask for it, and the windows that are beyond what is run. */
export function pastWindows(
  wishes: Wishes,
  windows: readonly number[],
): { readonly wishes: Wishes; readonly beyond: readonly number[] } {
  const within = windows.filter((each) => each + BEHIND <= MOST_TOKENS);
  const least = Math.max(0, ...within) + BEHIND;
  const enough = wishes.tokenIds !== undefined || within.length === 0 || wishes.tokens >= least;
  const tokens = enough ? wishes.tokens : least;
  const samples = enough ? wishes.samples : Math.max(1, Math.floor((wishes.samples * wishes.tokens) / least));
  return { wishes: { ...wishes, tokens, samples }, beyond: [...new Set(windows)].filter((each) => each >= tokens) };
}

/** What the user is told of windows that nothing was seen of. */
export function beyondText(beyond: readonly number[], tokens: number): string {
  return `${tokens} tokens do not pass a sliding window of ${beyond.join(" or ")}: a shifted pattern of windows would not show; use --tokens ${Math.max(...beyond) + BEHIND}`;
}

/** sliding_window of config.json, sliding_window.window_size of genai_config.json, wherever they stand. */
function named(value: JsonValue): readonly number[] {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return [];
  return Object.entries(value).flatMap(([key, each]) =>
    (key === "sliding_window" || key === "window_size") && typeof each === "number" ? [each] : named(each),
  );
}
