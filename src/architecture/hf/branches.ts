// The branches of one block as its modules say, down to the bytes that close them. Never closes a factor in a type it cannot do exactly.
import { ExpandError } from "../../errors.ts";
import type { TensorRef } from "../../tensor/reference.ts";
import type { Branch, Factor, FixedTensor } from "../architecture.ts";
import type { BranchRule, FactorRule, Module } from "./family.ts";
import { patternOf } from "./pattern.ts";
import { matches } from "./template.ts";
import type { Weights } from "./weights.ts";

export interface BranchContext {
  readonly weights: Weights;
  /** Full name of a tensor of this block. */
  readonly nameOf: (suffix: string) => string;
  readonly tensor: (name: string) => TensorRef | undefined;
}

export function branchesOf(modules: readonly Module[], context: BranchContext): readonly Branch[] {
  return modules.flatMap((module) => module.branches ?? []).map((rule) => branchOf(rule, context));
}

export function fixedOf(modules: readonly Module[], context: BranchContext): readonly FixedTensor[] {
  return modules
    .flatMap((module) => module.fixed ?? [])
    .flatMap((rule) => tensorsAt(rule.tensors, rule.value, context));
}

function branchOf(rule: BranchRule, context: BranchContext): Branch {
  const factors = rule.factors.flatMap((factor) => factorOf(factor, context));
  const preferred = factors.findIndex((factor) => factor.kind === rule.preferred);
  const fallback = Math.max(preferred, 0);
  return { name: rule.name, factors, preferred: fallback, why: rule.why };
}

function factorOf(rule: FactorRule, context: BranchContext): readonly Factor[] {
  const tensors = tensorsAt(rule.tensors, rule.value, context);
  return tensors.length === 0 ? [] : [{ kind: rule.kind, tensors }];
}

function tensorsAt(templates: string, value: number, context: BranchContext): readonly FixedTensor[] {
  const found: FixedTensor[] = [];
  for (const [weight, stored] of context.weights.stored) {
    if (!matches(templates, weight)) continue;
    if (stored.zero !== undefined && value === 0) found.push(...stored.zero);
    else found.push(fixed(context.nameOf(stored.names[0] ?? weight), value, context));
  }
  return found;
}

function fixed(name: string, value: number, context: BranchContext): FixedTensor {
  const dtype = context.tensor(name)?.dtype ?? "BOOL";
  const pattern = patternOf(value, dtype);
  if (pattern === undefined) {
    throw new ExpandError("unsupported", `is ${dtype}; expected a floating-point type that can hold ${value} exactly`, {
      at: name,
      fix: "Expand the checkpoint that this one was converted from.",
    });
  }
  return { tensor: name, pattern, value };
}
