#!/usr/bin/env python3
"""Checkpoints that transformers made, expanded by this project, must compute in transformers what they computed before.

    python transformers_identity.py WORK [MEMBER ...]

WORK keeps the models (they are made once) and the expanded checkpoints. With members of zoo.py named, only they are compared and the
other parts are left out. One line per case: "ok TITLE" or "not ok TITLE: WHY"; the exit status is 1 if any failed.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import multiprocessing
import sys
import time
from pathlib import Path

import torch

import comparing
import expansions
import gradients
import stories
import torch_files
import zoo
from expectations import REFUSED, REFUSED_PLACEMENTS, layouts_of

PROCESSES = 2
# Refusals that are also asked for on the command line.
TYPED = ("bert", "minimax", "diffllama", "gemma3n_text")


def make_zoo(models, names):
    """Writes what is not there yet; a model that cannot be made is a failed case, never a missing one."""
    missing = [name for name in names if not (models / name / "config.json").exists()]
    with multiprocessing.Pool(PROCESSES) as pool:
        made = pool.imap_unordered(make_one, [(name, models) for name in missing], chunksize=4)
        return {name: why for name, why in made if why is not None}


def make_one(task):
    name, models = task
    try:
        zoo.write(name, models)
        return name, None
    except Exception as error:  # reported by the caller as a failed case
        return name, f"transformers cannot make it: {error}"


def refusal_jobs(names, work):
    """(job, fragment of the message, exit code) for whole models and for single placements that must be refused."""
    models = [
        (expansions.Job("refused", name, {}, work), REFUSED[name], 3) for name in names if name in REFUSED
    ]
    placements = []
    for name in names:
        if name in REFUSED_PLACEMENTS:
            options, fragment = REFUSED_PLACEMENTS[name]
            placements.append((expansions.Job("refused", name, options, work), fragment, 2))
    return models + placements


def refusal_cases(expected, results):
    for job, fragment, code in expected:
        result = results[job.id]
        error = result.get("error", {"exitCode": 0, "message": f"expanded, {result.get('verdict')}"})
        why = None
        if error["exitCode"] != code:
            why = f"expected exit code {code}, found {error['exitCode']}: {error['message']}"
        elif fragment not in error["message"]:
            why = f'expected a message with "{fragment}", found "{error["message"]}"'
        elif result["leftBehind"]:
            why = "something was left at the output path"
        yield f"{job.member} is refused with {job.words}, and nothing is left behind", why


def command_cases(work):
    for name in TYPED:
        output = work / "typed" / name
        status, said = expansions.command_line(work / "models" / name, output, "--add", 2)
        why = None
        if status != 3 or REFUSED[name] not in " ".join(said.split()):
            why = f"exit status {status}: {said}"
        elif output.exists():
            why = "something was left at the output path"
        yield f"the command refuses {name} with exit status 3 and its reason", why


def identity_jobs(names, work):
    """One expansion per member, stack and placement; the first of each stack with a recipe for torch."""
    jobs = []
    for name in names:
        seen = set()
        for options in [] if name in REFUSED else layouts_of(name):
            recipe = {} if options.get("stack") in seen else {"masks": ["torch"]}
            seen.add(options.get("stack"))
            jobs.append(expansions.Job("identity", name, {**options, **recipe}, work))
    return jobs


def identity_cases(jobs, results):
    """Loads and compares in several processes; one member's layouts share the run of the source."""
    members = {}
    for job in jobs:
        members.setdefault(job.member, []).append((job, results[job.id]))
    with multiprocessing.Pool(PROCESSES) as pool:
        for cases in pool.imap_unordered(comparing.compare_member, members.items(), chunksize=2):
            yield from cases


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("members", nargs="*")
    args = parser.parse_args()
    comparing.quiet()
    torch.set_num_threads(1)
    work = args.work.resolve()
    models = work / "models"
    names = args.members or list(zoo.MODELS)
    started = time.monotonic()
    counts = {"ok": 0, "not ok": 0}
    proven = set()

    def report(cases):
        for title, why in cases:
            counts["ok" if why is None else "not ok"] += 1
            print(
                f"ok {title}" if why is None else f"not ok {title}: {' '.join(str(why).split())[:600]}",
                flush=True,
            )
            if why is None and "computes the same" in title:
                proven.add(title.split(" ")[0].split("@")[0])

    def phase(text):
        print(f"# {time.monotonic() - started:.0f} s: {text}", flush=True)

    phase(f"making {len(names)} models")
    unmade = make_zoo(models, names)
    report((f"{name} is made", why) for name, why in unmade.items())
    made = [name for name in names if name not in unmade]
    jobs, refused = identity_jobs(made, work), refusal_jobs(made, work)
    phase(f"{len(jobs) + len(refused)} expansions")
    results = expansions.run([*jobs, *(job for job, _, _ in refused)], work / "jobs")
    phase("refusals")
    report(refusal_cases(refused, results))
    phase("logits")
    report(identity_cases(jobs, results))
    if not args.members:
        for text, cases in (
            ("the command line", command_cases(work)),
            ("gradients", gradients.cases(work)),
            ("torch files", torch_files.cases(work)),
            ("the checks themselves", comparing.sabotage_cases(work)),
            ("real weights", stories.cases(work)),
        ):
            phase(text)
            report(cases)
        enough = None if len(proven) >= 30 else f"only {len(proven)}"
        report([(f"at least 30 model types ({len(proven)}) are proven", enough)])
    phase(f"{counts['ok']} ok, {counts['not ok']} not ok")
    return 1 if counts["not ok"] else 0


if __name__ == "__main__":
    sys.exit(main())
