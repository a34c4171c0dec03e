"""No copy is born dead: what closes it learns at the first step, all the rest of it from the second, and the frozen part never.

The trainable part is chosen by the recipe that the project writes for torch, on the parameters as transformers names them.
"""

import multiprocessing
import shutil

import torch

import expansions
from comparing import load, quiet
from copies import Stack, recipe_fault

# By where the norms stand and how the branches lie.
FAMILIES = {
    "pre-norm": ["llama", "llama@bias", "qwen2", "gpt2", "opt", "granite", "starcoder2"],
    "post-norm": ["gemma2", "gemma3_text", "olmo2", "glm4", "exaone4"],
    "parallel": ["phi", "gptj", "cohere", "gpt_neox", "falcon", "stablelm@bias"],
    "MoE": [
        "mixtral",
        "qwen3_moe",
        "deepseek_v3",
        "gpt_oss",
        "olmoe",
        "granitemoe",
        "llama4_text",
        "qwen2_moe",
    ],
    "hybrid": ["qwen3_next", "lfm2", "jamba", "mamba", "falcon_h1", "nemotron_h"],
    "scaled stream": ["doge"],
}
# Two copies, so that one learns behind the other; where kinds repeat for good, one period.
PLACEMENT = {"jamba": {"add": 4}}
LEARNING_RATE = 0.01


def cases(work):
    members = [member for group in FAMILIES.values() for member in group]
    jobs = [
        expansions.Job("gradients", member, {**PLACEMENT.get(member, {"add": 2}), "masks": ["torch"]}, work)
        for member in members
    ]
    results = expansions.run(jobs, work / "gradients")
    with multiprocessing.Pool(2) as pool:
        for found in pool.imap(check, [(job, results[job.id]) for job in jobs]):
            yield from found
    yield sabotage(work)


def sabotage(work):
    """Zeros on both sides of a product have gradient 0 for ever; the check must see it."""
    job = expansions.Job("dead", "llama", {"add": 1, "masks": ["torch"]}, work)
    result = expansions.run([job], work / "gradients")[job.id]
    title = "a copy that is closed twice is found dead"
    why = expansions.refusal(result)
    if why is not None:
        return title, why
    model, _ = load(job.output, torch.float32)
    trained = Training(model, result["blocks"], job.output)
    trained.recipe()
    with torch.no_grad():
        trained.parameters["model.layers.6.mlp.up_proj.weight"].zero_()
    said = trained.first_step()
    return title, None if said and "mlp" in said and "gradient 0" in said else f"the check said {said}"


def check(task):
    job, result = task
    quiet()
    torch.set_num_threads(1)
    titles = (
        f"{job.member}: the torch recipe names the copies' parameters and no others",
        f"{job.member}: at step 1 the gradient of what closes a copy is not zero, that of the rest of the copy is",
        f"{job.member}: at step 2 every trainable parameter has a gradient, and no frozen one has moved",
    )
    why = expansions.refusal(result)
    if why is not None:
        return [(title, why) for title in titles]
    found = []
    try:
        model, _ = load(job.output, torch.float32)
        trained = Training(model, result["blocks"], job.output)
        for title, step in zip(titles, (trained.recipe, trained.first_step, trained.second_step)):
            found.append((title, step()))
    except Exception as error:  # whatever breaks here breaks for a person who trains
        found += [(title, f"{type(error).__name__}: {error}") for title in titles[len(found) :]]
    shutil.rmtree(job.output, ignore_errors=True)
    return found


class Training:
    """One model between its first and its second step."""

    def __init__(self, model, blocks, directory):
        self.model = model
        self.directory = directory
        self.stack = Stack(model, blocks)
        self.parameters = self.stack.parameters
        self.initial = {name: value.detach().clone() for name, value in self.parameters.items()}
        make = torch.Generator().manual_seed(3)
        self.ids = torch.randint(4, 110, (2, 60), generator=make)

    def recipe(self):
        return recipe_fault(self.model, self.stack, self.directory)

    def backward(self):
        self.model.zero_grad(set_to_none=True)
        loss = self.model(input_ids=self.ids, labels=self.ids, use_cache=False).loss
        loss.backward()

    def first_step(self):
        self.backward()
        for block in self.stack.copies:
            closing = self.stack.closing(block)
            if not closing:
                return f"nothing closes block {block['at']}"
            for inner, value in self.stack.of_block(block["at"]).items():
                name = f"{self.stack.prefix}{block['at']}.{inner}"
                if inner in closing and value.requires_grad:
                    still = self.still(name)
                    if still:
                        return f"{still} has gradient 0"
                elif value.grad is not None and value.grad.count_nonzero():
                    return f"{name} has a gradient"
        return self.frozen_gradient()

    def second_step(self):
        trainable = [value for value in self.parameters.values() if value.requires_grad]
        torch.optim.AdamW(trainable, lr=LEARNING_RATE, weight_decay=0.0).step()
        moved = [
            name
            for name, value in self.parameters.items()
            if not value.requires_grad and not torch.equal(value, self.initial[name])
        ]
        if moved:
            return f"{moved[0]} is frozen and has moved"
        self.backward()
        for name, value in self.parameters.items():
            if value.requires_grad and (still := self.still(name)):
                return f"{still} has gradient 0"
        return self.frozen_gradient()

    def frozen_gradient(self):
        for name, value in self.parameters.items():
            if not value.requires_grad and value.grad is not None:
                return f"{name} is frozen and has a gradient"
        return None

    def still(self, name):
        """The parameter, or the expert of it, that has gradient 0 although tokens reach it; None when there is none."""
        gradient = self.parameters[name].grad
        if gradient is None or not gradient.count_nonzero():
            return None if "expert" in name and not self.matters(name, slice(None)) else name
        if (
            "expert" not in name
            or gradient.dim() < 2
            or ".experts." not in name
            or gradient.dim() == 2
            and name.endswith("weight")
        ):
            return None
        for expert in range(gradient.shape[0]):
            if not gradient[expert].count_nonzero() and self.matters(name, expert):
                return f"expert {expert} of {name}"
        return None

    @torch.no_grad()
    def matters(self, name, part):
        """True when other values of these weights give other logits: then tokens were routed to them."""
        value = self.parameters[name]
        kept = value.detach().clone()
        before = self.model(input_ids=self.ids, use_cache=False).logits
        value[part] = torch.randn(kept[part].shape, generator=torch.Generator().manual_seed(1))
        after = self.model(input_ids=self.ids, use_cache=False).logits
        value.copy_(kept)
        return not torch.equal(before, after)
