"""Other people's decoders on files of random blocks: Python's gguf for the ggml types, torch for the floats of 8 bits.

usage: python gguf_decode.py DIR   reads DIR/TYPE.bin, writes DIR/TYPE.f32 for each type that is known; prints the types left out
"""

import pathlib
import sys

import gguf
import numpy
import torch

TORCH = {
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F8_E8M0": torch.float8_e8m0fnu,
    "F64": torch.float64,
    "U8": torch.uint8,
    "I8": torch.int8,
    "U16": torch.uint16,
    "I16": torch.int16,
    "U32": torch.uint32,
    "I32": torch.int32,
}


def decode(name, data):
    if name in TORCH:
        return torch.from_numpy(data).view(TORCH[name]).to(torch.float32).numpy()
    return gguf.quants.dequantize(data, gguf.GGMLQuantizationType[name]).astype(numpy.float32)


numpy.seterr(all="ignore")
for file in sorted(pathlib.Path(sys.argv[1]).glob("*.bin")):
    try:
        values = decode(file.stem, numpy.frombuffer(file.read_bytes(), numpy.uint8).copy())
    except (KeyError, NotImplementedError):
        print(file.stem)
        continue
    file.with_suffix(".f32").write_bytes(values.astype("<f4").tobytes())
