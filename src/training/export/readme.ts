// The README of an exported directory: what to install, what to run, how to see that only the copies changed.
import path from "node:path";
import { type Job, shellWord } from "./job.ts";

export interface ReadmeParts {
  readonly trainer: string;
  /** Package on PyPI. */
  readonly install: string;
  readonly command: string;
  readonly job: Job;
  /** How several GPUs and machines are used. */
  readonly hosts: readonly string[];
  /** Where the trainer leaves the model. Default "out". */
  readonly result?: string;
  /** What else has to be known. */
  readonly notes?: readonly string[];
}

/** Of trainers that keep no f32 of what they train. */
export function sixteenBits({ dtype }: Job): readonly string[] {
  if (dtype === "f32") return [];
  return [
    "",
    `The copies are trained as they are stored, in ${dtype}: steps that are small beside a weight are lost. Export with \`--dtype f32\` where the model is stored so, or for accelerate, which trains them in f32.`,
  ];
}

export function readme({ trainer, install, command, job, hosts, result = "out", notes = [] }: ReadmeParts): string {
  const length = "steps" in job.length ? `${job.length.steps} steps` : `${job.length.epochs} epochs`;
  const model = shellWord(job.model);
  const settings = path.isAbsolute(job.model)
    ? `cp ${shellWord(path.join(job.model, "config.json"))} ${result}/`
    : `hf download ${model} config.json --local-dir ${result}`;
  return [
    `# The copies of a model, trained by ${trainer}`,
    "",
    "Everything but the copies stays frozen. The model:",
    "",
    `    ${job.model}`,
    "",
    `    pip install ${install}`,
    `    ${command}`,
    "",
    `${length} of ${job.batch} x ${job.accumulate} sequences of ${job.context} tokens a device, AdamW, learning rate ${job.rate}.`,
    "With several devices one step sees as many times more sequences: divide the accumulation by their number to keep it.",
    "",
    ...hosts,
    ...(notes.length === 0 ? [] : ["", ...notes]),
    "",
    `The result is in \`${result}\`. Trainers write settings of their own beside it, such as the padding token: put back the model's. Then see that`,
    "every frozen tensor is the same, byte for byte, and every other one changed:",
    "",
    `    ${settings}`,
    `    expand-checkpoint verify ${model} ${result} --mode trained`,
    "",
  ].join("\n");
}
