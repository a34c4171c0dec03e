"""What the Python package gguf finds in a GGUF file, as JSON: metadata with types, and each tensor's shape, type, offset and SHA-256.

usage: python gguf_reader.py FILE
"""

import hashlib
import json
import sys

from gguf import GGUFReader, GGUFValueType


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


def read(path):
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
            "sha256": hashlib.sha256(tensor.data.tobytes()).hexdigest(),
        }
        for tensor in reader.tensors
    ]
    return {"alignment": int(reader.alignment), "metadata": fields, "tensors": tensors}


if __name__ == "__main__":
    json.dump(read(sys.argv[1]), sys.stdout)
