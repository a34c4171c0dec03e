// The settings that some rule of a record covers, by path. What is not here is looked at by the guard.
import type { Condition } from "./axis.ts";
import { flat } from "./kinds.ts";
import type { Model } from "./resolve.ts";
import { CONFIG, type Settings } from "./settings.ts";

/** Paths in config.json; "file:path" for other documents. */
export function coveredPaths(model: Model, settings: Settings): ReadonlySet<string> {
  const paths = new Set<string>();
  for (const stack of [model.stack, ...model.family.stacks]) {
    const fields = [...stack.count, ...(stack.pins ?? [])];
    if (stack.countDefault !== undefined) fields.push(stack.countDefault);
    if (stack.tail !== undefined) fields.push(stack.tail.count);
    for (const axis of stack.axes ?? []) {
      for (const source of axis.sources.flatMap(flat)) {
        if ("field" in source && source.field !== undefined) fields.push(source.field);
        fields.push(...conditionField(source.when));
      }
      if (axis.explicit !== undefined) fields.push(axis.explicit);
    }
    const rules = stack.fields ?? [];
    fields.push(...rules.filter((rule) => rule.document === undefined).map((rule) => rule.field));
    for (const field of fields) {
      for (const scope of new Set([...settings.scopes, ...stack.scopes])) {
        paths.add(scope === "" ? field : `${scope}.${field}`);
      }
    }
    for (const rule of rules) if ((rule.document ?? CONFIG) !== CONFIG) paths.add(`${rule.document}:${rule.field}`);
  }
  return paths;
}

const conditionField = (condition: Condition | undefined): readonly string[] =>
  condition === undefined ? [] : [condition.field];
