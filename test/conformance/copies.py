"""The copies of an expanded model as transformers holds it: found by position and value, never by the project's own naming."""

import runpy

import torch


class Stack:
    """The expanded stack of blocks inside a model. `blocks` is the plan's list."""

    def __init__(self, model, blocks):
        self.parameters = dict(model.named_parameters())
        self.blocks = blocks
        self.copies = [block for block in blocks if block["kind"] == "copy"]
        self.prefix = self.find(model)

    def find(self, model):
        lists = [
            f"{name}."
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.ModuleList) and len(module) == len(self.blocks)
        ]
        found = [prefix for prefix in lists if all(self.is_copy(prefix, block) for block in self.copies)]
        if len(found) != 1:
            raise RuntimeError(
                f"expected one stack of {len(self.blocks)} blocks with these copies, found {found}"
            )
        return found[0]

    def source_of(self, block):
        return next(b["at"] for b in self.blocks if b["kind"] == "original" and b["from"] == block["from"])

    def is_copy(self, prefix, block):
        ours, theirs = self.of_block(block["at"], prefix), self.of_block(self.source_of(block), prefix)
        return any(
            inner in theirs and same(value, theirs[inner]) and value.std() > 0
            for inner, value in ours.items()
        )

    def of_block(self, index, prefix=None):
        """Name inside the block -> parameter."""
        start = f"{self.prefix if prefix is None else prefix}{index}."
        return {
            name[len(start) :]: value for name, value in self.parameters.items() if name.startswith(start)
        }

    def closing(self, block):
        """Names of a copy's parameters whose values are not those of its source block."""
        theirs = self.of_block(self.source_of(block))
        return {
            inner for inner, value in self.of_block(block["at"]).items() if not same(value, theirs[inner])
        }

    def trainable(self):
        """Every parameter of the copies but the scales of the stream, which must keep their value."""
        names = set()
        for block in self.copies:
            held = {
                entry["tensor"].split(f".{block['at']}.", 1)[1]
                for entry in block["zeroed"]
                if entry["factor"] == "stream-scale"
            }
            names |= {
                f"{self.prefix}{block['at']}.{inner}"
                for inner in self.of_block(block["at"])
                if inner not in held
            }
        return names


def same(a, b):
    return a.shape == b.shape and torch.equal(a, b)


def recipe_fault(model, stack, directory):
    """Runs the recipe that the project wrote for torch. None when it makes exactly the copies trainable."""
    runpy.run_path(str(directory / "mask-torch.py"), {"model": model})
    expected = stack.trainable()
    found = {name for name, value in stack.parameters.items() if value.requires_grad}
    if expected == found:
        return None
    return f"missing {sorted(expected - found)[:3]}, too many {sorted(found - expected)[:3]}"
