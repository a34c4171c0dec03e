// The words of `doctor`.
import type { DoctorOptions } from "../../commands/doctor.ts";
import type { Terminal } from "../terminal.ts";
import { optional, type Verb } from "../verb.ts";

const COLORS = { ok: "green", note: "yellow", broken: "red" } as const;

export const doctorVerb: Verb = {
  name: "doctor",
  positionals: "[checkpoint]",
  summary: "Checks the environment, or a checkpoint: files, names, per-block settings, and the manifest's hashes.",
  options: {},
  examples: [
    ["doctor", "Node, disk, optional packages, token"],
    ["doctor ./expanded", "is this checkpoint whole?"],
    ["doctor ./Llama-3.2-1B --json", "for scripts"],
  ],
  exits: "0 healthy, 3 something is broken",
  run: async (args, context) => {
    const { doctor } = await import("../../commands/doctor.ts");
    const report = await context.finish(
      doctor({ signal: context.signal, ...optional<DoctorOptions>(args, { checkpoint: "checkpoint" }) }),
    );
    const lines = report.checks.flatMap((check) => [
      `${label(context.terminal, check.status)} ${check.name}: ${check.detail}`,
      ...(check.fix === undefined ? [] : [`       fix: ${check.fix}`]),
    ]);
    context.terminal.report(context.json ? JSON.stringify(report) : lines.join("\n"));
    return report.healthy ? 0 : 3;
  },
};

function label(terminal: Terminal, status: keyof typeof COLORS): string {
  return terminal.paint(COLORS[status], status.padEnd(6));
}
