// The records against what was read in source (../shared/facts) and against tiny models that transformers wrote (ZOO_INVENTORY).
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import { FAMILIES } from "../../src/architecture/hf/families/index.ts";
import type { FactorRule, Module } from "../../src/architecture/hf/family.ts";
import { entryOf, knownModelTypes } from "../../src/architecture/hf/registry.ts";
import { matches, templates } from "../../src/architecture/hf/template.ts";
import { understandHf } from "../../src/architecture/hf/understand.ts";
import { ExpandError } from "../../src/errors.ts";
import type { Dtype } from "../../src/tensor/dtype.ts";
import { type Config, checkpointWith } from "./hf-model.ts";

interface Fact {
  readonly model_type: string;
  readonly identity: "exact" | "conditional" | "refuse";
  readonly evidence: "A" | "B" | "C";
  readonly residual_outputs: readonly { readonly tensor: string; readonly optional?: boolean }[];
  readonly alternative_gates: readonly { readonly tensor: string; readonly zero_value: number }[];
  readonly set_tensors: readonly { readonly tensor: string; readonly value: number }[];
  readonly preferred_zero: string;
}

const FACTS = path.resolve(import.meta.dirname, "../../../shared/facts/architectures.json");
const facts: readonly Fact[] = fs.existsSync(FACTS) ? JSON.parse(fs.readFileSync(FACTS, "utf8")).architectures : [];
const noFacts = facts.length > 0 ? false : "../shared/facts/architectures.json is not here";

/** Model types that a label of the facts stands for. */
const typesOf = (fact: Fact): readonly string[] =>
  fact.model_type
    .replace(/\s*\([^)]*\)/g, "")
    .split("/")
    .map((label) => label.trim());

const modulesOf = (type: string): readonly Module[] => {
  const entry = entryOf(type);
  if (entry?.kind !== "family") return [];
  return entry.family.stacks.flatMap((stack) => stack.slots).flatMap((slot) => ("name" in slot ? [slot] : slot));
};
const factorsOf = (type: string): readonly FactorRule[] =>
  modulesOf(type).flatMap((module) => (module.branches ?? []).flatMap((branch) => branch.factors));

/** A name of the facts as one concrete tensor. */
const concrete = (tensor: string): readonly string[] => {
  const name = tensor.replace("{e}", "0").replace(/_(?:blocks|scales)$/, "");
  return name.includes("{last}") ? [name.replace("{last}", "1"), name.replace("{last}", "2")] : [name];
};

/** Where this record knows better than the facts, and why. */
const KNOWN: ReadonlySet<string> = new Set([
  "granitemoe_swa block_sparse_moe.output_linear.weight", // stored under experts.down_proj by transformers 5
]);

t.test(
  "every model type that the facts know from transformers' source is known here, with the same verdict",
  { skip: noFacts },
  async (t) => {
    for (const fact of facts.filter((one) => one.evidence === "A")) {
      for (const type of typesOf(fact)) {
        const entry = entryOf(type);
        t.ok(entry, `${type} is known`);
        t.equal(entry?.kind === "refused", fact.identity === "refuse", `${type} is ${fact.identity}`);
      }
    }
  },
);

t.test(
  "what the facts call an output is an output here, and nothing that writes the stream is missing",
  { skip: noFacts },
  async (t) => {
    for (const fact of facts.filter((one) => one.identity !== "refuse")) {
      for (const type of typesOf(fact)) {
        const claimed = modulesOf(type)
          .map((module) => module.tensors)
          .join(" ");
        const closing = factorsOf(type)
          .map((factor) => factor.tensors)
          .join(" ");
        if (claimed === "") continue;
        for (const output of fact.residual_outputs) {
          const names = concrete(output.tensor);
          const known = names.some((name) => matches(claimed, name));
          if (output.optional !== true && !KNOWN.has(`${type} ${output.tensor}`))
            t.ok(known, `${type}: ${output.tensor} is claimed`);
          // swinv2 closes its branches behind the projection only: LayerNorm(0) is the norm's bias.
          if (known && type !== "swinv2")
            t.ok(
              names.some((name) => matches(closing, name)),
              `${type}: ${output.tensor} is an output`,
            );
        }
      }
    }
  },
);

t.test("gains, gates and fixed tensors have the facts' closing values", { skip: noFacts }, async (t) => {
  for (const fact of facts.filter((one) => one.identity !== "refuse" && one.evidence === "A")) {
    for (const type of typesOf(fact)) {
      const entry = entryOf(type);
      if (entry?.kind !== "family") continue;
      const gates = factorsOf(type).filter((factor) => factor.kind !== "projection");
      for (const gate of fact.alternative_gates) {
        const found = gates.find((factor) => matches(factor.tensors, gate.tensor));
        t.equal(found?.value, gate.zero_value, `${type}: ${gate.tensor} closes at ${gate.zero_value}`);
      }
      const fixed = modulesOf(type).flatMap((module) => module.fixed ?? []);
      for (const { tensor, value } of fact.set_tensors.filter(({ tensor }) => !tensor.includes("["))) {
        t.equal(
          fixed.find((rule) => matches(rule.tensors, tensor))?.value,
          value,
          `${type}: ${tensor} is set to ${value}`,
        );
      }
    }
  }
});

t.test(
  "every factor of a branch is claimed by its own module, and every branch has one to close by default",
  async (t) => {
    for (const family of FAMILIES.families) {
      for (const module of modulesOf((family.types ?? [family.name])[0] ?? "")) {
        const own = `${module.tensors} ${module.buffers ?? ""}`;
        const rules = [...(module.branches ?? []).flatMap((branch) => branch.factors), ...(module.fixed ?? [])];
        for (const { name } of rules.flatMap((rule) => templates(rule.tensors))) {
          t.ok(matches(own, name.replace("{e}", "0")), `${family.name}: ${module.name} claims ${name}`);
        }
        for (const branch of module.branches ?? []) {
          t.ok(
            branch.factors.some((factor) => factor.kind === branch.preferred),
            `${family.name}: ${branch.name} can close its ${branch.preferred}`,
          );
        }
      }
    }
  },
);

t.test(
  "every axis can decide, names modules that its slots have, and may write only a field that it reads",
  async (t) => {
    for (const stack of FAMILIES.families.flatMap((family) =>
      family.stacks.map((one) => ({ ...one, family: family.name })),
    )) {
      const names = stack.slots.flatMap((slot) => ("name" in slot ? [slot.name] : slot.map((module) => module.name)));
      for (const axis of stack.axes ?? []) {
        for (const module of Object.values(axis.modules ?? {})) {
          if (["mamba", "attention", "dense", "moe"].includes(module)) continue;
          t.ok(names.includes(module), `${stack.family}: ${axis.name} names ${module}`);
        }
        const read = JSON.stringify(axis.sources);
        if (axis.explicit !== undefined)
          t.ok(read.includes(`"field":"${axis.explicit}"`), `${stack.family}: ${axis.explicit} is read`);
      }
    }
  },
);

t.test("at least 160 model types are known, and each by one record", async (t) => {
  const types = knownModelTypes();
  t.ok(types.length >= 160, `${types.length} model types`);
  t.equal(new Set(types).size, types.length);
});

interface ZooModel {
  readonly config: Config;
  readonly tensors: Readonly<Record<string, readonly [Dtype, readonly number[]]>>;
}
const inventory = process.env.ZOO_INVENTORY ?? "";
const noZoo = inventory === "" ? "ZOO_INVENTORY names no inventory of tiny models" : false;

t.test(
  "every tiny model that transformers writes is claimed whole, or refused on purpose",
  { skip: noZoo },
  async (t) => {
    const zoo: Readonly<Record<string, ZooModel>> = JSON.parse(fs.readFileSync(inventory, "utf8"));
    for (const [name, { config, tensors }] of Object.entries(zoo)) {
      try {
        const found = understandHf(checkpointWith({ "config.json": config }, new Map(Object.entries(tensors))));
        const closable = found.blocks.filter((block) => block.branches.length > 0 || block.kind === "hybrid");
        t.equal(closable.length, found.blocks.length, `${name} has branches in every block`);
      } catch (error) {
        if (!(error instanceof ExpandError)) throw error;
        t.match(
          error.message,
          name === "kimi_k25" ? /no tensor name starts with/ : /cannot be expanded|holds a slice/,
          `${name}: ${error.message}`,
        );
      }
    }
  },
);
