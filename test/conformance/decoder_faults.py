#!/usr/bin/env python3
"""Decoders of every family: their logits are transformers', their expansions compute the same, and planted faults are found.

    python decoder_faults.py WORK [part of a variant's name ...]

Makes the models of decoder_logits.py in WORK/models (those that are missing), has decoder_faults.ts expand all of them into
WORK/expanded and run both sides, plants faults into copies of those in WORK/faults, whose block must then be named, and has
decoder_logits.ts compare the models with transformers. The exit status is 1 if anything failed. Needs torch, transformers and safetensors.
"""

import json
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import decoder_logits

HERE = Path(__file__).resolve().parent


class Expanded:
    """An expanded checkpoint in memory: its plan, settings and tensors."""

    def __init__(self, folder):
        self.folder = folder
        self.blocks = json.loads((folder / "plan.json").read_text())["blocks"]
        self.config = json.loads((folder / "config.json").read_text())
        self.tensors = load_file(folder / "model.safetensors")
        copies = [block for block in self.blocks if block["kind"] == "copy"]
        self.copy = copies[-1]
        self.prefix = re.match(r"(.*?\.)\d+\.", self.copy["zeroed"][0]["tensor"])[1]

    @property
    def source(self):
        """The original of the last copy."""
        return next(b for b in self.blocks if b["kind"] == "original" and b["from"] == self.copy["from"])

    def name(self, block, inner):
        return f"{self.prefix}{block['at']}.{inner}"

    def names_in(self, at):
        start = f"{self.prefix}{at}."
        return [name for name in self.tensors if name.startswith(start)]

    def closed(self, inner):
        """A closed tensor of the copy and the same one of its original."""
        return self.tensors[self.name(self.copy, inner)], self.tensors[self.name(self.source, inner)]

    def save(self, folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(self.config))
        save_file(
            {name: tensor.contiguous().clone() for name, tensor in self.tensors.items()}, folder / "model.safetensors"
        )


# Each takes an Expanded, breaks it, and gives the number of the block that must be named.


def unzeroed_row(inner, dim=0):
    def plant(model):
        ours, theirs = model.closed(inner)
        assert not ours.any(), "the copy is closed elsewhere"
        row = [slice(None)] * ours.dim()
        row[dim] = 3
        ours[tuple(row)] = theirs[tuple(row)]
        return model.copy["at"]

    return plant


def unzeroed(inner):
    """A tensor of the copy has its original's values: a bias that nobody zeroed."""

    def plant(model):
        ours, theirs = model.closed(inner)
        assert not ours.any() and theirs.any(), "the copy is closed elsewhere"
        ours.copy_(theirs)
        return model.copy["at"]

    return plant


def swapped_blocks(model):
    first, second = [block["at"] for block in model.blocks if block["kind"] == "original"][1:3]
    for name in model.names_in(first):
        other = name.replace(f"{model.prefix}{first}.", f"{model.prefix}{second}.", 1)
        model.tensors[name], model.tensors[other] = model.tensors[other], model.tensors[name]
    return first


def stale_window(key="layer_types"):
    """The kinds of the source, repeated past its end, as a tool does that only raises the count."""

    def plant(model):
        kinds = model.config[key]
        originals = [kinds[block["at"]] for block in model.blocks if block["kind"] == "original"]
        stale = (originals * 2)[: len(kinds)]
        model.config[key] = stale
        return next(
            block["at"]
            for block in model.blocks
            if block["kind"] == "original" and kinds[block["at"]] != stale[block["at"]]
        )

    return plant


def rope_base(model):
    parameters = model.config["rope_parameters"]
    parameters["rope_theta"] = parameters["rope_theta"] * 1.01
    return 0


def open_gain(model):
    """A gain of (1 + w) closed as if it were w."""
    for closed in model.copy["zeroed"]:
        assert closed["value"] == -1
        model.tensors[closed["tensor"]].zero_()
    return model.copy["at"]


def folded_gain(inner):
    """The 1 of (1 + w) is folded into the weight of an original, as in GGUF."""

    def plant(model):
        model.tensors[model.name(model.source, inner)] += 1
        return model.source["at"]

    return plant


def permuted_heads(inner, heads):
    """The first two heads of an original's queries change places; what reads them does not."""

    def plant(model):
        weight = model.tensors[model.name(model.source, inner)]
        size = weight.shape[0] // heads
        weight[: 2 * size] = torch.cat([weight[size : 2 * size], weight[:size]])
        return model.source["at"]

    return plant


def extra_copy(count):
    """An original stands twice, the second time open."""

    def plant(model):
        at, last = model.source["at"], model.blocks[-1]["at"]
        for number in range(last, at - 1, -1):
            for name in model.names_in(number):
                moved = name.replace(f"{model.prefix}{number}.", f"{model.prefix}{number + 1}.", 1)
                model.tensors[moved] = model.tensors[name]
        model.config[count] += 1
        return at + 1

    return plant


FAULTS = {
    "unzeroed row": {
        "llama": unzeroed_row("mlp.down_proj.weight"),
        "gpt2": unzeroed_row("mlp.c_proj.weight", dim=1),
        "falcon-new": unzeroed_row("self_attention.dense.weight"),
        "mixtral": unzeroed_row("block_sparse_moe.experts.1.w2.weight"),
        "gpt_oss": unzeroed_row("mlp.experts.down_proj", dim=0),
        "mpt": unzeroed_row("attn.out_proj.weight"),
    },
    "swapped block": {name: swapped_blocks for name in ("llama", "bloom", "phi", "qwen3_moe", "olmo2")},
    "stale window pattern": {name: stale_window() for name in ("gemma2", "gpt_oss", "cohere2", "exaone4")},
    "wrong rope base": {name: rope_base for name in ("llama", "gpt_neox", "stablelm", "starcoder2", "phi3", "qwen3")},
    "missing bias zero": {
        "gpt2": unzeroed("mlp.c_proj.bias"),
        "llama-bias": unzeroed("self_attn.o_proj.bias"),
        "phi": unzeroed("mlp.fc2.bias"),
        "gpt_oss": unzeroed("mlp.experts.down_proj_bias"),
        "opt": unzeroed("fc2.bias"),
    },
    "wrong norm offset": {
        "gemma2": open_gain,
        "gemma3": open_gain,
        "gemma": folded_gain("input_layernorm.weight"),
        "gemma3-scaled": folded_gain("self_attn.q_norm.weight"),
    },
    "permuted heads": {
        "llama": permuted_heads("self_attn.q_proj.weight", 4),
        "gptj": permuted_heads("attn.q_proj.weight", 6),
        "mpt": permuted_heads("attn.Wqkv.weight", 12),
    },
    "extra copy": {
        "llama": extra_copy("num_hidden_layers"),
        "gpt2": extra_copy("n_layer"),
        "starcoder2": extra_copy("num_hidden_layers"),
        "glm4": extra_copy("num_hidden_layers"),
    },
}


def make_models(folder, names):
    for name in names:
        # decoder_logits.ts leaves it: a second model in the folder.
        shutil.rmtree(folder / name / "onnx", ignore_errors=True)
        if (folder / name / "model.safetensors").exists():
            continue
        torch.manual_seed(zlib.crc32(name.encode()))
        decoder_logits.write(folder / name, *decoder_logits.VARIANTS[name])


def plant(work, names):
    cases = []
    for fault, places in FAULTS.items():
        for name, break_it in places.items():
            if name not in names:
                continue
            case = f"{fault.replace(' ', '-')}-{name}"
            model = Expanded(work / "expanded" / name)
            block = break_it(model)
            model.save(work / "faults" / case)
            (work / "faults" / f"{case}.json").write_text(json.dumps({"before": name, "block": block}))
            cases.append(case)
    return cases


def run(program, *words):
    return subprocess.run(["npx", "tsx", str(HERE / program), *map(str, words)], cwd=HERE.parent.parent).returncode


def main():
    work, parts = Path(sys.argv[1]).resolve(), sys.argv[2:]
    names = [name for name in decoder_logits.VARIANTS if not parts or any(part in name for part in parts)]
    make_models(work / "models", names)
    failed = run("decoder_faults.ts", "identity", work, *names)
    failed |= run("decoder_faults.ts", "faults", work, *plant(work, names))
    failed |= run("decoder_logits.ts", work / "models", *names)
    sys.exit(failed)


if __name__ == "__main__":
    decoder_logits.transformers.logging.set_verbosity_error()
    decoder_logits.transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    main()
