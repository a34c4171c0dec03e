#!/usr/bin/env python3
"""Training agrees with PyTorch: the same start, the same batches and the same AdamW give the same losses and the same weights.

    python train_torch.py WORK [part of a title ...]

Expanded models are trained for 50 steps here, copies trainable and the rest frozen, and by train_steps.ts. One line per case: "ok TITLE" or
"not ok TITLE: WHY"; the exit status is 1 if any failed. Relative differences of losses, and of each tensor in the Euclidean norm.
"""

import contextlib
import io
import json
import math
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy
import torch
import transformers
from safetensors.torch import load_file

import expansions

HERE = Path(__file__).resolve().parent
STORIES = HERE.parents[2] / "shared" / "data" / "stories260K" / "hf"
STEPS, ACCUMULATE, BATCH, CONTEXT = 50, 2, 2, 48
# The gradient of a key's bias is 0 but for rounding; with a smaller epsilon AdamW would make whole steps of that noise.
RATE, DECAY, BETAS, EPSILON, CLIP = 2e-3, 0.1, (0.9, 0.95), 1e-6, 1.0
BOUND = 1e-4
COMMON = {"vocab_size": 160, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
TINY = {
    **COMMON,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
# title: (model type, settings, how it is expanded)
MODELS = {
    "llama": ("llama", TINY, {"add": 2}),
    "gpt2": ("gpt2", {**COMMON, "n_embd": 48, "n_layer": 4, "n_head": 6, "n_positions": 128}, {"add": 2}),
    "qwen3": ("qwen3", {**TINY, "head_dim": 24}, {"add": 2}),
    "gemma3": (
        "gemma3_text",
        {**TINY, "head_dim": 16, "sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"] * 2},
        {"add": 2},
    ),
    "mixtral": ("mixtral", {**TINY, "num_local_experts": 4, "num_experts_per_tok": 2}, {"add": 2}),
}
# What train_steps.ts runs with; every model in the first way, llama in all.
WAYS = {
    "host": {"layout": "host", "checkpointing": True},
    "kept activations": {"layout": "host", "checkpointing": False},
    "graph": {"layout": "graph", "checkpointing": True},
    "loop": {"layout": "loop", "checkpointing": True},
    "offload": {"layout": "offload", "checkpointing": True},
}


def make(member, work):
    """A random model as save_pretrained writes it."""
    kind, settings, _ = MODELS[member]
    torch.manual_seed(len(member))
    config = transformers.AutoConfig.for_model(kind, **settings)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    folder = work / "models" / member
    model.save_pretrained(folder)
    return folder


def batches(vocabulary, seed):
    """[steps, accumulate, 2, batch, context]: arithmetic progressions, so that there is something to learn; some labels are ignored."""
    random = numpy.random.default_rng(seed)
    starts = random.integers(3, vocabulary, (STEPS, ACCUMULATE, BATCH, 1))
    strides = random.integers(1, 5, (STEPS, ACCUMULATE, BATCH, 1))
    tokens = 3 + (starts + strides * numpy.arange(CONTEXT + 1)) % (vocabulary - 3)
    labels = tokens[..., 1:].copy()
    labels[random.random(labels.shape) < 0.1] = -100
    return numpy.ascontiguousarray(numpy.stack([tokens[..., :-1], labels], axis=2).astype(numpy.int64))


def rates():
    """A warm-up and a cosine."""
    warmup = 3
    rise = [RATE * (step + 1) / warmup for step in range(warmup)]
    return rise + [RATE * 0.5 * (1 + math.cos(math.pi * step / (STEPS - warmup))) for step in range(STEPS - warmup)]


def train(folder, pattern, data):
    """The losses, and the trained model's tensors under their names on the disk."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model.eval()
    copies = re.compile(pattern)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(copies.match(name) is not None)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, RATE, BETAS, EPSILON, DECAY)
    losses = []
    for step, rate in enumerate(rates()):
        counted = int((data[step, :, 1] != -100).sum())
        total = 0.0
        for micro in range(ACCUMULATE):
            ids, labels = (torch.from_numpy(data[step, micro, part]) for part in (0, 1))
            logits = model(input_ids=ids).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum") / counted
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(trainable, CLIP)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
        losses.append(total)
    saved = folder.parent / f"{folder.name}-torch"
    model.save_pretrained(saved)
    return losses, load_file(saved / "model.safetensors")


def job_of(way, folder, output, source):
    return {
        **{"checkpoint": str(folder), "mask": str(folder / "mask.json"), "batches": str(source), "output": str(output)},
        **{"batch": BATCH, "context": CONTEXT, "accumulate": ACCUMULATE, "dtype": "f32", "clip": CLIP, "rates": rates()},
        "adam": {"beta1": BETAS[0], "beta2": BETAS[1], "epsilon": EPSILON, "decay": DECAY},
        **WAYS[way],
    }


class Logits(torch.nn.Module):
    """The model as a function of ids and mask alone."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits


def export(source, folder):
    """The model as torch.onnx writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation="eager")
    ids = torch.arange(14).reshape(2, 7)
    names = ["input_ids", "attention_mask"]
    batch, sequence = torch.export.Dim("batch"), torch.export.Dim("sequence", max=TINY["max_position_embeddings"])
    shapes = {name: {0: batch, 1: sequence} for name in names}
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Logits(model.eval()),
            (ids, torch.ones_like(ids)),
            folder / "model.onnx",
            input_names=names,
            output_names=["logits"],
            dynamic_shapes=shapes,
            dynamo=True,
        )
    return folder / "model.onnx"


def counterpart(mine, tensors):
    """The tensor that one of a graph is: exporters rename weights and turn matrices around."""
    best = (math.inf, "", None)
    for name, theirs in tensors.items():
        for turned in (theirs, theirs.T) if theirs.dim() == 2 else (theirs,):
            if turned.numel() == mine.numel():
                distance = ((mine - turned.float().flatten()).norm() / theirs.float().norm()).item()
                best = min(best, (distance, name, turned), key=lambda found: found[0])
    return best


def compare_graph(output, losses, tensors, expanded):
    """As compare, of a graph whose tensors have other names: every trained one must be another of the copies'."""
    found = json.loads((output / "losses.json").read_text())
    if "error" in found:
        raise AssertionError(found["error"])
    ours = [result["loss"] for result in found["results"]]
    of_losses = max(abs(a - b) / abs(b) for a, b in zip(ours, losses))
    mask = json.loads((expanded / "mask.json").read_text())["tensors"]
    left = {name: tensors[name] for name, state in mask.items() if state == "trainable"}
    of_weights = 0.0
    for number in range(len(found["names"])):
        distance, name, _ = counterpart(torch.from_numpy(numpy.fromfile(output / f"{number}.f32", numpy.float32)), left)
        of_weights = max(of_weights, distance)
        left.pop(name, None)
    assert not left, f"the graph does not train {sorted(left)[:3]}"
    text = f"losses {of_losses:.1e}, weights {of_weights:.1e}"
    assert len(ours) == STEPS and of_losses <= BOUND and of_weights <= BOUND, text
    return f"{text}; loss {losses[0]:.3f} to {losses[-1]:.3f}"


def compare(output, losses, tensors, folder):
    """Worst relative differences of losses and of tensors; raises where they are above the bound."""
    found = json.loads((output / "losses.json").read_text())
    if "error" in found:
        raise AssertionError(found["error"])
    ours = [result["loss"] for result in found["results"]]
    assert len(ours) == STEPS, f"{len(ours)} steps of {STEPS}"
    assert losses[-1] < 0.99 * losses[0], f"nothing was learned: {losses[0]:.3f} to {losses[-1]:.3f}"
    of_losses = max(abs(a - b) / abs(b) for a, b in zip(ours, losses))
    start = load_file(folder / "model.safetensors")
    of_weights, worst = 0.0, ""
    for number, name in enumerate(found["names"]):
        mine = torch.from_numpy(numpy.fromfile(output / f"{number}.f32", numpy.float32))
        theirs = tensors[name].float().flatten()
        assert mine.numel() == theirs.numel(), f"{name}: {mine.numel()} values, {theirs.numel()} there"
        assert not torch.equal(theirs, start[name].float().flatten()), f"{name} was not trained"
        of_weights, worst = max((of_weights, worst), (((mine - theirs).norm() / theirs.norm()).item(), name))
    text = f"losses {of_losses:.1e}, weights {of_weights:.1e} ({worst})"
    assert of_losses <= BOUND and of_weights <= BOUND, text
    return f"{text}; loss {losses[0]:.3f} to {losses[-1]:.3f}"


def main():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    work, wanted = Path(sys.argv[1]), sys.argv[2:]
    sources = {member: make(member, work) for member in MODELS}
    if STORIES.is_dir():
        sources["stories260K"] = STORIES
    else:
        print(f"# stories260K is not at {STORIES}: real weights are left out")
    cases = [(member, "host") for member in sources] + [("llama", way) for way in WAYS if way != "host"]
    cases = [case for case in cases if not wanted or any(part in " ".join(case) for part in wanted)]
    how = {member: MODELS[member][2] if member in MODELS else {"add": 2} for member in sources}
    jobs = {
        member: expansions.Job("train", member, {**how[member], "masks": ["torch"]}, work, sources[member])
        for member in {member for member, _ in cases}
    }
    graph = "llama" in jobs
    if graph:
        source = export(sources["llama"], work / "models" / "llama-onnx")
        jobs_graph = expansions.Job("train", "llama-onnx", {"add": 2}, work, source)
    results = expansions.run([*jobs.values(), *([jobs_graph] if graph else [])], work / "train")
    asked, reference = [], {}
    for member, job in jobs.items():
        why = expansions.refusal(results[job.id])
        assert why is None, f"{member}: {why}"
        pattern = re.search(r're\.compile\(r"(.*)"\)', (job.output / "mask-torch.py").read_text())[1]
        vocabulary = json.loads((job.output / "config.json").read_text())["vocab_size"]
        data = batches(vocabulary, len(member))
        data.tofile(work / "train" / f"{member}.i64")
        reference[member] = train(job.output, pattern, data)
    for member, way in cases:
        output = work / "train" / f"{member}-{way.replace(' ', '-')}"
        asked.append(job_of(way, jobs[member].output, output, work / "train" / f"{member}.i64"))
    if graph:
        why = expansions.refusal(results[jobs_graph.id])
        assert why is None, f"llama by torch.onnx: {why}"
        output = work / "train" / "llama-by-torch.onnx"
        asked.append(job_of("host", jobs_graph.output, output, work / "train" / "llama.i64"))
    (work / "train" / "jobs-steps.json").write_text(json.dumps(asked))
    subprocess.run(["npx", "tsx", HERE / "train_steps.ts", work / "train" / "jobs-steps.json"], cwd=HERE.parents[1], check=True)
    checks = [
        (f"{member} trained as by PyTorch, {way}", compare, member, job) for (member, way), job in zip(cases, asked)
    ]
    if graph:
        checks.append(("llama as torch.onnx exports it, trained as by PyTorch", compare_graph, "llama", asked[-1]))
    failed = 0
    for title, check, member, job in checks:
        try:
            print(f"ok {title}: {check(Path(job['output']), *reference[member], jobs[member].output)}", flush=True)
        except AssertionError as error:
            failed += 1
            print(f"not ok {title}: {error}", flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
