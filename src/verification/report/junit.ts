// A report as JUnit XML: one test case for each check, so that CI systems show what failed. Never emits a character XML forbids.
import { CHECKS, type Check, FINDINGS, type Finding, isNumeric, type VerificationReport } from "../report.ts";
import { checksOf, comparedBytes, headline, resultOf } from "./summary.ts";

type Outcome = "passed" | "failure" | "error" | "skipped";

/** Ends with a line break. */
export function junitText(report: VerificationReport): string {
  const cases = checksOf(report).map((check) => ({ check, ...judge(report, check) }));
  const count = (outcome: Outcome): number => cases.filter((each) => each.outcome === outcome).length;
  // When nothing could be compared, that itself is the error.
  const lacking = report.mode !== "numbers" && !comparedBytes(report) ? "structure" : "numbers";
  const ground =
    report.verdict === "inconclusive" &&
    (lacking === "structure" || (isNumericMode(report.mode) && report.numeric === undefined));
  const totals = `tests="${cases.length + (ground ? 1 : 0)}" failures="${count("failure")}" errors="${count("error") + (ground ? 1 : 0)}" skipped="${count("skipped")}" time="${report.seconds.toFixed(3)}"`;
  const lines = ['<?xml version="1.0" encoding="UTF-8"?>', `<testsuites name="expand-checkpoint verify" ${totals}>`];
  lines.push(`  <testsuite name="${escaped(report.after.location)}" ${totals}>`);
  if (ground) {
    lines.push(`    <testcase classname="${lacking}" name="BEFORE and AFTER can be compared">`);
    lines.push(`      <error type="inconclusive" message="${escaped(headline(report))}"/>`, "    </testcase>");
  }
  for (const { check, outcome, findings } of cases) lines.push(...testCase(check, outcome, findings));
  lines.push("  </testsuite>", "</testsuites>");
  return `${lines.join("\n")}\n`;
}

function isNumericMode(mode: VerificationReport["mode"]): boolean {
  return mode === "numbers" || mode === "both";
}

const OUTCOMES = { passed: "passed", failed: "failure", open: "error", skipped: "skipped" } as const;

function judge(report: VerificationReport, check: Check): { outcome: Outcome; findings: readonly Finding[] } {
  const findings = report.findings.filter((each) => FINDINGS[each.code].check === check);
  return { outcome: OUTCOMES[resultOf(report, check)], findings };
}

function testCase(check: Check, outcome: Outcome, findings: readonly Finding[]): readonly string[] {
  const open = `    <testcase classname="${isNumeric(check) ? "numbers" : "structure"}" name="${escaped(CHECKS[check])}"`;
  const grave = findings.filter((each) => each.severity === "refutes" || each.severity === "leaves-open");
  const others = findings.filter((each) => !grave.includes(each));
  const inside: string[] = [];
  if (outcome === "skipped") inside.push("      <skipped/>");
  const first = grave[0];
  if (first !== undefined && (outcome === "failure" || outcome === "error")) {
    inside.push(`      <${outcome} type="${first.code}" message="${escaped(`${first.at}: ${first.message}`)}">`);
    inside.push(...grave.map((each) => escaped(line(each))), `      </${outcome}>`);
  }
  if (others.length > 0)
    inside.push("      <system-out>", ...others.map((each) => escaped(line(each))), "      </system-out>");
  return inside.length === 0 ? [`${open}/>`] : [`${open}>`, ...inside, "    </testcase>"];
}

function line(each: Finding): string {
  return `${each.code}: ${each.at}: ${each.message}. ${each.fix}`;
}

/** For attribute values and text. Control characters and lone surrogates have no spelling in XML 1.0. */
function escaped(text: string): string {
  return text
    .replace(/\p{Cs}|[\ufffe\uffff]|(?![\t\n\r])\p{Cc}/gu, "\ufffd")
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replace(/[\n\r\t]/g, (char) => `&#${char.charCodeAt(0)};`);
}
