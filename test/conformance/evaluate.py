#!/usr/bin/env python3
"""Compare the losses that evaluate reports with those of transformers.

    python evaluate.py WORK

Tiny random models (every parameter perturbed) with a byte-level tokenizer that
the tokenizers library trains, the same llama as converted to ONNX, and
stories260K where it is at hand; texts are pieces of this repository. For each:
the windows of tokens are those that Python's tokenizer and packing give, and
the mean loss is that of transformers' own loss function within 1e-5, relative.
One "ok"/"not ok" line a case; exit status 1 if any failed.
"""

import json
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import tokenizers
import torch
import transformers

import decoder_logits

ROOT = Path(__file__).resolve().parents[2]
STORIES = ROOT.parent / "shared" / "data" / "stories260K" / "hf"
TOLERANCE = 1e-5
CONTEXT = 96
VOCABULARY = 400
IGNORED = -100
# mixtral and the like: experts; gemma3: norms behind the branches, windows; gpt2: learned positions.
MODELS = {
    "llama": ("llama", {}),
    "gpt2": ("gpt2", {}),
    "qwen3": ("qwen3", {"head_dim": 24}),
    "gemma3": ("gemma3_text", {"head_dim": 16, "sliding_window": 8, "sliding_window_pattern": 3}),
    "mixtral": ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
}


def texts():
    readme = (ROOT / "README.md").read_text()
    source = (ROOT / "src" / "json.ts").read_text()
    return [readme[:2000], source[:1500], "é 😀 \u200d\t\n\n  end", readme[2000:5000], source[1500:3500]]


def train_tokenizer():
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return tokenizer


def write_model(folder, name, tokenizer):
    kind, settings = MODELS[name]
    torch.manual_seed(zlib.crc32(name.encode()))
    model = decoder_logits.make(kind, {**settings, "vocab_size": VOCABULARY})
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def packed(folder, documents):
    """Documents one behind the other, in rows; the label of a position is the next token, unless that begins a document."""
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    begin = [tokenizer.token_to_id(settings["bos_token"])] if settings["add_bos_token"] else []
    end = [tokenizer.token_to_id(settings["eos_token"])]
    ids, labels = [], []
    for text in documents:
        own = [*begin, *tokenizer.encode(text, add_special_tokens=False).ids, *end]
        ids += own
        labels += [*own[1:], IGNORED]
    return ids, labels


@torch.no_grad()
def reference(folder, windows):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    total, count = 0.0, 0
    for window in windows:
        ids, labels = (torch.tensor([window[key]]) for key in ("ids", "labels"))
        counted = int((labels != IGNORED).sum())
        if counted == 0:
            continue
        logits = model(input_ids=ids, use_cache=False).logits
        loss = model.loss_function(
            logits.double(), labels=None, vocab_size=logits.shape[-1], shift_labels=labels, num_items_in_batch=None
        )
        total += loss.item() * counted
        count += counted
    return total / count, count


def tokens_differ(windows, folder, documents):
    for key, expected in zip(("ids", "labels"), packed(folder, documents)):
        found = [token for window in windows for token in window[key]]
        if found[: len(expected)] != expected:
            at = next(at for at, token in enumerate(expected) if at >= len(found) or found[at] != token)
            return f"{key} differ at {at}: {found[at:at + 3]}, {expected[at:at + 3]} expected"
        if any(token != IGNORED for token in found[len(expected):] if key == "labels"):
            return f"{len(found)} {key}, {len(expected)} expected"
    return None


def off(result, expected):
    return abs(result["loss"] / expected - 1)


def loss_differs(result, expected, count):
    if result["tokens"] != count:
        return f"{result['tokens']} tokens, {count} expected"
    return None if off(result, expected) <= TOLERANCE else f"{result['loss']}, {expected} expected"


def main():
    work = Path(sys.argv[1])
    work.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer()
    folders = {name: work / name for name in MODELS}
    for name, folder in folders.items():
        write_model(folder, name, tokenizer)
    folders["llama as ONNX"] = work / "llama-onnx"
    shutil.rmtree(work / "llama-onnx", ignore_errors=True)
    convert = ["node", str(ROOT / "bin/expand-checkpoint.js"), "convert", str(work / "llama"), str(work / "llama-onnx")]
    subprocess.run([*convert, "--format", "onnx", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    if STORIES.is_dir():
        folders["stories260K"] = STORIES
    else:
        print(f"# stories260K is not at {STORIES}: it is left out")
    documents = work / "texts.jsonl"
    documents.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts()))
    command = ["npx", "tsx", "test/conformance/evaluate.ts", str(documents), str(CONTEXT), *map(str, folders.values())]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    failed = False
    for name, line in zip(folders, done.stdout.splitlines(), strict=True):
        found = json.loads(line)
        folder = folders["llama"] if name.endswith("ONNX") else folders[name]
        loss, count = reference(folder, found["windows"])
        cases = {
            f"{name}: the tokens are Python's": tokens_differ(found["windows"], folder, texts()),
            f"{name}: the loss is transformers' {loss:.6f}, off by {off(found['result'], loss):.0e}": loss_differs(found["result"], loss, count),
        }
        for title, why in cases.items():
            print(f"ok {title}" if why is None else f"not ok {title}: {why}", flush=True)
            failed = failed or why is not None
    sys.exit(failed)


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    main()
