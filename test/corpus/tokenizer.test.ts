// Token ids of small tokenizers of each kind, what begins and ends a text, and what is refused rather than nearly computed. Python's ids are
// compared in conformance/corpus.py.
import t from "tap";
import { readScore } from "../../src/corpus/scores.ts";
import { openTokenizer, type Tokenizer, tokenizerAmong, tokenizerWithin } from "../../src/corpus/tokenizer.ts";
import { memorySource } from "../../src/tensor/source.ts";
import { charsMap } from "./charsmap-builder.ts";

type Json = Readonly<Record<string, unknown>>;

const json = (name: string, value: unknown) => memorySource(name, Buffer.from(JSON.stringify(value)));

function open(file: unknown, config?: unknown): Promise<Tokenizer> {
  const tokenizer = json("tokenizer.json", file);
  return openTokenizer(
    config === undefined ? { tokenizer } : { tokenizer, config: json("tokenizer_config.json", config) },
  );
}

const numbered = (...tokens: readonly string[]): Json => Object.fromEntries(tokens.map((token, id) => [token, id]));
const special = (id: number, content: string): Json => ({ id, content, special: true, normalized: false });
const bpe = (vocab: Json, merges: unknown, more: Json = {}): Json => ({ type: "BPE", vocab, merges, ...more });
const split = (pattern: Json, behavior: string, invert = false): Json => ({ type: "Split", pattern, behavior, invert });

const LETTERS = bpe(numbered("a", "b", "c", "ab", "Ġ", "Ġab", "1", "2"), ["a b", "Ġ ab"]);
const MARKED = bpe(
  numbered("a", "b", "▁", "ab", "▁ab", "<0xC3>", "<0xA9>", "▁▁"),
  [
    ["a", "b"],
    ["▁", "ab"],
    ["▁", "▁"],
  ],
  {
    byte_fallback: true,
  },
);
const BYTE_LEVEL = { type: "ByteLevel", add_prefix_space: false, use_regex: true };
const PREPENDED = {
  type: "Sequence",
  normalizers: [
    { type: "Prepend", prepend: "▁" },
    { type: "Replace", pattern: { String: " " }, content: "▁" },
  ],
};

const WHITESPACE = { type: "Whitespace" };
const ACUTE = [
  ["<unk>", 0],
  ["a", -1],
  ["ab", -1.5],
  ["<0xC3>", -5],
  ["<0xA9>", -5],
] as const;
const unigram = (vocab: readonly (readonly [string, number])[], more: Json = {}): Json => ({
  model: { type: "Unigram", unk_id: 0, vocab, ...more },
});
/** Scores of a, b, aa, ab, ba and aab. */
const scored = (...scores: readonly number[]): Json =>
  unigram([["<unk>", 0], ...["a", "b", "aa", "ab", "ba", "aab"].map((piece, at) => [piece, scores[at] ?? 0] as const)]);

t.test("byte pairs, words and spaces are those of the library in Rust", async (t) => {
  const cases: readonly (readonly [what: string, file: Json, text: string, ids: readonly number[]])[] = [
    ["GPT-2's words", { model: LETTERS, pre_tokenizer: BYTE_LEVEL }, "ab abc ab1", [3, 5, 2, 5, 6]],
    [
      "no type, as in older files",
      { model: { ...LETTERS, type: undefined }, pre_tokenizer: BYTE_LEVEL },
      "ab ab",
      [3, 5],
    ],
    ["a space before", { model: LETTERS, pre_tokenizer: { ...BYTE_LEVEL, add_prefix_space: true } }, "ab", [5]],
    [
      "digits one by one, of every script",
      {
        model: bpe(numbered("Â", "²", "Â²", "1"), ["Â ²"]),
        pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "Digits", individual_digits: true }, BYTE_LEVEL] },
      },
      "²²1",
      [2, 2, 3],
    ],
    [
      "a pattern in Rust's words",
      {
        model: LETTERS,
        pre_tokenizer: {
          type: "Sequence",
          pretokenizers: [
            split({ Regex: "(?i:AB)| ?\\p{L}+|\\p{N}" }, "Isolated"),
            { ...BYTE_LEVEL, use_regex: false },
          ],
        },
      },
      "ab1 ab",
      [3, 6, 5],
    ],
    ["SentencePiece, bytes for what is unknown", { model: MARKED, normalizer: PREPENDED }, "ab é ab", [4, 2, 5, 6, 4]],
    ["runs of spaces", { model: MARKED, normalizer: PREPENDED }, "ab   ab", [4, 7, 4]],
    ["nothing is put before nothing", { model: MARKED, normalizer: PREPENDED }, "", []],
    [
      "Gemma's split behind spaces",
      { model: LETTERS, pre_tokenizer: split({ String: "1" }, "MergedWithPrevious") },
      "ab1ab",
      [3, 6, 3],
    ],
    ["Metaspace", { model: MARKED, pre_tokenizer: { type: "Metaspace", replacement: "▁" } }, "ab ab", [4, 4]],
    ["words alone", { model: LETTERS, pre_tokenizer: split({ Regex: "[^ ]+" }, "Removed", true) }, "ab ab", [3, 3]],
    ["what is between", { model: LETTERS, pre_tokenizer: split({ Regex: " " }, "Removed") }, "ab ab", [3, 3]],
    [
      "a replacement with a dollar",
      {
        model: bpe(numbered("$", "&", "a"), []),
        normalizer: { type: "Replace", pattern: { String: "b" }, content: "$&" },
      },
      "ab",
      [2, 0, 1],
    ],
    [
      "a sigma at the end of a word",
      { model: bpe(numbered("σ", "ς"), []), normalizer: { type: "Lowercase" } },
      "ΣΣ",
      [0, 0],
    ],
    [
      "BERT",
      {
        model: {
          type: "WordPiece",
          vocab: numbered("[UNK]", "ab", "##c", ",", "中"),
          unk_token: "[UNK]",
          continuing_subword_prefix: "##",
        },
        normalizer: {
          type: "BertNormalizer",
          clean_text: true,
          handle_chinese_chars: true,
          strip_accents: null,
          lowercase: true,
        },
        pre_tokenizer: { type: "BertPreTokenizer" },
      },
      "ÁBC,, ab中x",
      [1, 2, 3, 3, 1, 4, 0],
    ],
    [
      "unigram",
      {
        model: {
          type: "Unigram",
          unk_id: 0,
          vocab: [
            ["<unk>", 0],
            ["▁", -2],
            ["a", -3],
            ["▁a", -1],
            ["aa", -1.5],
          ],
        },
        pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: "always" },
      },
      "aaa ax",
      [3, 4, 3, 0],
    ],
    [
      "whole words",
      {
        model: { type: "WordLevel", vocab: numbered("[UNK]", "ab", "c"), unk_token: "[UNK]" },
        pre_tokenizer: WHITESPACE,
      },
      "ab x y c, ab",
      [1, 0, 0, 2, 0, 1],
    ],
    [
      "whole words, no type",
      { model: { vocab: numbered("[UNK]", "ab", "c"), unk_token: "[UNK]" }, pre_tokenizer: WHITESPACE },
      "ab x y c, ab",
      [1, 0, 0, 2, 0, 1],
    ],
    [
      "what Nmt removes and takes for a space",
      { model: bpe(numbered("a", " "), []), normalizer: { type: "Nmt" } },
      "a\u0001\n\u200ba",
      [0, 1, 1, 0],
    ],
    [
      "tokens that are written out",
      { model: LETTERS, pre_tokenizer: BYTE_LEVEL, added_tokens: [special(9, "</s>")] },
      "ab</s>ab",
      [3, 9, 3],
    ],
  ];
  for (const [what, file, text, ids] of cases) t.same((await open(file)).encode(text), ids, what);
});

const TWINS = [
  ["<unk>", 0],
  ["a", -1],
  ["aa", -2],
] as const;

t.test(
  "where several ways to cut a word are as likely, unigram takes the one that the library in Rust takes",
  async (t) => {
    for (const [file, text, ids] of [
      [scored(-1.2, -1.9, -3.2, -1.4, -3.4, -2.6), "aabaaaa", [1, 4, 1, 1, 1, 1]],
      [scored(-1.1, -1.3, -1.2, -2.7, -3, -3.2), "baaab", [2, 3, 1, 2]],
      [scored(-2, -1.3, -2.3, -2.8, -2.8, -1.5), "bbabba", [2, 5, 2, 5]],
      // As likely to the last bit: the last piece is the longest.
      [unigram(TWINS), "aa", [2]],
      [unigram(TWINS), "aaa", [1, 2]],
      [unigram(TWINS), "aaaaa", [1, 2, 2]],
      [unigram(ACUTE), "aéxa", [1, 0, 1]],
      [unigram(ACUTE), "é é", [0]],
      [{ ...unigram(ACUTE), pre_tokenizer: WHITESPACE }, "é é", [0, 0]],
      [unigram(ACUTE, { byte_fallback: true }), "abéa", [2, 3, 4, 1]],
      [unigram(ACUTE, { byte_fallback: true }), "aéxa", [1, 0, 1]],
      [{ ...unigram(ACUTE, { byte_fallback: true }), pre_tokenizer: WHITESPACE }, "xyz é", [0, 3, 4]],
      [unigram(ACUTE), "", []],
    ] as const) {
      t.same((await open(file)).encode(text), ids, `${text} ${JSON.stringify(file)}`);
    }
  },
);

t.test("scores are read with the two roundings of the library in Rust", (t) => {
  for (const [spelling, value] of [
    ["-14.898619485211565", -14.898619485211563],
    ["-10.091298258161181", -10.09129825816118],
    ["-1.2170167444297881", -1.217016744429788],
    ["0.0", 0],
    ["-3", -3],
    ["1e-2", 0.01],
    ["2.5E+1", 25],
    ["18446744073709551616", 18446744073709552000],
    ["1.00000000000000000000001", 1],
    ["4.9e-324", 5e-324],
    ["1e-400", 0],
  ] as const) {
    t.equal(readScore(spelling), value, spelling);
  }
  t.ok(Number.isNaN(readScore("NaN")));
  t.end();
});

t.test(
  "a map of characters is followed by clusters: a short one is replaced whole by what its beginning leads to",
  async (t) => {
    const map = charsMap({
      Ａ: "A",
      "e\u0301": "é",
      "™": "TM",
      "\u0001": "",
      "½": "1/2",
      "\r": " ",
      "\n": " ",
      "\u0600": "#",
    });
    const normalizer = { type: "Precompiled", precompiled_charsmap: map.toString("base64") };
    const letters = [..."ATMbéx1/2# yﾞ中\u0301\u0308ᄀ", "ᅡ"];
    const tokenizer = await open({ model: bpe(numbered(...letters), [], { unk_token: "中" }), normalizer });
    for (const [text, normalized] of [
      ["Ａ™\u0001b", "ATMb"],
      ["e\u0301x", "éx"],
      ["Ａ\u0301", "A"],
      ["½\u0308", "1/2"],
      ["™\u0301", "TM"],
      ["\r\n", " "],
      ["\u0600A b", "# b"],
      ["xＡ y", "xA y"],
      ["中ＡＡ\u0301\u0301", "中AA\u0301\u0301"],
      ["ᄀ\u1161\u0301", "ᄀ\u1161\u0301"],
    ] as const) {
      t.same(
        tokenizer.encode(text),
        Array.from(normalized, (letter) => letters.indexOf(letter)),
        JSON.stringify(text),
      );
    }
  },
);

t.test("a tokenizer may have added tokens that its model does not know, as long as no text has them", async (t) => {
  const pad = special(8, "[PAD]");
  const tokenizer = await open({ model: LETTERS, added_tokens: [pad] });
  t.same([tokenizer.vocabulary, tokenizer.ownVocabulary], [9, 8]);
  const within = tokenizerWithin(tokenizer, 8, "model");
  t.equal(within.vocabulary, 8);
  t.same(within.encode("ab"), [3]);
  t.throws(() => within.encode("ab[PAD]", "text.txt (byte 7)"), {
    tag: "input",
    message: 'text.txt (byte 7): holds "[PAD]", which is token 8, and the last of model is 7',
    fix: 'Remove "[PAD]" from the text.',
  });
  t.same(tokenizerWithin(tokenizer, 9, "model").encode("[PAD]"), [8]);
  const fix = "Pass the tokenizer of this model with --tokenizer.";
  t.throws(() => tokenizerWithin(tokenizer, 7, "model"), {
    tag: "usage",
    message: "model: the tokenizer knows 8 tokens, the model 7",
    fix,
  });
  const ended = await open({ model: LETTERS, added_tokens: [special(8, "<|im_end|>")] }, { eos_token: "<|im_end|>" });
  t.throws(() => tokenizerWithin(ended, 8, "model"), {
    tag: "usage",
    message: 'model: "<|im_end|>", token 8, stands around every text, and the model\'s last is 7',
    fix,
  });
});

const TEMPLATE = {
  type: "TemplateProcessing",
  single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
};
const MARKS = [special(10, "<s>"), special(11, "</s>")];
const NAMES = { bos_token: "<s>", eos_token: { content: "</s>", special: true } };

t.test(
  "a document begins as settings or template say, and ends with the end of text wherever it is named",
  async (t) => {
    const plain = { model: LETTERS, added_tokens: MARKS };
    const templated = { ...plain, post_processor: { type: "Sequence", processors: [TEMPLATE] } };
    const roberta = { ...plain, post_processor: { type: "RobertaProcessing", cls: ["<s>", 10], sep: ["</s>", 11] } };
    const cases: readonly (readonly [
      file: Json,
      config: Json | undefined,
      begin: number | undefined,
      end: number | undefined,
    ])[] = [
      [plain, { ...NAMES, add_bos_token: true, add_eos_token: false }, 10, 11],
      [plain, NAMES, undefined, 11],
      [plain, undefined, undefined, undefined],
      [templated, NAMES, 10, 11],
      [templated, undefined, 10, undefined],
      [templated, { ...NAMES, add_bos_token: false }, undefined, 11],
      [roberta, undefined, 10, 11],
      [plain, { ...NAMES, eos_token: "absent" }, undefined, undefined],
    ];
    for (const [file, config, begin, end] of cases) {
      const { beginOfText, endOfText, vocabulary } = await open(file, config);
      t.same([beginOfText, endOfText, vocabulary], [begin, end, 12], JSON.stringify(config));
    }
    const [first, second, third] = [await open(plain), await open(plain), await open(plain, NAMES)];
    t.equal(first.digest, second.digest);
    t.not(first.digest, third.digest, "the digest has the settings in it");
  },
);

t.test("ids decode to their text", async (t) => {
  const tokenizer = await open({ model: LETTERS, pre_tokenizer: BYTE_LEVEL, decoder: { type: "ByteLevel" } });
  t.equal(tokenizer.decode(tokenizer.encode("ab abc ab1")), "ab abc ab1");
  t.equal(tokenizer.decode([]), "");
});

t.test("a tokenizer that would be computed otherwise than where it was trained is refused", async (t) => {
  const refused: readonly (readonly [file: Json, reason: string])[] = [
    [{ model: { type: "Other", vocab: {} } }, 'has a model of type "Other"'],
    [{ model: { ...LETTERS, dropout: 0.1 } }, "drops merges at random"],
    [{ model: { ...LETTERS, continuing_subword_prefix: "##" } }, "marks what continues a word by a prefix"],
    [
      { model: { ...LETTERS, fuse_unk: true }, pre_tokenizer: { type: "Whitespace" } },
      "joins what is unknown in a word",
    ],
    [
      { model: { type: "Unigram", vocab: [["a", "b"]] } },
      "has a vocabulary that is no list of tokens with their scores",
    ],
    [
      { model: LETTERS, normalizer: { type: "Precompiled" } },
      "has a Precompiled normalizer without its map of characters",
    ],
    [{ model: LETTERS, normalizer: { type: "ByteLevel" } }, 'has a normalizer of type "ByteLevel"'],
    [{ model: LETTERS, normalizer: { type: "Replace", pattern: {} } }, "has a pattern of no known kind"],
    [{ model: LETTERS, pre_tokenizer: { type: "UnicodeScripts" } }, 'has a pre-tokenizer of type "UnicodeScripts"'],
    [{ model: LETTERS, pre_tokenizer: { type: "Punctuation", behavior: "Removed" } }, "splits punctuation as Removed"],
    [
      { model: LETTERS, pre_tokenizer: { type: "Metaspace", replacement: "__" } },
      "has a Metaspace of several characters",
    ],
    [{ model: LETTERS, pre_tokenizer: split({ Regex: "a" }, "Contiguous") }, "splits as Contiguous"],
    [{ model: LETTERS, pre_tokenizer: split({ Regex: "(a)" }, "Removed") }, "removes a pattern that has groups"],
    [{ model: LETTERS, added_tokens: [{ id: 9, content: "x", single_word: true }] }, 'takes "x" as a whole word only'],
  ];
  for (const [file, reason] of refused) {
    await t.rejects(open(file), {
      tag: "unsupported",
      message: `tokenizer.json: ${reason}, which is not computed here as in the library that trained it`,
      fix: "Tokenize the text elsewhere.",
    });
  }
});

t.test("what is no tokenizer at all is refused, and one that is not there with what to pass", async (t) => {
  const damaged = { tag: "damaged", fix: "Download the file again." };
  const opened = (text: string) => openTokenizer({ tokenizer: memorySource("tokenizer.json", Buffer.from(text)) });
  await t.rejects(opened("{"), { ...damaged, message: "tokenizer.json: is not JSON" });
  await t.rejects(opened("[]"), { ...damaged, message: "tokenizer.json: is not a JSON object" });
  for (const other of [{}, { model_type: "gpt2" }, { model: null }, { model: {} }, { model: { vocab: null } }]) {
    await t.rejects(opened(JSON.stringify(other)), {
      tag: "damaged",
      message: "tokenizer.json: is no tokenizer: it has no model with a vocabulary",
      fix: "Give the model's tokenizer.json, or download it again.",
    });
  }
  for (const id of ["1", 1.5, -1, 2 ** 31, {}]) {
    const message = `tokenizer.json: token "a" has the id ${JSON.stringify(id)}, not a whole number`;
    await t.rejects(open({ model: bpe({ b: 0, a: id }, []) }), { ...damaged, message });
    await t.rejects(open({ model: LETTERS, added_tokens: [{ id, content: "a" }] }), { ...damaged, message });
  }
  await t.rejects(open({ model: LETTERS, pre_tokenizer: split({ Regex: "(" }, "Isolated") }), {
    tag: "unsupported",
    message: /^tokenizer\.json: cannot be read: Invalid regular expression/,
    fix: "Tokenize the text elsewhere.",
  });
  const unknown = await open({
    model: { type: "WordPiece", vocab: { a: 0 }, unk_token: "[UNK]", continuing_subword_prefix: "##" },
  });
  t.throws(() => unknown.encode("b"), {
    tag: "unsupported",
    message: "tokenizer.json: has a part that the tokenizer has no token for, nor one for what is unknown",
    fix: "Remove the characters that the model has no token for.",
  });
  const bare = await open(unigram([["a", -1]], { unk_id: null }));
  t.same(bare.encode("aa"), [0, 0]);
  t.throws(() => bare.encode("ab", "text.txt (byte 0)"), {
    message: "text.txt (byte 0): has a part that the tokenizer has no token for, nor one for what is unknown",
  });
  for (const [data, message] of [
    ["", "the map of characters ends early"],
    ["/////wAA", "the map of characters ends early"],
    [Buffer.from([4, 0, 0, 0, 0, 4, 0, 0]).toString("base64"), "the map of characters leads out of itself"],
  ] as const) {
    const normalizer = { type: "Precompiled", precompiled_charsmap: data };
    await t.rejects(
      open({ model: LETTERS, normalizer }).then((opened) => opened.encode("a")),
      {
        tag: "unsupported",
        message: `tokenizer.json: cannot be read: ${message}`,
      },
    );
  }
  await t.rejects(tokenizerAmong(new Map(), "model.gguf"), {
    tag: "usage",
    message: "model.gguf: holds no tokenizer.json, which turns text into tokens",
    fix: "Pass --tokenizer FILE, the tokenizer.json of the model.",
  });
  const assets = new Map([["tokenizer.json", json("tokenizer.json", { model: LETTERS })]]);
  t.same((await tokenizerAmong(assets, "model")).encode("ab"), [3]);
});
