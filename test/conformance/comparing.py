"""Source and expanded checkpoint side by side in transformers: same keys found, same numbers out."""

import json
import re
import shutil
import warnings

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import expansions
from copies import Stack, recipe_fault
from zoo_inputs import inputs_for

GENERATED = 6


def quiet():
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def load(directory, dtype="auto"):
    """The model in evaluation mode, and what its loading complained of."""
    config = json.loads((directory / "config.json").read_text())
    model_class = getattr(transformers, config["architectures"][0])
    model, info = model_class.from_pretrained(directory, dtype=dtype, output_loading_info=True)
    return model.eval(), complaints(info)


def complaints(info):
    """Without block numbers: what the source lacks in every block, the copies lack as well."""
    found = set()
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        found |= {f"{kind} {re.sub(r'[0-9]+', '#', str(key))}" for key in info.get(kind) or ()}
    return found


@torch.no_grad()
def outputs_of(model, given):
    """Every number the model puts out, by name."""
    torch.manual_seed(0)
    out = model(**given)
    return {
        name: value for name, value in out.items() if torch.is_tensor(value) and value.is_floating_point()
    }


@torch.no_grad()
def continued(model, given):
    """Greedy tokens and their scores, computed with the model's cache; None where transformers cannot do that."""
    if set(given) != {"input_ids"} or not model.can_generate():
        return None
    ends = {"max_new_tokens": GENERATED, "min_new_tokens": GENERATED, "do_sample": False}
    try:
        out = model.generate(**given, **ends, return_dict_in_generate=True, output_scores=True)
    except Exception:  # the source cannot generate; what the expanded model does is then no question
        return None
    return {"sequences": out.sequences, "scores": torch.stack(out.scores)}


def difference(before, after):
    """None when equal as numbers (-0.0 is 0.0), else what differs."""
    if set(before) != set(after):
        return f"outputs {sorted(before)} became {sorted(after)}"
    for name, expected in before.items():
        found = after[name]
        if expected.shape != found.shape:
            return f"{name} has shape {tuple(found.shape)}, expected {tuple(expected.shape)}"
        if not torch.equal(expected, found):
            return f"{name} differs by {(expected.float() - found.float()).abs().max().item():.3g} at most"
    return None


def sound(outputs):
    """None when the numbers can show a difference at all."""
    if not outputs:
        return "the source gives no numbers"
    for name, value in outputs.items():
        if value.dtype.is_floating_point and torch.isnan(value).any():
            return f"the source gives NaN in {name}"
    return None


def compare_member(task):
    """The cases of one zoo member, for a process pool."""
    member, jobs = task
    quiet()
    torch.set_num_threads(1)
    title = f"{member} computes the same"
    try:
        before, known = load(jobs[0][0].source)
        given = inputs_for(before)
        expected = outputs_of(before, given)
        text = continued(before, given)
        fault = sound(expected)
    except Exception as error:  # the suite's own fault: a failed case
        return [(title, f"the source does not run: {type(error).__name__}: {error}")]
    if fault is not None:
        return [(title, fault)]
    del before
    cases = []
    for job, result in jobs:
        same = f"{title} with {job.words}{', token by token too' if goes_on(job, text) else ''}"
        try:
            cases += compare_one(job, result, same, known, given, expected, text)
        except Exception as error:  # whatever transformers finds wrong with our checkpoint is the finding
            cases.append((same, f"{type(error).__name__}: {error}"))
        shutil.rmtree(job.output, ignore_errors=True)
    return cases


def compare_one(job, result, title, known, given, expected, text):
    why = expansions.refusal(result)
    if why is not None:
        return [(title, why)]
    after, found = load(job.output)
    if found - known:
        return [(title, f"loading says {sorted(found - known)[:3]}")]
    fault = difference(expected, outputs_of(after, given))
    if fault is None and goes_on(job, text):
        again = continued(after, given)
        fault = "it cannot generate" if again is None else difference(text, again)
    cases = [(title, fault)]
    if "masks" in job.options:
        cases.append(
            (
                f"{job.member}: the torch recipe names the copies and nothing else, {job.words}",
                recipe(job, result, after),
            )
        )
    return cases


def goes_on(job, text):
    """One placement of each member also generates, which takes the most time."""
    return text is not None and "every" in job.options


def recipe(job, result, after):
    try:
        return recipe_fault(after, Stack(after, result["blocks"]), job.output)
    except Exception as error:  # the recipe's own assertion, for one
        return f"{type(error).__name__}: {error}"


def sabotage_cases(work):
    """A copy whose output projection is live again must not pass: the comparison can fail."""
    job = expansions.Job("sabotage", "llama", {"after": [2]}, work)
    result = expansions.run([job], work / "sabotage")[job.id]
    title = "a copy with its o_proj restored computes something else"
    why = expansions.refusal(result)
    if why is None:
        before, _ = load(job.source)
        given = inputs_for(before)
        expected = outputs_of(before, given)
        restore(
            job.output, "model.layers.3.self_attn.o_proj.weight", "model.layers.2.self_attn.o_proj.weight"
        )
        after, _ = load(job.output)
        why = "the logits are equal" if difference(expected, outputs_of(after, given)) is None else None
    yield title, why


def restore(directory, name, source):
    """Overwrites one tensor with another's values, whatever files they stand in."""
    values = {}
    for path in directory.glob("*.safetensors"):
        values.update(load_file(path))
    for path in directory.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            if name not in file.keys():
                continue
        tensors = load_file(path)
        tensors[name] = values[source].clone()
        save_file(tensors, path, metadata={"format": "pt"})
