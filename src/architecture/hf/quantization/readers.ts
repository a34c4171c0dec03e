// How the readers of quantized checkpoints match a list entry against module names. Pure; knows nothing of blocks.

/** Decides for one entry whether it names a module. */
export type Matcher = (module: string) => boolean;

export interface Rule {
  /** Readers in use that differ in how they match; the newest first. */
  readonly readers: readonly ((entry: string) => Matcher)[];
  /** True when naming a module names everything inside it. */
  readonly covers: boolean;
  /** The part of an entry that holds names: "re:" and the like removed. */
  readonly body: RegExp;
  /** An entry that names exactly this module, in the notation of `like`. */
  spell(module: string, like: string): string;
}

/** Python's re, where it says the same in JavaScript. Throws SyntaxError for what would be read differently. */
function pythonRegExp(source: string, anchored: boolean): RegExp {
  if (/\(\?(?!:|=|!|<[=!])|\\[AZzbBuUN]|[*+?}]\+/.test(source)) throw new SyntaxError("not a portable pattern");
  return new RegExp(anchored ? `^(?:${source})` : source);
}

const match = (entry: string): Matcher => {
  const pattern = pythonRegExp(entry, true);
  return (module) => pattern.test(module);
};

/** transformers 5.23 should_convert_module: as a pattern up to a module boundary, or as a suffix. */
const boundary = (entry: string): Matcher => {
  const pattern = new RegExp(`^(?:${pythonRegExp(entry, false).source})(?:(?<=\\.)|(?=\\.|$))`);
  return (module) => pattern.test(module) || module.endsWith(entry);
};

/** transformers 5.0 to 5.22: re.match without a boundary, so "layers.1" also matches "layers.10". */
const start = (entry: string): Matcher => {
  const matcher = match(entry);
  return (module) => matcher(module) || module.endsWith(entry);
};

/** transformers 4 (AWQ, FP8) and vLLM (AWQ): the entry anywhere in the name. */
const anywhere =
  (entry: string): Matcher =>
  (module) =>
    module.includes(entry);

const exact =
  (entry: string): Matcher =>
  (module) =>
    module === entry;

/** Python's fnmatch over the whole name. */
const glob = (entry: string): Matcher => {
  const source = entry.replace(/\[(!?)([^\]]+)\]|[.*+?^${}()|[\]\\]/g, (found, not, set) => {
    if (set !== undefined) return `[${not === "!" ? "^" : ""}${set}]`;
    return found === "*" ? ".*" : found === "?" ? "." : `\\${found}`;
  });
  const pattern = new RegExp(`^(?:${source})$`);
  return (module) => pattern.test(module);
};

const inside =
  (entry: string): Matcher =>
  (module) =>
    module === entry || module.startsWith(`${entry}.`);

/** vllm-project/compressed-tensors match_name: "re:" and re.match, else the exact name. */
const nameOrPattern = (entry: string): Matcher =>
  entry.startsWith("re:") ? match(entry.slice("re:".length)) : exact(entry);

const escapeRegExp = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

export const RULES = {
  /** modules_to_not_convert and its other names. */
  skip: { readers: [boundary, start, anywhere], covers: true, body: /^/, spell: (module) => module },
  compressed: { readers: [nameOrPattern], covers: false, body: /^(?:re:)?/, spell: (module) => module },
  /** ModelOpt: exclude_modules and ignore. */
  glob: { readers: [glob, inside], covers: false, body: /^/, spell: (module) => module },
  exact: { readers: [exact], covers: false, body: /^/, spell: (module) => module },
  /** GPTQModel `dynamic`: "+:" or "-:" and a pattern for re.match; the first that matches wins. */
  dynamic: {
    readers: [(entry) => match(entry.replace(/^[+-]:/, ""))],
    covers: false,
    body: /^(?:[+-]:)?/,
    spell: (module, like) => `${/^[+-]:/.exec(like)?.[0] ?? ""}${escapeRegExp(module)}$`,
  },
} as const satisfies Record<string, Rule>;

/** Whose meaning an entry may not lose, by key of the settings object. `keyed`: an object whose keys are the entries. */
export const LISTS: readonly {
  readonly path: readonly string[];
  readonly rule: keyof typeof RULES;
  readonly keyed?: true;
  /** Only in files of this method. */
  readonly method?: string;
}[] = [
  { path: ["modules_to_not_convert"], rule: "skip" },
  { path: ["llm_int8_skip_modules"], rule: "skip" },
  { path: ["ignored_layers"], rule: "skip" },
  { path: ["modules_to_convert"], rule: "skip" },
  { path: ["ignore"], rule: "compressed", method: "compressed-tensors" },
  { path: ["config_groups", "*", "targets"], rule: "compressed" },
  { path: ["ignore"], rule: "glob", method: "modelopt" },
  { path: ["exclude_modules"], rule: "glob" },
  { path: ["quantized_layers"], rule: "exact", keyed: true },
  { path: ["skip_modules"], rule: "exact" },
  { path: ["dynamic"], rule: "dynamic", keyed: true },
  { path: ["extra_config"], rule: "exact", keyed: true },
];
