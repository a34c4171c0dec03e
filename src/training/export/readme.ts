// The README of an exported directory: what to install, what to run, how to see that only the copies changed.
import type { Job } from "./job.ts";

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

export function readme({ trainer, install, command, job, hosts, result = "out", notes = [] }: ReadmeParts): string {
  const length = "steps" in job.length ? `${job.length.steps} steps` : `${job.length.epochs} epochs`;
  return [
    `# The copies of ${job.model}, trained by ${trainer}`,
    "",
    "Everything but the copies stays frozen.",
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
    `The result is in \`${result}\`. See that every frozen tensor is the same, byte for byte, and every other one changed:`,
    "",
    `    expand-checkpoint verify ${job.model} ${result} --mode trained`,
    "",
  ].join("\n");
}
