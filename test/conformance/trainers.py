#!/usr/bin/env python3
"""Other people's trainers run what `train --export` writes, and change nothing but the copies.

    python trainers.py WORK

accelerate runs with two processes on the CPU, in this Python. ms-swift and axolotl run in environments of their own, made in WORK, where they
install, with this Python's torch. What each README says to do with the result is done.
One line per case: "ok TITLE" or "not ok TITLE: WHY"; the exit status is 1 if any failed.
"""

import json
import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

from safetensors import safe_open

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
STORIES = ROOT.parent / "shared" / "data" / "stories260K" / "hf"
PACKAGES = "import sysconfig; print(sysconfig.get_path('purelib'))"
SWIFT = ["ms-swift==4.6.0"]
# Without the parts of it that serve clouds and GPUs: none of them is met on the way.
AXOLOTL = ["--no-deps", "axolotl==0.19.0"]
AXOLOTL_NEEDS = """transformers==5.16.1 accelerate==1.13.0 datasets==4.8.4 peft==0.20.0 trl==1.9.0 kernels<0.17 pydantic addict fire colorama
evaluate python-dotenv posthog typer schedulefree art fastcore nvidia-ml-py mistral-common numba scipy bitsandbytes triton wandb einops
huggingface_hub requests PyYAML axolotl-contribs-lgpl axolotl-contribs-mit""".split()


def run(words, **more):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, **more)
    if done.returncode != 0:
        raise RuntimeError(f"{words[0]} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-800:]}")
    return done.stdout


def expand_checkpoint(*words):
    return run(["node", ROOT / "bin" / "expand-checkpoint.js", *words, "--no-progress"])


def tensors(directory):
    found = {}
    for file in sorted(directory.glob("*.safetensors")):
        with safe_open(file, "pt") as stored:
            for name in stored.keys():
                tensor = stored.get_tensor(name)
                found[name] = (tensor.dtype, tuple(tensor.shape), tensor.view(-1).numpy().tobytes())
    return found


def only_copies_changed(expanded, trained):
    before, after = tensors(expanded), tensors(trained)
    mask = json.loads((expanded / "mask.json").read_text())["tensors"]
    assert before.keys() == after.keys(), f"tensors differ: {sorted(before.keys() ^ after.keys())[:3]}"
    for name, state in mask.items():
        changed = before[name] != after[name]
        assert changed == (state == "trainable"), f"{name} is {state} and {'changed' if changed else 'did not change'}"
    assert any(state == "trainable" for state in mask.values())


def as_the_readme_says(out):
    """The commands that follow its last words: the settings put back, and the proof."""
    _, last = (out / "README.md").read_text().split("put back the model's.")
    settings, proof = [line.strip() for line in last.splitlines() if line.startswith("    ")]
    run(["bash", "-c", settings], cwd=out)
    words = proof.removeprefix("expand-checkpoint ")
    run(["bash", "-c", f"node {shlex.quote(str(ROOT / 'bin' / 'expand-checkpoint.js'))} {words} --no-progress"], cwd=out)


def corpus(work):
    """This project's own sources, one document a file."""
    file = work / "code.jsonl"
    sources = sorted((ROOT / "src").rglob("*.ts"))[:80]
    file.write_text("".join(json.dumps({"text": source.read_text()}) + "\n" for source in sources))
    return file


def export(trainer, expanded, work, text):
    out = work / trainer
    lengths = ["--context", 128, "--batch", 2, "--accumulate", 2, "--steps", 6, "--lr", "1e-3", "--dtype", "f32"]
    expand_checkpoint("train", expanded, out, "--export", trainer, "--corpus", text, *lengths)
    return out


def accelerate(expanded, work, text):
    out = export("accelerate", expanded, work, text)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    run(["bash", "train.sh", "--nproc_per_node", "2"], cwd=out, env={**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1"})
    only_copies_changed(expanded, out / "out")
    as_the_readme_says(out)


def ms_swift(expanded, work, text, environment):
    out = export("ms-swift", expanded, work, text)
    path = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    words = ["bash", "train.sh", "--model_type", "llama"]
    run(words, cwd=out, env={**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1"})
    only_copies_changed(expanded, out / "out" / "last-checkpoint")
    as_the_readme_says(out)


def axolotl(expanded, work, text, environment):
    out = export("axolotl", expanded, work, text)
    quiet = {"AXOLOTL_DO_NOT_TRACK": "1", "DO_NOT_TRACK": "1", "WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1"}
    run([environment / "bin" / "python", "-m", "axolotl.cli.train", "train.yaml"], cwd=out, env={**os.environ, **quiet})
    only_copies_changed(expanded, out / "out")
    as_the_readme_says(out)


def installed(work, name, *steps):
    """An environment on top of this Python's packages (torch is large), or None where it cannot be had."""
    environment = work / f"{name}-environment"
    try:
        run([sys.executable, "-m", "venv", environment])
        own = run([environment / "bin" / "python", "-c", PACKAGES]).strip()
        (Path(own) / "below.pth").write_text(sysconfig.get_path("purelib"))
        pip = [environment / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for packages in steps:
            run([*pip, *packages])
        return environment
    except RuntimeError as error:
        print(f"# {name} does not install here, and is left out: {error}", flush=True)
        return None


def main():
    work = Path(sys.argv[1])
    work.mkdir(parents=True, exist_ok=True)
    source = STORIES if STORIES.is_dir() else ROOT / "fixtures" / "llama"
    print(f"# the model is {source.parent.name}/{source.name}")
    expanded = work / "expanded"
    expand_checkpoint("expand", source, expanded, "--add", 2)
    text = corpus(work)
    cases = [("accelerate, two processes: only the copies change", lambda: accelerate(expanded, work, text))]
    swift = installed(work, "ms-swift", SWIFT)
    if swift is not None:
        cases.append(("ms-swift: only the copies change", lambda: ms_swift(expanded, work, text, swift)))
    other = installed(work, "axolotl", AXOLOTL_NEEDS, AXOLOTL)
    if other is not None:
        cases.append(("axolotl: only the copies change", lambda: axolotl(expanded, work, text, other)))
    failed = 0
    for title, case in cases:
        try:
            case()
            print(f"ok {title}", flush=True)
        except Exception as error:  # noqa: BLE001: whatever goes wrong is this case's failure
            failed += 1
            print(f"not ok {title}: {error}", flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
