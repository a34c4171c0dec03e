// stub
import type { ConfigEdit } from "../../architecture.ts";
import type { Layout } from "../../layout.ts";
import type { QuantizationSettings } from "./settings.ts";
export function skipListEdits(
  settings: readonly QuantizationSettings[],
  _tensors: Iterable<string>,
  _layout: Layout,
  _blockPrefixes: readonly string[],
): readonly ConfigEdit[] {
  if (settings.length === 0) return [];
  return [];
}
