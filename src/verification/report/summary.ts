// What every rendering of a report says in the same words. Pure functions from a report to text; no markup.
import {
  CHECKS,
  type Check,
  FINDINGS,
  type Finding,
  type FoundBlock,
  isNumeric,
  type NumericComparison,
  type Severity,
  TRAINED_CHECKS,
  type TrainedComparison,
  type VerificationReport,
} from "../report.ts";

/** Findings that a text shows of each severity; the JSON report has all. */
export const SHOWN_FINDINGS = 20;

const HEADLINES = {
  identity: "AFTER is an identity expansion of BEFORE",
  "not-identity": "AFTER is not an identity expansion of BEFORE",
  trained: "AFTER is BEFORE with other values in every trainable tensor, and nothing else changed",
  "not-trained": "AFTER is not BEFORE with other values in trainable tensors alone",
  inconclusive: "neither proved nor refuted",
} as const;

/** Of running alone: it says nothing of bytes. */
const NUMERIC_HEADLINES = {
  ...HEADLINES,
  identity: "AFTER computes what BEFORE computes",
  "not-identity": "AFTER does not compute what BEFORE computes",
} as const;

/** "identity: AFTER is an identity expansion of BEFORE". */
export function headline({ mode, verdict, reason, numeric }: VerificationReport): string {
  const said = (mode === "numbers" ? NUMERIC_HEADLINES : HEADLINES)[verdict];
  const tolerance = numeric?.tolerance ?? 0;
  const within = mode === "numbers" && verdict === "identity" && tolerance > 0 ? `, within ${short(tolerance)}` : "";
  return `${verdict}: ${said}${within}${reason === undefined ? "" : `: ${reason}`}`;
}

/** "safetensors, 30 tensors, 1.2 MB". */
export function sizeOf(side: VerificationReport["before"]): string {
  return `${side.format}, ${counted(side.tensors, "tensor")}, ${bytesText(side.bytes)}`;
}

/** "4 blocks and 2 copies". */
export function blockCounts(blocks: readonly FoundBlock[]): string {
  const count = (kind: FoundBlock["kind"]): number => blocks.filter((block) => block.kind === kind).length;
  const parts = [
    counted(count("original"), "original block"),
    count("copy") === 1 ? "1 copy" : `${count("copy")} copies`,
  ];
  if (count("unknown") > 0) parts.push(counted(count("unknown"), "unknown block"));
  return parts.join(", ");
}

/** How many blocks each side has, as far as that was found out. */
export function blocksOf(report: VerificationReport): {
  readonly before: number | undefined;
  readonly after: number | undefined;
} {
  const blocks = report.blocks.length > 0 ? report.blocks : (report.numeric?.blocks ?? []);
  if (blocks.length === 0) return { before: undefined, after: undefined };
  const originals = blocks.filter((block) => block.kind === "original").length;
  const missing = report.findings.filter((each) => each.code === "block-missing").length;
  return { before: originals + missing, after: blocks.length };
}

/** They need a mask. */
const ONLY_TRAINED: ReadonlySet<Check> = new Set(["frozen", "trained"]);

/** The checks that the mode asked for, in the order of reports. */
export function checksOf({ mode }: VerificationReport): readonly Check[] {
  if (mode === "trained") return TRAINED_CHECKS;
  const all = (Object.keys(CHECKS) as readonly Check[]).filter((check) => !ONLY_TRAINED.has(check));
  return mode === "both" ? all : all.filter((check) => isNumeric(check) === (mode === "numbers"));
}

/** True when stored bytes of the two were held against each other. */
export function comparedBytes({ blocks, trained }: VerificationReport): boolean {
  return blocks.length > 0 || trained !== undefined;
}

/** "28 of 28 tensors changed, 1.2 MB"; "119 of 119 tensors byte-identical, 4.1 MB". */
export function trainedTexts({ trainable, frozen }: TrainedComparison): {
  readonly trainable: string;
  readonly frozen: string;
} {
  return {
    trainable: `${trainable.changed} of ${counted(trainable.tensors, "tensor")} changed, ${bytesText(trainable.bytes)}`,
    frozen: `${frozen.identical} of ${counted(frozen.tensors, "tensor")} byte-identical, ${bytesText(frozen.bytes)}`,
  };
}

/** "open": it could be neither passed nor failed. "skipped": it was not made. */
export function resultOf(report: VerificationReport, check: Check): "passed" | "failed" | "open" | "skipped" {
  const made = isNumeric(check) ? report.numeric !== undefined : comparedBytes(report);
  if (!made || report.skipped.includes(check)) return "skipped";
  const found = report.findings.filter((each) => FINDINGS[each.code].check === check).map((each) => each.severity);
  return found.includes("refutes") ? "failed" : found.includes("leaves-open") ? "open" : "passed";
}

/** What was run: "4 x 64 tokens on cpu, block by block, seed 0, tolerance 0". */
export function runText(numeric: NumericComparison): string {
  const { device, method, seed, tolerance } = numeric;
  const how = method === "streamed" ? "block by block" : "the models as they are";
  return `${tokensText(numeric, "x")} on ${device}, ${how}, seed ${seed}, tolerance ${tolerance}`;
}

/** "4 x 64 tokens", "4 x 64 tokens and 7 behind caches of 4104". */
export function tokensText({ samples, tokens, cached }: NumericComparison, times: string): string {
  const behind = cached === undefined ? "" : ` and ${cached.tokens} behind caches of ${cached.past}`;
  return `${samples} ${times} ${tokens} tokens${behind}`;
}

/** "all 8192 equal", or how many differ and by how much. */
export function logitsText({ logits: { differing, total, maxAbs, maxRel } }: NumericComparison): string {
  if (differing === 0) return `all ${total} equal`;
  return `${differing} of ${total} differ, by up to ${short(maxAbs)} (${short(maxRel)} of the largest)`;
}

/** Three significant digits. */
export function short(value: number): string {
  return String(Number(value.toPrecision(3)));
}

export interface BlockRow {
  /** "3" or "0-3", in AFTER. */
  readonly at: string;
  readonly what: string;
  /** "attention projection, mlp norm-gain"; empty for originals. */
  readonly closed: string;
}

/** One row for each copy and for each run of originals. */
export function blockRows(blocks: readonly FoundBlock[]): readonly BlockRow[] {
  const rows: BlockRow[] = [];
  for (let at = 0; at < blocks.length; ) {
    const block = blocks[at];
    const length = block?.kind === "original" ? runLength(blocks, at) : 1;
    const from = block?.from ?? 0;
    const what =
      block?.kind === "original"
        ? `original ${span(from, length)}`
        : block?.kind === "copy"
          ? `copy of ${from}`
          : "unknown";
    const closed = (block?.closed ?? []).map((each) => `${each.branch} ${each.factor}`).join(", ");
    rows.push({ at: span(at, length), what, closed });
    at += length;
  }
  return rows;
}

/** Originals that follow each other in BEFORE too. */
function runLength(blocks: readonly FoundBlock[], start: number): number {
  const first = blocks[start]?.from ?? 0;
  let length = 1;
  while (blocks[start + length]?.kind === "original" && blocks[start + length]?.from === first + length) length++;
  return length;
}

function span(start: number, length: number): string {
  return length === 1 ? `${start}` : `${start}-${start + length - 1}`;
}

/** Worst first, at most SHOWN_FINDINGS of each severity; and how many were left out. */
export function shownFindings(findings: readonly Finding[]): {
  readonly shown: readonly Finding[];
  readonly rest: number;
} {
  const order: readonly Severity[] = ["refutes", "leaves-open", "warns", "info"];
  const shown = order.flatMap((severity) =>
    findings.filter((each) => each.severity === severity).slice(0, SHOWN_FINDINGS),
  );
  return { shown, rest: findings.length - shown.length };
}

/** "1 tensor", "2 tensors". */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** Decimal units, as file sizes are sold: "1.2 GB". */
export function bytesText(bytes: number): string {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let [value, unit] = [bytes, 0];
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** Names come from files of strangers: no character of theirs may move a cursor or start a line. */
export function visible(text: string): string {
  return text.replace(/\p{Cc}|[\u2028\u2029]/gu, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
