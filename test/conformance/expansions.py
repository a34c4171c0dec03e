"""Runs the project on many checkpoints: one Node process for all of them."""

import json
import subprocess
from pathlib import Path

from expectations import words_of

HERE = Path(__file__).resolve().parent


class Job:
    """One expansion. `part` keeps what different parts of the suite do with the same member apart."""

    def __init__(self, part, member, options, work, source=None):
        self.member = member
        self.words = words_of(options)
        self.options = options
        self.source = Path(source or work / "models" / member)
        self.id = f"{part}/{member}/{self.words.replace(' ', '_')}"
        self.output = work / "expanded" / self.id


def run(jobs, folder):
    """Job id -> what expand-all.ts says of it. Every job has a result, or this raises."""
    folder.mkdir(parents=True, exist_ok=True)
    asked, answered = folder / "jobs.json", folder / "results.json"
    answered.unlink(missing_ok=True)
    # What an earlier run of the suite left would be taken for a run to resume.
    for job in jobs:
        job.output.parent.mkdir(parents=True, exist_ok=True)
    asked.write_text(
        json.dumps(
            [
                {
                    "id": j.id,
                    "source": str(j.source),
                    "output": str(j.output),
                    "options": {"force": True, **j.options},
                }
                for j in jobs
            ]
        )
    )
    command = ["npx", "tsx", str(HERE / "expand-all.ts"), str(asked), str(answered)]
    subprocess.run(command, cwd=HERE.parent.parent, check=True)
    results = {result["id"]: result for result in json.loads(answered.read_text())}
    missing = [job.id for job in jobs if job.id not in results]
    if missing:
        raise RuntimeError(f"no result for {missing[:3]}")
    return results


def command_line(*words):
    """The command as a person runs it: (exit status, what it printed on standard error)."""
    code = 'import { main } from "./src/cli/main.ts"; process.exitCode = await main(process.argv.slice(1));'
    command = ["node", "--import", "tsx", "--input-type=module", "-e", code, *map(str, words)]
    done = subprocess.run(command, cwd=HERE.parent.parent, capture_output=True, text=True)
    return done.returncode, done.stderr


def refusal(result):
    """Why a job that should have succeeded did not; None when it did."""
    if "error" in result:
        return f"{result['error']['tag']}: {result['error']['message']} {result['error']['fix']}"
    if result["verdict"] != "identity":
        return f"{result['verdict']}: {result['findings'][:3]}"
    return f"recipe refused: {result['refused']}" if result["refused"] else None
