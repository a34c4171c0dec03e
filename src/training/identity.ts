// What makes two runs the same run: everything that decides the weights. Says by name what differs.
import { ExpandError } from "../errors.ts";
import type { Recipe } from "./recipe.ts";

/** Values that must be equal for a run to go on, by what the user calls them. */
export type Identity = Readonly<Record<string, string | number>>;

/** Texts may be added and left out; one that stays must stay the same, or what was measured before and after would be of two texts. */
const OPTIONAL = "--eval";

/** `model`, `mask` and `corpus` are digests of what is trained, of which tensors, and on what; `evaluations` those of texts, by name. */
export function identityOf(
  recipe: Recipe,
  digests: { readonly [what in "model" | "mask" | "corpus"]: string },
  evaluations: Readonly<Record<string, string>> = {},
): Identity {
  const { schedule, adam } = recipe;
  return {
    EXPANDED: digests.model,
    "the mask": digests.mask,
    "--corpus": digests.corpus,
    "the number of steps": recipe.steps,
    "--batch": recipe.batch,
    "--accumulate": recipe.accumulate,
    "--context": recipe.context,
    "--seed": recipe.seed,
    "--schedule": schedule.kind,
    "--lr": schedule.peak,
    "--warmup": schedule.warmup,
    "--decay": adam.decay,
    "--beta1": adam.beta1,
    "--beta2": adam.beta2,
    "--epsilon": adam.epsilon,
    "--clip": recipe.clip ?? 0,
    "--dtype": recipe.dtype,
    "--device": recipe.device,
    "--layout": recipe.layout,
    "--checkpointing": String(recipe.checkpointing),
    ...Object.fromEntries(Object.entries(evaluations).map(([name, digest]) => [`${OPTIONAL} ${name}`, digest])),
    ...(Object.keys(evaluations).length === 0 ? {} : { [`${OPTIONAL}-tokens`]: recipe.evaluationTokens }),
  };
}

/** Throws "usage" with every option that is not what it was. */
export function checkIdentity(at: string, earlier: Identity, now: Identity): void {
  const names = [...new Set([...Object.keys(earlier), ...Object.keys(now)])].filter(
    (name) => earlier[name] !== now[name] && !(name.startsWith(OPTIONAL) && !(name in earlier && name in now)),
  );
  if (names.length === 0) return;
  const list = names.map((name) => {
    const [before, after] = [earlier[name] ?? "nothing", now[name] ?? "nothing"];
    const isDigest = /^[0-9a-f]{32,}$/.test(String(before));
    return isDigest ? `${name} is another` : `${name} was ${before} and is ${after}`;
  });
  throw new ExpandError("usage", `holds a run that was started otherwise: ${list.join("; ")}`, {
    at,
    fix: "Give the options of that run to go on with it, or --no-resume to start again.",
  });
}
