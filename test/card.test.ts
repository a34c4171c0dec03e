// The model card: its whole text, and what it does to a card that was there before.
import t from "tap";
import { type CardFacts, modelCard } from "../src/card/card.ts";
import { frontValue, splitCard, withTags, withValue } from "../src/card/front-matter.ts";
import type { ExpandError } from "../src/errors.ts";
import type { Plan } from "../src/expansion/plan.ts";
import { layoutOf, reportOf } from "./card/facts.ts";

const FACTS: CardFacts = {
  repo: "alice/tiny-expanded",
  version: "1.2.3",
  plan: layoutOf(),
  mask: {
    blocks: [1, 3],
    counts: { trainable: { tensors: 18, parameters: 3904 }, frozen: { tensors: 39, parameters: 8848 } },
  },
  report: reportOf(),
  source: { repo: "bob/tiny", commit: "0123456789abcdef0123456789abcdef01234567" },
  recipes: [
    { name: "axolotl", result: { kind: "file", file: "mask-axolotl.yaml", text: "unfrozen_parameters:\n  - 'x'\n" } },
    { name: "llama-factory", result: { kind: "refused", reason: "its formula finds [other] blocks" } },
  ],
  files: {
    plan: "plan.json",
    mask: "mask.json",
    verification: "verification.json",
    manifest: "manifest.json",
  },
};

const TEXT = `---
base_model: bob/tiny
license: mit
language:
  - en
tags:
  - expand-checkpoint
  - block-expansion
  - llama-pro
---

<!-- expand-checkpoint:begin (written by expand-checkpoint; text outside of these marks is kept) -->
# tiny-expanded

This is [bob/tiny](https://huggingface.co/bob/tiny) with 2 more blocks: 2 became 4, and 8,848 parameters became 12,752.
Each new block is a copy whose output projections are closed, so that it adds exactly zero: **as published, this model computes exactly what its source computes**, no better and no worse. It is made to be trained (LLaMA Pro block expansion, [arXiv 2401.02415](https://arxiv.org/abs/2401.02415)).
Made with expand-checkpoint 1.2.3.

## Inserted blocks

| block (from 0) | copy of block (of 2) | closed |
| --- | --- | --- |
| 1 | 0 | attention: projection, mlp: projection |
| 3 | 1 | attention: projection, mlp: projection |

## What is zeroed

- Zero: \`layers.1.o_proj.weight\`, \`layers.1.down_proj.weight\`, \`layers.3.o_proj.weight\`, \`layers.3.down_proj.weight\`
- 1 throughout: \`layers.1.layer_scalar\` (held, not trained)

Every other tensor of a copy holds the bytes of its source block, and every tensor of the source is here byte for byte. \`plan.json\` has the whole list.

Settings that changed with the number of blocks:

- \`num_hidden_layers\`: \`2\` became \`4\`
- \`layer_types\`: nothing became \`["full","full"]\`

## Training

Train the new blocks (1, 3) and freeze everything else: 3,904 parameters in 18 tensors, 30.6 % of the model. \`mask.json\` says it for every tensor.

<details>
<summary>axolotl</summary>

\`\`\`yaml
unfrozen_parameters:
  - 'x'
\`\`\`

</details>

No recipe for: LLaMA-Factory (its formula finds \\[other\\] blocks).

## Proof

**identity: AFTER is an identity expansion of BEFORE** (2 original blocks, 2 copies; 25.6 kB compared).

|  | tensors | bytes | fingerprint of the headers (SHA-256) |
| --- | --- | --- | --- |
| BEFORE, the source | 21 | 17696 | \`${"b".repeat(64)}\` |
| AFTER, this model | 39 | 25504 | \`${"a".repeat(64)}\` |

\`verification.json\` is the report, and \`manifest.json\` has the SHA-256 of every file.

## Make it again, or check it

\`\`\`sh
npx expand-checkpoint@1.2.3 expand bob/tiny@0123456789abcdef0123456789abcdef01234567 OUT --plan plan.json
npx expand-checkpoint@1.2.3 verify bob/tiny@0123456789abcdef0123456789abcdef01234567 alice/tiny-expanded
\`\`\`
<!-- expand-checkpoint:end -->
`;

t.test("a new card says what was inserted, closed, proved, how to train it and how to make it again", async (t) => {
  const source = "---\nlicense: mit\nlanguage: [en]\ndatasets: [secret]\nbase_model: somebody/else\n---\n# Tiny\n";
  t.equal(modelCard(FACTS, { source }), TEXT);
});

const TRAINED: CardFacts = {
  ...FACTS,
  recipes: [],
  report: {
    ...reportOf(),
    mode: "trained",
    verdict: "trained",
    blocks: [],
    trained: {
      trainable: { tensors: 18, bytes: 7808, changed: 18 },
      frozen: { tensors: 21, bytes: 17_696, identical: 21 },
    },
  },
  training: {
    schema: "expand-checkpoint/training-summary/1",
    steps: 1200,
    tokens: 4_915_200,
    seconds: 60,
    corpora: [{ name: "code.jsonl" }, { name: "prose|x.txt", weight: 0.25 }],
    batch: 4,
    accumulate: 2,
    context: 512,
    schedule: { kind: "cosine", peak: 2e-4, warmup: 72 },
    decay: 0.1,
    clip: 1,
    dtype: "f32",
    loss: { first: 4.5, last: 2.25 },
    evaluations: [{ name: "held", before: 4, after: 2 }],
    blocks: [1, 3],
    verdict: "trained",
  },
};

t.test("the card of a trained model says what was trained, on what, and that the rest kept its bytes", async (t) => {
  const card = modelCard(TRAINED);
  t.notMatch(card, "computes exactly what its source computes");
  t.match(
    card,
    "Each new block started as a copy whose output projections were closed, so that it added exactly zero, and was trained then, **with every other tensor frozen** (LLaMA Pro",
  );
  t.match(
    card,
    "| block (from 0) | copy of block (of 2) | closed at the start |\n| --- | --- | --- |\n| 1 | 0 | attention and mlp: projection |",
  );
  t.match(card, "## What was zeroed before training\n");
  t.match(
    card,
    "Every other tensor of a copy started with the bytes of its source block. `plan.json` has the whole list.",
  );
  const own = card.slice(card.indexOf("## Training"));
  t.equal(
    own,
    `## Training

Trained were the new blocks (1, 3): 18 of 18 trainable tensors changed, and every other tensor is frozen. \`mask.json\` says it for every tensor.

|  |  |
| --- | --- |
| corpus | \`code.jsonl\`, \`prose\\|x.txt\` (weight 0.25) |
| steps | 1,200 of 8 x 512 tokens; 4,915,200 tokens counted |
| learning rate | 0.0002, cosine, 72 steps of warm-up |
| AdamW | weight decay 0.1; gradients clipped to norm 1; f32 |
| loss of training | 4.500 in the first twentieth of the steps, 2.250 in the last |

Measured on texts before and after:

| text | loss before | loss after | perplexity |
| --- | --- | --- | --- |
| \`held\` | 4.000 | 2.000 | 54.60 to 7.389 |

## Proof

**trained: AFTER is BEFORE with other values in every trainable tensor, and nothing else changed** (25.6 kB compared).

- frozen: 21 of 21 tensors byte-identical, 17.7 kB
- trainable: 18 of 18 tensors changed, 7.8 kB

|  | tensors | bytes | fingerprint of the headers (SHA-256) |
| --- | --- | --- | --- |
| BEFORE, the expanded model before training | 21 | 17696 | \`${"b".repeat(64)}\` |
| AFTER, this model | 39 | 25504 | \`${"a".repeat(64)}\` |

\`verification.json\` is the report, and \`manifest.json\` has the SHA-256 of every file.

## Check it, or take the training off

\`\`\`sh
npx expand-checkpoint@1.2.3 expand bob/tiny@0123456789abcdef0123456789abcdef01234567 EXPANDED --plan plan.json
npx expand-checkpoint@1.2.3 verify EXPANDED alice/tiny-expanded --mode trained
npx expand-checkpoint@1.2.3 delta strip DOWNLOADED SOURCE-AGAIN
\`\`\`
<!-- expand-checkpoint:end -->
`,
  );
  const { training: _, ...elsewhere } = TRAINED;
  t.match(modelCard(elsewhere), "On what and how is not written down here.");
  const lost = JSON.parse(JSON.stringify({ ...TRAINED.training, loss: { first: 4.5, last: Number.NaN } }));
  lost.evaluations = [{ name: "held", before: 4, after: null }];
  const diverged = modelCard({ ...TRAINED, training: lost });
  t.match(diverged, "4.500 in the first twentieth of the steps, not finite in the last");
  t.match(diverged, "| `held` | 4.000 | not finite | 54.60 to not finite |");
  const named = modelCard({ ...TRAINED, model: "a b.gguf", files: { ...TRAINED.files, plan: "a b.plan.json" } });
  t.match(named, "'EXPANDED/a b.gguf' --plan 'a b.plan.json'\n");
  t.match(named, "verify 'EXPANDED/a b.gguf' 'alice/tiny-expanded:a b.gguf' --mode trained");
  const more = modelCard({ ...TRAINED, alsoTrained: ["model.norm.weight"] });
  t.match(more, "and was trained then, with some of the other tensors (LLaMA Pro");
  t.match(more, "Trained as well, outside of the new blocks: `model.norm.weight`.");
});

t.test("without a known source nothing is invented: no base_model, no licence", async (t) => {
  const { source: _, ...facts } = FACTS;
  const card = modelCard({ ...facts, model: "big.gguf" });
  t.match(card, /^---\ntags:\n {2}- expand-checkpoint\n/);
  t.match(card, "This is a `llama` model with 2 more blocks");
  t.match(card, "SOURCE is the checkpoint whose fingerprint stands above.");
  t.match(card, "npx expand-checkpoint@1.2.3 expand SOURCE OUT --plan plan.json\n");
  t.match(card, "npx expand-checkpoint@1.2.3 verify SOURCE alice/tiny-expanded:big.gguf\n");
});

const EXISTING = `---
# written by hand
license: llama3.2   # the community licence
tags:
- facebook
- llama
base_model:
- meta-llama/Base
base_model_relation: finetune
language: [en, de]
extra_gated_prompt: |-
  ### Licence

  Text --- with dashes
---
# Llama

About it.
`;

t.test("an existing card is extended: its words, comments and order stay", async (t) => {
  const card = modelCard(FACTS, { existing: EXISTING, source: "---\nlicense: other\nlicense_name: x\n---\n" });
  const { front, body } = splitCard(card);
  t.equal(
    front,
    `# written by hand
license: llama3.2   # the community licence
tags:
- facebook
- llama
- expand-checkpoint
- block-expansion
- llama-pro
base_model: bob/tiny
language: [en, de]
extra_gated_prompt: |-
  ### Licence

  Text --- with dashes
`,
  );
  t.match(body, "The text below this part is the source's.");
  t.ok(body.endsWith("<!-- expand-checkpoint:end -->\n\n# Llama\n\nAbout it.\n"));
});

t.test("a second time only our own part is written anew", async (t) => {
  const once = modelCard(FACTS, { existing: EXISTING });
  t.equal(modelCard(FACTS, { existing: once }), once);
  const moved = once.replace("# Llama\n", "# My notes\n").replace("---\n\n<!--", "---\n\nFirst words.\n\n<!--");
  const again = modelCard({ ...FACTS, version: "2.0.0" }, { existing: moved });
  t.equal(again, moved.replaceAll("expand-checkpoint 1.2.3", "expand-checkpoint 2.0.0").replaceAll("@1.2.3", "@2.0.0"));
});

t.test("cards in every form", async (t) => {
  for (const [title, existing, front] of [
    ["no front matter", "# Hello\n", "tags:"],
    ["empty front matter", "---\n---\n# Hello\n", "tags:"],
    ["only spaces", "---\n\n---\n# Hello\n", "tags:"],
    ["Windows lines", "---\r\nlicense: mit\r\n---\r\n# Hello\r\n", "license: mit"],
    ["a byte order mark", "\uFEFF---\nlicense: mit\n---\n# Hello\n", "license: mit"],
    ["a rule that is no front matter", "Hello\n\n---\n\nmore\n", "tags:"],
    ["tags in one line", "---\ntags: [a, b]\n---\n# Hello\n", "tags:"],
    ["one tag that is no list", "---\ntags: a\n---\n# Hello\n", "tags:"],
    ["an empty list of tags", "---\ntags: []\n---\n# Hello\n", "tags:"],
    ["no value", "---\ntags:\nlicense: mit\n---\n# Hello\n", "tags:"],
  ] as const) {
    const { source: _, ...facts } = FACTS;
    const card = modelCard(facts, { existing });
    const parts = splitCard(card);
    t.ok(parts.front.startsWith(front), `${title}: ${parts.front}`);
    const tags = frontValue(parts.front, "tags");
    t.ok(Array.isArray(tags) && tags.includes("llama-pro"), title);
    t.match(parts.body, "Hello", title);
    t.equal(modelCard(facts, { existing: card }), card, `${title}: stays as it is`);
  }
});

t.test("front matter is edited at one place", async (t) => {
  t.equal(withValue("a: 1\nb: 2 # two\nc: 3\n", "b", "x: y"), 'a: 1\nb: "x: y"\nc: 3\n');
  t.equal(withValue("a: 1\n", "b", ["x"]), "a: 1\nb:\n  - x\n");
  t.equal(withValue("b:\n  - 1\n  - 2\nc: 3\n", "b", "z"), "b: z\nc: 3\n");
  t.equal(
    withTags("tags:\n    - a # first\n    - b\nc: 3\n", ["n"]),
    "tags:\n    - a # first\n    - b\n    - n\nc: 3\n",
  );
  t.equal(withTags("tags: [a]\n", ["a"]), "tags: [a]\n");
  t.equal(withValue("a: &x 1\nb: *x\nc: 3\n", "b", "z"), "a: &x 1\nb: z\nc: 3\n", "an alias is a value");
  t.equal(frontValue("a: &x [1]\nb: *x\n", "b")?.toString(), "1");
  t.equal(frontValue("a: 1\n", "constructor"), undefined);
  t.equal(
    withValue("", "language", ["no", "on", "12:30", "nb"]),
    'language:\n  - "no"\n  - "on"\n  - "12:30"\n  - nb\n',
    "words that YAML 1.1 takes for something else",
  );
});

t.test("what cannot be understood is refused", async (t) => {
  for (const [existing, message, fix] of [
    [
      "---\nlicense: mit\nlicense: apache-2.0\n---\n",
      "README.md: its front matter is not YAML with keys (Map keys must be unique at line 2, column 1:)",
      "Mend the lines between the two lines of dashes at its head.",
    ],
    [
      "---\n- a\n---\n",
      "README.md: its front matter is not YAML with keys (a list)",
      "Mend the lines between the two lines of dashes at its head.",
    ],
    [
      "---\n{license: mit}\n---\n",
      "README.md: its front matter is not YAML with keys (Unexpected scalar at node end at line 2, column 1:)",
      "Mend the lines between the two lines of dashes at its head.",
    ],
    [
      `---\na: &a [${"1,".repeat(50)}]\nb: &b [${"*a,".repeat(50)}]\nc: [${"*b,".repeat(50)}]\n---\n`,
      "README.md: its front matter is not YAML with keys (Excessive alias count indicates a resource exhaustion attack)",
      "Mend the lines between the two lines of dashes at its head.",
    ],
    [
      "# Hello\n<!-- expand-checkpoint:begin -->\nours\n",
      "README.md: has one of the two marks of expand-checkpoint, or both the wrong way round",
      "Remove the lines that hold expand-checkpoint:begin and expand-checkpoint:end, and what is between them.",
    ],
  ] as const) {
    try {
      modelCard(FACTS, { existing });
      t.fail(message);
    } catch (error) {
      const { message: found, fix: advice, tag } = error as ExpandError;
      t.same([tag, found, advice], ["input", message, fix]);
    }
  }
});

t.test("names from files do not become markup", async (t) => {
  const plan: Plan = { ...layoutOf(), source: { ...layoutOf().source, modelType: "a`b|c\u202e<script>" } };
  const { source: _, ...facts } = FACTS;
  t.match(modelCard({ ...facts, plan }), "This is a `a'b\\|c <script>` model");
});
