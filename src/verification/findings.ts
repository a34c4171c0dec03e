// What a verification looks at, and what it can find: every check and every kind of finding, as data. Decides no verdict.

/** "leaves-open" makes a verdict inconclusive unless something refutes; "warns" and "info" do not change it. */
export type Severity = "refutes" | "leaves-open" | "warns" | "info";

/** What was checked, in the order of reports. Each is one test case in JUnit. */
export const CHECKS = {
  originals: "every original block is there, in order, byte for byte",
  tensors: "no tensor is missing, added, or changed in type or shape",
  copies: "every copy equals its source block, but for what closes it",
  closed: "every branch of every copy is closed",
  alive: "no branch of a copy is closed twice",
  settings: "the settings are those of BEFORE, adapted to the layout",
  assets: "the tokenizer and the other files are the same",
  finite: "every activation is finite",
  states: "every original block computes what it did, and every copy gives back its input",
  logits: "the logits are the same on the same tokens",
  frozen: "every frozen tensor is the same, byte for byte",
  trained: "training changed every trainable tensor, and left every value finite",
} as const;
export type Check = keyof typeof CHECKS;

/** Made by running the models; all others read stored bytes. */
const NUMERIC_CHECKS: ReadonlySet<Check> = new Set(["finite", "states", "logits"]);

export function isNumeric(check: Check): boolean {
  return NUMERIC_CHECKS.has(check);
}

/** What a comparison of a model with itself, trained, looks at. */
export const TRAINED_CHECKS: readonly Check[] = ["frozen", "trained", "tensors", "settings", "assets"];

interface Rule {
  readonly check: Check;
  readonly severity: Severity;
  readonly fix: string;
}

/** Every kind of finding. `fix` is what to do about it, unless the finding knows better. */
export const FINDINGS = {
  "original-differs": {
    check: "originals",
    severity: "refutes",
    fix: "Write AFTER again; tensors of BEFORE are copied byte for byte.",
  },
  "block-missing": { check: "originals", severity: "refutes", fix: "Write AFTER again with every block of BEFORE." },
  "graph-differs": {
    check: "originals",
    severity: "refutes",
    fix: "Write AFTER again; without its copies, its graph is BEFORE's.",
  },
  "block-order": { check: "originals", severity: "refutes", fix: "Put the original blocks back into their order." },
  "block-unknown": { check: "copies", severity: "refutes", fix: "Remove the block, or insert a closed copy instead." },
  "tensor-missing": { check: "tensors", severity: "refutes", fix: "Write AFTER again; a tensor was lost on the way." },
  "tensor-added": {
    check: "tensors",
    severity: "refutes",
    fix: "Remove the tensor from AFTER; BEFORE has none like it.",
  },
  "dtype-changed": { check: "tensors", severity: "refutes", fix: "Write AFTER again without a cast." },
  "shape-changed": { check: "tensors", severity: "refutes", fix: "Write AFTER again; shapes never change." },
  "copy-differs": {
    check: "copies",
    severity: "refutes",
    fix: "Give the copy the bytes of its source block; only what closes it may differ.",
  },
  "copy-not-neutral": {
    check: "closed",
    severity: "refutes",
    fix: "Set the tensor to the value named here in the copy, and nowhere else.",
  },
  "copy-not-closed": {
    check: "closed",
    severity: "refutes",
    fix: "Close the branch: set these tensors of the copy to the value named here.",
  },
  "copy-dead": {
    check: "alive",
    severity: "refutes",
    fix: "Close one of the factors only, and give the other the bytes of its source block.",
  },
  "negative-zero": { check: "closed", severity: "info", fix: "Nothing: -0 closes a branch as 0 does." },
  "setting-stale": {
    check: "settings",
    severity: "refutes",
    fix: "Set it to the expected value; the number or the order of blocks changed.",
  },
  "interface-differs": {
    check: "settings",
    severity: "refutes",
    fix: "Number the inputs and outputs of caches by block, and change no others.",
  },
  "setting-changed": {
    check: "settings",
    severity: "refutes",
    fix: "Restore the value of BEFORE.",
  },
  "settings-missing": {
    check: "settings",
    severity: "leaves-open",
    fix: "Put the settings beside the weights of AFTER.",
  },
  "placement-unsafe": { check: "settings", severity: "refutes", fix: "Expand BEFORE again with another placement." },
  "reader-differs": { check: "settings", severity: "warns", fix: "Use a reader that follows the settings." },
  "label-changed": { check: "settings", severity: "info", fix: "Nothing: it changes no computation." },
  "asset-missing": { check: "assets", severity: "warns", fix: "Copy the file from BEFORE." },
  "asset-changed": {
    check: "assets",
    severity: "warns",
    fix: "Copy the file from BEFORE, unless the change is meant.",
  },
  "not-finite": {
    check: "finite",
    severity: "refutes",
    fix: "Look for NaN, infinite or too large weights in this block.",
  },
  "state-differs": {
    check: "states",
    severity: "refutes",
    fix: "Compare the weights and the settings of this block with BEFORE's; --mode structure names them.",
  },
  "copy-not-exact": {
    check: "states",
    severity: "refutes",
    fix: "Close every branch of the copy; --mode structure names the tensors.",
  },
  "blocks-hidden": {
    check: "states",
    severity: "leaves-open",
    fix: "Expand BEFORE again: blocks are found there, and must be in what was made of it.",
  },
  "frozen-changed": {
    check: "frozen",
    severity: "refutes",
    fix: "Train again with this mask; a frozen tensor keeps its bytes.",
  },
  "nothing-trained": {
    check: "trained",
    severity: "refutes",
    fix: "Train it, or name another checkpoint: every trainable tensor holds the bytes that it had.",
  },
  "tensor-unchanged": {
    check: "trained",
    severity: "leaves-open",
    fix: "Train for longer (no token may have reached it, or its steps were below what its type tells apart), or name a mask that says it is frozen.",
  },
  "weight-not-finite": {
    check: "trained",
    severity: "refutes",
    fix: "Go back to an earlier state and lower the learning rate.",
  },
  "graph-changed": {
    check: "settings",
    severity: "refutes",
    fix: "Write AFTER again; training changes values of weights, and nothing of the graph.",
  },
  "logits-differ": {
    check: "logits",
    severity: "refutes",
    fix: "Mend the first block that differs; if none does, the final norm or the head.",
  },
} as const satisfies Record<string, Rule>;
export type FindingCode = keyof typeof FINDINGS;

export interface Finding {
  readonly code: FindingCode;
  readonly severity: Severity;
  /** What it is about: a tensor, a block or a branch of AFTER, a setting, a file. */
  readonly at: string;
  /** What was expected and what was found. */
  readonly message: string;
  /** One imperative sentence. */
  readonly fix: string;
  /** Index of the block in AFTER. */
  readonly block?: number;
  /** Every tensor that is at fault, by its name in AFTER (in BEFORE when AFTER lost it). */
  readonly tensors?: readonly string[];
}

type FindingDetail = Partial<Pick<Finding, "severity" | "fix" | "block" | "tensors">>;

/** A finding with the severity and the fix of its code, unless `detail` has others. */
export function finding(code: FindingCode, at: string, message: string, detail: FindingDetail = {}): Finding {
  const { severity, fix } = FINDINGS[code];
  return { code, severity, at, message, fix, ...detail };
}

/** The first `limit` words of a list, and how many more there are. */
export function listed(words: readonly string[], limit = 3): string {
  const rest = words.length - limit;
  return words.slice(0, limit).join(", ") + (rest > 0 ? ` and ${rest} more` : "");
}
