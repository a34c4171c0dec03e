// Which source block stands where in the expanded checkpoint. Two kinds of index that must never be mixed.

declare const brand: unique symbol;

/** Index of a block in the source checkpoint. */
export type SourceIndex = number & { readonly [brand]: "source" };
/** Index of a block in the expanded checkpoint. */
export type ExpandedIndex = number & { readonly [brand]: "expanded" };

export const sourceIndex = (index: number): SourceIndex => index as SourceIndex;
export const expandedIndex = (index: number): ExpandedIndex => index as ExpandedIndex;

/** What stands at one expanded index. */
export interface LayoutBlock {
  readonly kind: "original" | "copy";
  readonly from: SourceIndex;
}

/** Entry `at` describes expanded block `at`. Originals appear once each, in source order. */
export type Layout = readonly LayoutBlock[];

/** Expanded index of each original, by source index. */
export function originalPositions(layout: Layout): readonly ExpandedIndex[] {
  const positions: ExpandedIndex[] = [];
  layout.forEach((block, at) => {
    if (block.kind === "original") positions[block.from] = expandedIndex(at);
  });
  return positions;
}

/** Number of copies in a layout. */
export function copyCount(layout: Layout): number {
  return layout.filter((block) => block.kind === "copy").length;
}
