// Everything that reaches the user's terminal: reports on stdout, the rest on stderr. Never writes cursor codes into a pipe.
import { styleText } from "node:util";
import type { RunEvent, StepEvent } from "../events.ts";

/** Where text goes; tests pass their own. */
export interface Streams {
  readonly out: { write(text: string): unknown };
  readonly err: { write(text: string): unknown; readonly isTTY?: boolean; readonly columns?: number };
}

export interface TerminalOptions {
  readonly quiet: boolean;
  readonly verbose: boolean;
  readonly progress: boolean;
  readonly color: boolean;
}

type Style = Parameters<typeof styleText>[0];

/** Redraws per second of the live line. */
const FRAMES = 10;
/** Milliseconds between two lines of progress in a pipe: a log of hours stays readable. */
const LINE_EVERY = 30_000;

export class Terminal {
  readonly #streams: Streams;
  readonly #options: TerminalOptions;
  #phase = "";
  #started = 0;
  #drawn = 0;
  #live = false;

  constructor(streams: Streams, options: TerminalOptions) {
    this.#streams = streams;
    this.#options = options;
  }

  /** The result of a command. */
  report(text: string): void {
    this.#clear();
    this.#streams.out.write(text.endsWith("\n") ? text : `${text}\n`);
  }

  error(message: string, fix: string | undefined): void {
    this.#clear();
    this.#streams.err.write(`${this.paint("red", "error:")} ${message}\n`);
    if (fix !== undefined) this.#streams.err.write(`${this.paint("cyan", "fix:")} ${fix}\n`);
  }

  warn(text: string): void {
    this.#clear();
    this.#streams.err.write(`${this.paint("yellow", "warning:")} ${text}\n`);
  }

  onEvent = (event: RunEvent): void => {
    if (event.kind === "phase") this.#startPhase(event.name);
    else if (event.kind === "bytes") this.#showBytes(event.done, event.total);
    else if (event.kind === "tokens") this.#showTokens(event.done, event.total);
    else if (event.kind === "step") this.#showStep(event);
    else if (event.kind === "evaluation") this.#showEvaluation(event);
    else if (event.level === "warning") this.warn(event.text);
    else if (this.#options.verbose) this.#line(event.text);
  };

  /** Removes the live line, if there is one. */
  done(): void {
    this.#clear();
  }

  paint(style: Style, text: string): string {
    return this.#options.color ? styleText(style, text, { validateStream: false }) : text;
  }

  #startPhase(name: string): void {
    this.#phase = name;
    this.#started = Date.now();
    this.#drawn = 0;
    if (this.#isLive) this.#draw(name);
    else if (!this.#options.quiet && this.#options.progress) this.#line(name);
  }

  #showBytes(done: number, total: number): void {
    const now = Date.now();
    if (!this.#isLive || now - this.#drawn < 1000 / FRAMES) return;
    this.#drawn = now;
    const seconds = Math.max(0.001, (now - this.#started) / 1000);
    const rate = done / seconds;
    const left = rate > 0 ? Math.ceil((total - done) / rate) : 0;
    const percent = total > 0 ? Math.floor((done / total) * 100) : 100;
    this.#draw(`${this.#phase} ${percent}% of ${formatBytes(total)}, ${formatBytes(rate)}/s, ${left} s left`);
  }

  #showTokens(done: number, total: number): void {
    const elapsed = Date.now() - this.#started;
    if (!this.#isLive && elapsed < LINE_EVERY) return;
    const seconds = Math.max(0.001, elapsed / 1000);
    const left = done > 0 ? (total - done) / (done / seconds) : 0;
    const share = `${Math.floor((100 * done) / Math.max(1, total))}% of ${formatCount(total)} tokens`;
    const rate = `${formatCount(Math.round(done / seconds))} tokens/s`;
    this.#showLine(() => `${this.#phase} ${share}, ${rate}, ${formatDuration(left)} left`);
  }

  #showStep(event: StepEvent): void {
    this.#showLine(() => stepText(event));
  }

  /** On the live line; in a pipe as a line of its own, seldom. */
  #showLine(text: () => string): void {
    const now = Date.now();
    if (this.#isLive) {
      if (now - this.#drawn < 1000 / FRAMES) return;
      this.#drawn = now;
      this.#draw(text());
    } else if (!this.#options.quiet && this.#options.progress && now - this.#drawn >= LINE_EVERY) {
      this.#drawn = now;
      this.#line(text());
    }
  }

  #showEvaluation({ step, name, loss }: Extract<RunEvent, { kind: "evaluation" }>): void {
    if (this.#options.quiet || !this.#options.progress) return;
    this.#line(`step ${step}: ${name} loss ${loss.toFixed(4)}, perplexity ${Number(Math.exp(loss).toPrecision(4))}`);
  }

  get #isLive(): boolean {
    return this.#streams.err.isTTY === true && this.#options.progress && !this.#options.quiet;
  }

  #draw(text: string): void {
    this.#streams.err.write(`\r\u001b[2K${text.slice(0, (this.#streams.err.columns ?? 80) - 1)}`);
    this.#live = true;
  }

  #line(text: string): void {
    this.#clear();
    this.#streams.err.write(`${text}\n`);
  }

  #clear(): void {
    if (this.#live) this.#streams.err.write("\r\u001b[2K");
    this.#live = false;
  }
}

function stepText({ step, of, loss, rate, norm, tokensPerSecond, secondsLeft }: StepEvent): string {
  const speed = `${formatCount(Math.round(tokensPerSecond))} tokens/s`;
  const numbers = `loss ${loss.toFixed(4)}, lr ${rate.toExponential(2)}, gradient norm ${norm.toPrecision(3)}`;
  return `step ${step} of ${of}, ${numbers}, ${speed}, ${formatDuration(secondsLeft)} left`;
}

/** "45 s", "12 min", "3 h 20 min". */
export function formatDuration(seconds: number): string {
  const minutes = Math.round(seconds / 60);
  if (seconds < 100) return `${Math.ceil(seconds)} s`;
  if (minutes < 100) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Decimal units, three significant digits: "3.16 GB". */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let size = bytes;
  let unit = 0;
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000;
    unit++;
  }
  return `${unit === 0 ? Math.round(size) : Number(size.toPrecision(3))} ${units[unit]}`;
}

/** "1 file", "6 files". */
export function formatItems(count: number, item: string): string {
  return `${count} ${item}${count === 1 ? "" : "s"}`;
}

/** "1.62 B", "135 M": parameters as the field counts them. */
export function formatCount(count: number): string {
  for (const [size, unit] of [
    [1e9, "B"],
    [1e6, "M"],
    [1e3, "K"],
  ] as const) {
    if (count >= size) return `${Number((count / size).toPrecision(3))} ${unit}`;
  }
  return String(count);
}

/** Left-aligned columns, two spaces apart; numbers to the right. */
export function formatTable(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => String(row[column] ?? "").length)),
  );
  const line = (cells: readonly (string | number)[]): string =>
    cells
      .map((cell, column) =>
        typeof cell === "number" ? String(cell).padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
      )
      .join("  ")
      .trimEnd();
  return [line(head), ...rows.map(line)].join("\n");
}

/** Runs of equal neighbours in a list of numbers: "4, 9-11". */
export function formatRanges(numbers: readonly number[]): string {
  const parts: string[] = [];
  for (let start = 0; start < numbers.length; ) {
    let end = start;
    while (numbers[end + 1] === (numbers[end] ?? Number.NaN) + 1) end++;
    parts.push(end > start ? `${numbers[start]}-${numbers[end]}` : `${numbers[start]}`);
    start = end + 1;
  }
  return parts.join(", ");
}
