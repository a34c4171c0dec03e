// After how many blocks the kinds repeat, for readers that count instead of reading a list. Looks at settings only.

import type { Axis } from "./axis.ts";
import type { StackContext } from "./context.ts";
import { applies, decidingSource, isFormula, kindsBy, kindsOf, leastCommonMultiple, periodOf } from "./kinds.ts";
import { rewriteOf } from "./rewrite.ts";

/** Least common multiple of the periods that really hold; 1 when none does. */
export function stackPeriod(context: StackContext): number {
  return context.axes.map((axis) => axisPeriod(axis, context)).reduce(leastCommonMultiple, 1);
}

/** True when every periodic kind can be written as an explicit list. */
export function isSpellable(context: StackContext): boolean {
  return context.axes.every((axis) => axisPeriod(axis, context) === 1 || spelled(axis, context));
}

function spelled(axis: Axis, context: StackContext): boolean {
  const deciding = decidingSource(axis.sources, context.settings);
  return (
    axis.explicit !== undefined ||
    (deciding !== undefined && rewriteOf(deciding) !== undefined && deciding.from !== "share")
  );
}

function axisPeriod(axis: Axis, context: StackContext): number {
  const kinds = kindsOf(axis, context.settings, context.count);
  const formula = axis.sources.find((source) => isFormula(source) && applies(source, context.settings));
  const deciding = decidingSource(axis.sources, context.settings);
  // A list that every reader reads needs no period.
  if (formula === undefined || (deciding !== formula && axis.ignoredBy === undefined)) return 1;
  const byFormula = kindsBy(formula, context.settings, context.count);
  if (byFormula.some((kind, index) => kind !== kinds[index]) || new Set(kinds).size < 2) return 1;
  return Math.max(1, periodOf(formula, context.settings, context.count));
}
