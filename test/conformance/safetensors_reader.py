"""Python's safetensors and torch against our files, and torch's own files for our reader.

usage: python safetensors_reader.py read FILE...   prints, as JSON, what safetensors finds in each file
       python safetensors_reader.py make DIR       writes files of torch.save, and expected.json: type, shape and SHA-256 by tensor
"""

import hashlib
import json
import os
import sys

import safetensors
import torch
from safetensors import safe_open

DTYPES = [
    "float64",
    "float32",
    "float16",
    "bfloat16",
    "complex64",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint64",
    "uint32",
    "uint16",
    "uint8",
    "bool",
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e4m3fnuz",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
    "float4_e2m1fn_x2",
]
TORCH_CANNOT = {"F6_E2M3", "F6_E3M2"}


def raw(tensor):
    flat = tensor.detach().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def digest(data):
    return hashlib.sha256(bytes(data)).hexdigest()


def read(path):
    """The Rust reader checks the header and gives every type; safe_open gives tensors of torch from the same bytes."""
    with open(path, "rb") as file:
        entries = safetensors.deserialize(file.read())
    tensors = {name: [info["dtype"], list(info["shape"]), digest(info["data"])] for name, info in entries}
    with safe_open(path, framework="pt") as file:
        for name, (dtype, _, sha256) in tensors.items():
            if dtype not in TORCH_CANNOT and digest(raw(file.get_tensor(name))) != sha256:
                tensors[name].append("torch reads other bytes")
        return {"metadata": file.metadata(), "tensors": tensors}


def describe(tensor):
    return [str(tensor.dtype).removeprefix("torch."), list(tensor.shape), digest(raw(tensor))]


def noise(generator, dtype, *shape):
    if dtype == torch.bool:
        return torch.randint(0, 2, shape, generator=generator).bool()
    size = torch.empty(0, dtype=dtype).element_size() * torch.Size(shape).numel()
    return torch.randint(0, 256, (size,), dtype=torch.uint8, generator=generator).view(dtype).reshape(shape)


def good_files():
    generator = torch.Generator().manual_seed(1)
    every = {name: noise(generator, getattr(torch, name), 4, 6) for name in DTYPES}
    big = noise(generator, torch.float32, 16, 4)
    weight = noise(generator, torch.bfloat16, 8, 4)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    marked = torch.nn.Parameter(noise(generator, torch.float32, 3, 3))
    marked.note = 1
    for protocol in (2, 3, 4, 5):
        yield f"types-{protocol}", every, {"pickle_protocol": protocol}
    yield "tied", {"embed": weight, "head": weight}, {}
    yield "views", {
        "top": big[:8],
        "middle": big[4:12],
        "row": big[3],
        "scalar": big[2, 1],
        "empty": big[:0],
        "one": big[:1, 2:3],
    }, {}
    yield "parameters", {"a": torch.nn.Parameter(big), "b": marked}, {}
    yield "module", module.state_dict(), {}
    yield "trainer", {
        "state_dict": module.state_dict(),
        "epoch": 3,
        "lr": 0.1,
        "args": {"betas": (0.9, 0.95)},
    }, {}


def bad_files():
    generator = torch.Generator().manual_seed(2)
    weight = noise(generator, torch.float32, 4, 3)
    module = torch.nn.Linear(2, 2)
    marked = noise(generator, torch.float32, 3)
    marked.note = 1
    yield "transposed", {"w": weight.t()}, {}
    yield "expanded", {"w": weight[:1].expand(4, 3)}, {}
    yield "conjugated", {"w": torch.conj(noise(generator, torch.complex64, 2, 2))}, {}
    yield "negated", {"w": torch.conj(noise(generator, torch.complex64, 2)).imag}, {}
    yield "complex128", {"w": torch.zeros(2, dtype=torch.complex128)}, {}
    yield "sparse", {"w": torch.eye(3).to_sparse()}, {}
    yield "meta", {"w": torch.empty(3, device="meta")}, {}
    yield "attributes", {"w": marked}, {}
    yield "whole-module", module, {}
    yield "two-dicts", {"model": module.state_dict(), "ema": module.state_dict()}, {}
    yield "optimizer", {"model": module.state_dict(), "optimizer": {"state": {0: {"exp_avg": weight}}}}, {}
    yield "number", {"w": weight, "scale": 0.5}, {}
    yield "list", [weight], {}
    yield "tensor", weight, {}
    yield "legacy", module.state_dict(), {"_use_new_zipfile_serialization": False}


def make(directory):
    expected = {}
    for name, value, options in good_files():
        torch.save(value, os.path.join(directory, f"{name}.bin"), **options)
        expected[name] = {key: describe(tensor) for key, tensor in value.get("state_dict", value).items()}
    for name, value, options in bad_files():
        torch.save(value, os.path.join(directory, f"bad-{name}.bin"), **options)
    torch.jit.script(torch.nn.Linear(2, 2)).save(os.path.join(directory, "bad-script.bin"))
    with open(os.path.join(directory, "expected.json"), "w") as file:
        json.dump(expected, file)


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2])
    else:
        json.dump({path: read(path) for path in sys.argv[2:]}, sys.stdout)
