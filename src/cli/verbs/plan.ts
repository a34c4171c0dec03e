// The words of `plan`.
import fs from "node:fs";
import { ExpandError, isSystemError } from "../../errors.ts";
import { BLOCK_OPTIONS, prepareOptions } from "../block-options.ts";
import { planTable, planText } from "../plan-text.ts";
import { text, type Verb } from "../verb.ts";

export const planVerb: Verb = {
  name: "plan",
  positionals: "<source>",
  summary: "Shows what expand would do: what is copied, zeroed and rewritten, and what it costs. Writes nothing else.",
  options: {
    ...BLOCK_OPTIONS,
    save: { group: "Output:", requiresArg: true, type: "string", describe: "Save the plan as JSON, for expand --plan" },
  },
  examples: [
    ["plan ./Llama-3.2-1B --add 4", "what four copies would cost"],
    ["plan ./Llama-3.2-1B --add 4 --save plan.json", "save it, edit it, then expand --plan plan.json"],
    ["plan ./gemma-2-2b --after 1,3 -v", "every block with its fixed values"],
  ],
  exits: "0 done, 2 usage or plan, 3 source refused",
  run: async (args, context) => {
    const { plan } = await import("../../commands/plan.ts");
    const report = await context.finish(plan(prepareOptions(args, context.signal)));
    const json = `${JSON.stringify(report.plan, null, 2)}\n`;
    const file = text(args, "save");
    if (file !== undefined) save(file, json);
    const table = args.verbose === true ? `\n\n${planTable(report.plan)}` : "";
    context.terminal.report(context.json ? json : `${planText(report.plan)}${table}`);
    return 0;
  },
};

/** "wx": a plan that somebody edited is never overwritten. */
function save(file: string, json: string): void {
  try {
    fs.writeFileSync(file, json, { flag: "wx" });
  } catch (error) {
    if (!isSystemError(error) || error.code !== "EEXIST") throw error;
    throw new ExpandError("output", "exists already", {
      at: file,
      fix: "Name another file for --save, or remove this one.",
    });
  }
}
