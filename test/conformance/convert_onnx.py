#!/usr/bin/env python3
"""Models that `convert` wrote must give transformers' logits in plain onnxruntime, and its greedy tokens in onnxruntime-genai and
transformers.js.

    python convert_onnx.py WORK [variant ...]

Makes the variants of decoder_logits.py in WORK/models (once), converts each to WORK/onnx with the command line, and compares: the whole
sequence at once, with padding on the left, and step by step with the cache; each within 1e-4 of the largest logit. One line per case:
"ok TITLE" or "not ok TITLE: WHY"; the exit status is 1 if any failed. Needs torch, transformers, onnxruntime, onnxruntime-genai, and
`npm ci` in transformersjs/. The package is to be built.
"""

import json
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import onnxruntime
import onnxruntime_genai
import torch
import transformers

import decoder_logits

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-4
# Whole libraries on top of the model: a few families are enough, with grouped heads, windows, learned positions and experts among them.
GENERATED = ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "gpt2", "gpt_neox", "smollm3"]
NEW_TOKENS = 8


def cases_of(name, work):
    model = work / "models" / name
    if not (model / "reference.json").exists():
        torch.manual_seed(zlib.crc32(name.encode()))
        decoder_logits.write(model, *decoder_logits.VARIANTS[name])
    out = work / "onnx" / name
    shutil.rmtree(out, ignore_errors=True)
    command = ["node", str(ROOT / "bin/expand-checkpoint.js"), "convert", str(model), str(out), "--quiet"]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode != 0 or "same logits as the source" not in ended.stdout:
        yield f"{name} is converted", (ended.stderr + ended.stdout).strip().replace("\n", " | ")
        return
    yield f"{name} is converted", None
    yield f"{name}: the other files are the same byte for byte", assets(model, out)
    for case, why in compare(model, out).items():
        yield f"{name}: onnxruntime gives the logits of transformers, {case}", why
    if name in GENERATED:
        for library, why in generate(model, out).items():
            yield f"{name}: {library} continues as transformers does", why


def assets(model, out):
    for file in model.iterdir():
        if file.name in ("config.json", "model.safetensors"):
            continue
        if not (out / file.name).exists() or (out / file.name).read_bytes() != file.read_bytes():
            return f"{file.name} is not the same"
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (model, out))
    if after.pop("transformers.js_config", {}).get("use_external_data_format") is None:
        return "config.json does not say how many data files there are"
    return None if before == after else "config.json has other changes"


def compare(model, out):
    session = onnxruntime.InferenceSession(str(out / "model.onnx"), providers=["CPUExecutionProvider"])
    reference = json.loads((model / "reference.json").read_text())
    ids, mask, positions = (np.array(reference[key], dtype=np.int64) for key in ("ids", "mask", "positions"))
    batch, length = ids.shape
    plain = np.tile(np.arange(length, dtype=np.int64), (batch, 1))
    shape = (batch, length, reference["vocabulary"])
    return {
        case: difference(logits(), np.fromfile(model / f"{case}.f32", dtype=np.float32).reshape(shape), keep)
        for case, logits, keep in [
            ("plain", lambda: run(session, ids, np.ones_like(ids), plain, 0, length, empty(session, batch))[0], None),
            ("padded", lambda: run(session, ids, mask, positions, 0, length, empty(session, batch))[0], mask == 1),
            ("steps", lambda: steps(session, ids, plain, reference["half"]), None),
        ]
    }


def empty(session, batch):
    caches = [each for each in session.get_inputs() if each.name.startswith("past_key_values.")]
    return {each.name: np.zeros((batch, each.shape[1], 0, each.shape[3]), dtype=np.float32) for each in caches}


def run(session, ids, mask, positions, start, end, cache):
    feeds = {
        "input_ids": ids[:, start:end],
        "attention_mask": mask[:, :end],
        "position_ids": positions[:, start:end],
        **cache,
    }
    names = [each.name for each in session.get_outputs()]
    results = dict(zip(names, session.run(names, feeds)))
    logits = results.pop("logits")
    return logits, {name.replace("present.", "past_key_values."): value for name, value in results.items()}


def steps(session, ids, positions, half):
    batch, length = ids.shape
    mask = np.ones_like(ids)
    logits, cache = run(session, ids, mask, positions, 0, half, empty(session, batch))
    parts = [logits]
    for at in range(half, length):
        logits, cache = run(session, ids, mask, positions, at, at + 1, cache)
        parts.append(logits)
    return np.concatenate(parts, axis=1)


def difference(found, expected, keep):
    if keep is not None:
        found, expected = found[keep], expected[keep]
    worst = np.abs(found - expected).max() / np.abs(expected).max()
    return None if worst <= TOLERANCE else f"off by {worst:.1e} of the largest logit"


def generate(model, out):
    prompt = json.loads((model / "reference.json").read_text())["ids"][0]
    ends = json.loads((out / "genai_config.json").read_text())["model"].get("eos_token_id", [])
    expected = greedy(model, prompt, ends if isinstance(ends, list) else [ends])
    found = {"onnxruntime-genai": with_genai(out, prompt), "transformers.js": with_transformersjs(out, prompt)}
    return {
        library: None if tokens == expected else f"expected {expected}, found {tokens}"
        for library, tokens in found.items()
    }


def with_genai(out, prompt):
    network = onnxruntime_genai.Model(str(out))
    params = onnxruntime_genai.GeneratorParams(network)
    params.set_search_options(max_length=len(prompt) + NEW_TOKENS, do_sample=False)
    generator = onnxruntime_genai.Generator(network, params)
    generator.append_tokens([prompt])
    while not generator.is_done():
        generator.generate_next_token()
    return [int(token) for token in generator.get_sequence(0)][len(prompt) :]


def with_transformersjs(out, prompt):
    script = ROOT / "test/conformance/transformersjs/generate.mjs"
    words = [str(out.parent.resolve()), out.name, str(NEW_TOKENS), ",".join(map(str, prompt))]
    ended = subprocess.run(["node", str(script), *words], capture_output=True, text=True)
    return json.loads(ended.stdout) if ended.returncode == 0 else ended.stderr.strip().splitlines()[-1:]


def greedy(model, prompt, ends):
    """Without generate(): its defaults differ from model to model."""
    network = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    tokens = list(prompt)
    with torch.no_grad():
        while len(tokens) < len(prompt) + NEW_TOKENS and tokens[-1] not in ends:
            tokens.append(int(network(torch.tensor([tokens]), use_cache=False).logits[0, -1].argmax()))
    return tokens[len(prompt) :]


def main():
    work, *names = sys.argv[1:]
    failed = False
    for name in names or decoder_logits.VARIANTS:
        try:
            for title, why in cases_of(name, Path(work)):
                failed = failed or why is not None
                print(f"ok {title}" if why is None else f"not ok {title}: {why}", flush=True)
        except Exception as error:  # one broken variant must not hide the others
            failed = True
            print(f"not ok {name}: {type(error).__name__}: {error}".replace("\n", " | "), flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    main()
