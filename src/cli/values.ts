// Turns words of the command line into values, strictly. Never lets a typo become NaN or 0.
import { ExpandError } from "../errors.ts";

/** A whole number from `least` up, in plain decimal digits. */
export function wholeNumber(option: string, least: number): (text: unknown) => number | undefined {
  return (text) => {
    if (text === undefined) return undefined;
    const number = /^\d{1,15}$/.test(String(text)) ? Number(text) : Number.NaN;
    if (number >= least) return number;
    throw new ExpandError("usage", `--${option} takes one whole number from ${least} up, not ${shown(text)}`);
  };
}

/** A number from 0 up, in decimal digits or with an exponent: "0", "0.001", "1e-4". */
export function decimal(option: string): (text: unknown) => number | undefined {
  return (text) => {
    if (text === undefined) return undefined;
    const number = /^\d{1,15}(?:\.\d{1,15})?(?:e[-+]?\d{1,3})?$/i.test(String(text)) ? Number(text) : Number.NaN;
    if (Number.isFinite(number)) return number;
    throw new ExpandError("usage", `--${option} takes one number from 0 up, such as 0 or 1e-4, not ${shown(text)}`);
  };
}

/** Whole numbers separated by commas: "3,7,11". A number given twice counts twice. */
export function numberList(option: string, what = "block numbers"): (text: unknown) => readonly number[] | undefined {
  return (text) => {
    if (text === undefined) return undefined;
    const parts = String(text).split(",");
    if (parts.every((part) => /^\d{1,9}$/.test(part))) return parts.map(Number);
    throw new ExpandError("usage", `--${option} takes ${what} separated by commas, such as 3,7,11, not ${shown(text)}`);
  };
}

/** "cpu", "cuda", or one GPU of several: "cuda:1". */
export function deviceName(word: unknown): string | undefined {
  if (word === undefined) return undefined;
  if (/^(?:cpu|cuda(?::\d{1,3})?)$/.test(String(word))) return String(word);
  throw new ExpandError("usage", `--device takes cpu, cuda, or one GPU of several such as cuda:1, not ${shown(word)}`);
}

const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
};

/** Bytes: a bare number, or with a unit (5GB = 5,000,000,000; 5GiB = 5,368,709,120). */
export function byteSize(option: string): (text: unknown) => number | undefined {
  return (text) => {
    if (text === undefined) return undefined;
    const [, digits, unit] = /^(\d{1,15}(?:\.\d{1,6})?)\s*([a-z]*)$/i.exec(String(text)) ?? [];
    const factor = UNITS[(unit ?? "?").toUpperCase()];
    const size = digits === undefined || factor === undefined ? Number.NaN : Math.round(Number(digits) * factor);
    if (size >= 1 && Number.isSafeInteger(size)) return size;
    throw new ExpandError("usage", `--${option} takes a size such as 5GB, 500MB or 5GiB, not ${shown(text)}`);
  };
}

/** Names out of a closed set, separated by commas. */
export function nameList<Name extends string>(
  option: string,
  names: readonly Name[],
): (text: unknown) => readonly Name[] | undefined {
  return (text) => {
    if (text === undefined) return undefined;
    return String(text)
      .split(",")
      .map((word) => {
        const name = names.find((candidate) => candidate === word);
        if (name !== undefined) return name;
        throw new ExpandError("usage", `--${option} takes ${names.join(", ")}, not ${shown(word)}`);
      });
  };
}

function shown(value: unknown): string {
  return Array.isArray(value) ? `${value.length} values` : JSON.stringify(String(value));
}
