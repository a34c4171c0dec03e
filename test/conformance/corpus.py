"""Token ids against transformers' fast tokenizers, and documents against pyarrow.

usage: python corpus.py WORK [TOKENIZER_DIRECTORY...]   prints "ok ..." or "not ok ..." for each kind; WORK is made

Trains a tokenizer of each kind that decoders have, on this repository's own text, and encodes hard texts and random ones with it; more
directories with a tokenizer.json are compared in the same way. Then writes Parquet, JSON lines and text files in every encoding that pyarrow
has, and reads them back.
"""

import io
import json
import pathlib
import random
import subprocess
import sys
import unicodedata

import pyarrow
import pyarrow.parquet
import sentencepiece
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

ROOT = pathlib.Path(__file__).resolve().parents[2]
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
FALCON = [
    pre_tokenizers.Punctuation("contiguous"),
    pre_tokenizers.ByteLevel(add_prefix_space=False),
    pre_tokenizers.Digits(individual_digits=False),
    pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated"),
]
BYTES = ["<0x%02X>" % byte for byte in range(256)]
MARKS = ["<unk>", "<s>", "</s>"]
SIZE = {"vocab_size": 900, "show_progress": False}


def byte_level(*before, prefix=False, normalizer=None, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(list(before))
    if not before:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return tokenizer, trainers.BpeTrainer(**SIZE, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"])


def spaces(normalizer, pre_tokenizer=None):
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizer
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    return tokenizer, trainers.BpeTrainer(**SIZE, special_tokens=MARKS + BYTES)


def word_pieces():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer, trainers.WordPieceTrainer(**SIZE, special_tokens=["[UNK]", "[CLS]", "[SEP]"])


def unigram(normalizer=None, pre_tokenizer=None, special=(), size=700):
    tokenizer = Tokenizer(models.Unigram())
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer or pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        **{**SIZE, "vocab_size": size + len(special)}, special_tokens=[*MARKS, *special], unk_token="<unk>"
    )
    return tokenizer, trainer


def known_words():
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer, trainers.WordLevelTrainer(**SIZE, special_tokens=MARKS)


def characters(rule):
    """The map of characters that sentencepiece puts into a model: field 2 of its normalizer's settings, which are its field 3."""
    model = io.BytesIO()
    lines = iter(["hello world", "another line of text", "one more of them"] * 30)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines,
        model_writer=model,
        vocab_size=40,
        hard_vocab_limit=False,
        normalization_rule_name=rule,
        minloglevel=2,
    )
    return dict(fields(dict(fields(model.getvalue()))[3]))[2]


def fields(message):
    """Numbers and contents of the fields of a protobuf message."""

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    at = 0
    while at < len(message):
        key = varint()
        length = {0: 0, 1: 8, 5: 4}.get(key & 7)
        if length is None:
            length = varint()
        elif length == 0:
            varint()
        yield key >> 3, message[at : at + length]
        at += length


def settle(folder):
    """tokenizer.json again, with what no trainer sets."""
    file = folder / "tokenizer.json"
    settings = json.loads(file.read_text())
    model = settings["model"]
    if "bytes" in folder.name and model["type"] == "Unigram":
        model["byte_fallback"] = True
    if "ties" in folder.name:
        # Scores of few digits: many ways to cut a word are equally likely.
        model["vocab"] = [[piece, round(score, 1)] for piece, score in model["vocab"]]
    file.write_text(json.dumps(settings))


def whole_words(pre_tokenizer, normalizer=None):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer:
        tokenizer.normalizer = normalizer
    return tokenizer, trainers.BpeTrainer(**SIZE, special_tokens=MARKS, end_of_word_suffix="</w>")


def kinds():
    split = pre_tokenizers.Split(Regex(LLAMA3), "isolated")
    bare = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    mark = normalizers.Replace(" ", "▁")
    accents = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()])
    stripped = normalizers.Sequence([normalizers.Strip(), normalizers.Prepend("$1▁"), mark])
    return {
        "gpt2": byte_level(),
        "gpt2 with a space before": byte_level(prefix=True),
        "llama 3": byte_level(split, bare, ignore_merges=True, normalizer=normalizers.NFC()),
        "smollm": byte_level(pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)),
        "falcon": byte_level(*FALCON),
        "llama 2": spaces(normalizers.Sequence([normalizers.Prepend("▁"), mark])),
        "gemma": spaces(mark, pre_tokenizers.Split(" ", "merged_with_previous")),
        "mistral": spaces(None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False)),
        "words behind a mark": spaces(None, pre_tokenizers.Metaspace(prepend_scheme="always")),
        "stripped": spaces(stripped),
        "merged with the next": spaces(mark, pre_tokenizers.Split("▁", "merged_with_next")),
        "openai-gpt": whole_words(pre_tokenizers.BertPreTokenizer(), normalizers.BertNormalizer(lowercase=True)),
        "words": whole_words(pre_tokenizers.Whitespace(), accents),
        "words and punctuation": whole_words(
            pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
        ),
        "unigram": unigram(normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])),
        "unigram of whole texts": unigram(normalizers.NFKC(), pre_tokenizers.Metaspace(split=False), size=2000),
        "unigram with ties": unigram(pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme="first")),
        "unigram of bare words": unigram(normalizers.Nmt(), pre_tokenizers.Whitespace(), size=300),
        "unigram with bytes": unigram(special=BYTES),
        "sentencepiece": unigram(normalizers.Precompiled(characters("nmt_nfkc"))),
        "sentencepiece without case": unigram(normalizers.Precompiled(characters("nmt_nfkc_cf"))),
        "known words": known_words(),
        "wordpiece": word_pieces(),
    }


def sources():
    return [(ROOT / name).read_text() for name in ("README.md", "src/README.md", "src/corpus/tokenizer-parts.ts")]


def texts():
    hard = [
        "Hello world, it's 12345 o'clock!  Two  spaces\n\nand lines\t.",
        "naïve café — 東京 😀 x=1; ²³ ½ ٣٤ Ⅷ",
        "IT'S We'LL blocks of the residual stream",
        " leading",
        "trailing  ",
        "",
        " ",
        "\n\n\n",
        "ΟΔΥΣΣΕΥΣ ΣΑΣ İstanbul ẞ",
        "zero\u200bwidth\u200djoin\ufeffbom\u0085next\u00a0hard\u2028line\u3000wide",
        "\ud7ff\ue000\ufffd𠀀𪜀 한국어 हिन्दी",
        "e\u0301 cafe\u0301 ﬁ Å",
        "a_b __init__ x->y $1 $& \\n [::-1] {}",
        "<s>tokens</s> in <|endoftext|> text <unk>",
        "price: $5.00 100% #1 @x ~/.ssh `ls`",
        "\r\nwindows\r\n\x00nul\x1b",
        "a" * 300,
        *("".join(unit * 37 for unit in units) for units in ("-= ", "─-─", "é中é", ["--- ", "| "], ["ab", " ", "-"])),
        "Ａ\u0301 ㌔x ﾊﾞ ™\x1eg\u0600a ½\u0308 \u1100\u1161\u0301 ©\u200d",
    ]
    draw = random.Random(7)
    ranges = [(0x20, 0x7F), (0xA0, 0x250), (0x370, 0x530), (0x600, 0x700), (0x900, 0x980), (0x2000, 0x2070)]
    ranges += [(0x2150, 0x2190), (0x3040, 0x3100), (0x4E00, 0x4E80), (0x1F600, 0x1F640), (9, 14), (0x20, 0x21)]

    def character():
        # The two libraries may know different versions of Unicode; both know the first ones.
        while unicodedata.ucd_3_2_0.category(drawn := chr(draw.randrange(*draw.choice(ranges)))) == "Cn":
            pass
        return drawn

    def noise():
        return "".join(character() for _ in range(draw.randrange(60)))

    return hard + sources() + [noise() for _ in range(400)]


def documents():
    story = "Story %d é中 "
    rows = [None if row % 17 == 5 else (story % row) * (1 + row % 40) for row in range(2000)]
    return rows, [row for row in rows if row is not None]


def write_files(folder):
    rows, _ = documents()
    table = pyarrow.table({"text": rows, "number": list(range(len(rows))), "tags": [["a"]] * len(rows)})
    text = table.select(["text"])
    ways = {codec: {"compression": codec} for codec in ("none", "snappy", "gzip", "zstd", "brotli", "lz4")}
    ways["plain"] = {"use_dictionary": False, "compression": "zstd"}
    ways["second-version"] = {"data_page_version": "2.0", "compression": "snappy"}
    ways["second-version-plain"] = {"data_page_version": "2.0", "use_dictionary": False, "compression": "gzip"}
    ways["row-groups"] = {"row_group_size": 300}
    ways["small-pages"] = {"data_page_size": 1024, "write_page_index": True}
    ways["lengths-first"] = {"use_dictionary": False, "column_encoding": {"text": "DELTA_LENGTH_BYTE_ARRAY"}}
    ways["prefixes-shared"] = {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}}
    ways["second-version-prefixes"] = {**ways["prefixes-shared"], "data_page_version": "2.0", "data_page_size": 1024}
    for name, options in ways.items():
        columns = text if "column_encoding" in options else table
        pyarrow.parquet.write_table(columns, folder / f"{name}.parquet", **options)
    large = pyarrow.table({"text": pyarrow.array(rows, pyarrow.large_string())})
    pyarrow.parquet.write_table(large, folder / "large-strings.parquet")
    coded = pyarrow.table({"body": pyarrow.array(rows).dictionary_encode()})
    pyarrow.parquet.write_table(coded, folder / "dictionary-type.parquet")
    required = pyarrow.schema([pyarrow.field("text", pyarrow.string(), nullable=False)])
    full = [row or "-" for row in rows]
    pyarrow.parquet.write_table(pyarrow.table({"text": full}, schema=required), folder / "required.parquet")
    (folder / "lines.jsonl").write_text("".join(json.dumps({"id": 1, "text": row}) + "\n" for row in rows))
    unescaped = "".join(json.dumps({"body": row}, ensure_ascii=False) + "\r\n" for row in rows)
    (folder / "lines-of-windows.jsonl").write_bytes(unescaped.encode("utf-8-sig"))


def write_refused(folder):
    nested = pyarrow.table({"meta": [{"text": "x"}], "tags": [["a"]]})
    pyarrow.parquet.write_table(nested, folder / "nested.parquet")
    two = pyarrow.table({"title": ["a"], "body": ["b"]})
    pyarrow.parquet.write_table(two, folder / "two.parquet")
    return {
        "nested.parquet": 'no field holds text; found "meta" (not text), "tags" (not text)',
        "two.parquet": 'several fields hold text, and none is named text; found "title", "body"',
    }


def report(name, fault):
    print(f"not ok {name}: {fault}" if fault else f"ok {name}")


def first_difference(texts, expected, got):
    if isinstance(got, str):
        return got
    for text, want, have in zip(texts, expected, got, strict=True):
        if want != have:
            at = next((i for i, (a, b) in enumerate(zip(want, have)) if a != b), min(len(want), len(have)))
            return f"{text[:80]!r} at {at}: {want[max(0, at - 2) : at + 4]} and {have[max(0, at - 2) : at + 4]}"
    return None


def main(work, directories):
    work.mkdir(parents=True, exist_ok=True)
    files = work / "files"
    files.mkdir(exist_ok=True)
    samples = texts()
    fast = {}
    for name, (tokenizer, trainer) in kinds().items():
        tokenizer.train_from_iterator([line for text in sources() for line in text.splitlines()], trainer)
        if name == "llama 2":
            tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
        marks = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"} if name == "llama 2" else {}
        wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks)
        wrapped.save_pretrained(work / name)
        settle(work / name)
        fast[str(work / name)] = PreTrainedTokenizerFast.from_pretrained(work / name)
    for directory in directories:
        fast[directory] = PreTrainedTokenizerFast(tokenizer_file=f"{directory}/tokenizer.json")
    write_files(files)
    refused = write_refused(files)
    job = {"tokenizers": list(fast), "texts": samples, "files": sorted(map(str, files.iterdir()))}
    (work / "job.json").write_text(json.dumps(job))
    command = ["npx", "tsx", "test/conformance/corpus.ts", str(work / "job.json")]
    answer = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    for directory, tokenizer in fast.items():
        name = pathlib.Path(directory).name
        expected = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in samples]
        report(f"token ids of {name}, {len(samples)} texts", first_difference(samples, expected, answer["ids"][name]))
    around = answer["around"]["llama 2"]
    report("begin and end of llama 2", None if around[:2] == [1, 2] else around)
    rows, expected = documents()
    for file in sorted(files.iterdir()):
        got = answer["documents"][file.name]
        if file.name in refused:
            report(f"{file.name} is refused", None if refused[file.name] in got else got[:200])
            continue
        want = [row or "-" for row in rows] if file.name == "required.parquet" else expected
        fault = None if got == want else f"{len(got)} documents, not {len(want)}: {str(got)[:200]}"
        report(f"documents of {file.name}", fault)


main(pathlib.Path(sys.argv[1]), sys.argv[2:])
