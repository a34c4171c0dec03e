// The verb `plan`: what `expand` would do, without doing it.
import type { Run } from "../events.ts";
import type { Plan } from "../expansion/plan.ts";
import { type PrepareOptions, prepare } from "./prepare.ts";

export type { Plan } from "../expansion/plan.ts";
export type { PrepareOptions } from "./prepare.ts";

export interface PlanReport {
  readonly plan: Plan;
}

export async function* plan(options: PrepareOptions): Run<PlanReport> {
  const prepared = yield* prepare(options);
  return { plan: prepared.plan };
}
