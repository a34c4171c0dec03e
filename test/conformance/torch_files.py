"""Checkpoints saved by torch.save: what transformers reads from the .bin files and from our expansion of them is the same model."""

import json
import shutil

import torch

import expansions
from comparing import difference, load, outputs_of
from zoo_inputs import inputs_for

# Member -> how many files. The state dict is that of the model in memory: tied tensors share their storage in it.
SAVED = {"llama": 1, "llama@bias": 1, "qwen2": 1, "gpt2": 2, "opt": 2, "falcon@new": 3}


def cases(work):
    jobs = []
    for member, files in SAVED.items():
        source = work / "torch" / member
        save(work / "models" / member, source, files)
        jobs.append(expansions.Job("torch", member, {"every": 2}, work, source))
    results = expansions.run(jobs, work / "jobs")
    for job in jobs:
        files = SAVED[job.member]
        title = (
            f"{job.member} in {files} torch file{'s' if files > 1 else ''} computes the same after expansion"
        )
        yield title, check(job, results[job.id])
        shutil.rmtree(job.output, ignore_errors=True)


def save(model_directory, target, files):
    """pytorch_model.bin, or as many parts with an index."""
    model, _ = load(model_directory)
    state = model.state_dict()
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    shutil.copy(model_directory / "config.json", target)
    names = list(state)
    if files == 1:
        torch.save(state, target / "pytorch_model.bin")
        return
    parts = {}
    for at in range(files):
        part = f"pytorch_model-{at + 1:05}-of-{files:05}.bin"
        held = names[at * len(names) // files : (at + 1) * len(names) // files]
        torch.save({name: state[name] for name in held}, target / part)
        parts.update({name: part for name in held})
    size = sum(value.numel() * value.element_size() for value in state.values())
    index = {"metadata": {"total_size": size}, "weight_map": parts}
    (target / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def check(job, result):
    why = expansions.refusal(result)
    if why is not None:
        return why
    before, known = load(job.source)
    after, found = load(job.output)
    if found - known:
        return f"loading says {sorted(found - known)[:3]}"
    given = inputs_for(before)
    return difference(outputs_of(before, given), outputs_of(after, given))
