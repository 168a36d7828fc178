"""What runs in place of Slurm's commands in tests: it takes jobs, runs none, and answers as fake_slurm.py wants.

Called as ``slurm_program.py FOLDER COMMAND WORDS...``; all that it knows lies in that folder.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FULL = "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed"
LATE = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
ENDED = "ENDED"  # of a job that is known by its name only
SLOW_S = 1


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let nobody else read or change what the stand-in knows."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / f"{name}.json").read_text())


def write(folder: Path, name: str, value: Any) -> None:
    (folder / f"{name}.json").write_text(json.dumps(value))


def row(
    number: str, state: str, reason: str = "", left: str = "1:00", node: str = "", name: str = ""
) -> dict[str, str]:
    """Give a job or an element as the queue holds it."""
    array, _, index = number.partition("_")
    job = str(int(array) + 1000 * int(index or 0))
    return {"F": array, "K": index or "N/A", "A": job, "T": state, "r": reason, "L": left, "N": node, "name": name}


def sbatch(folder: Path, words: Sequence[str]) -> None:
    if words[0] == "--version":
        print("slurm 22.05.8")
    elif words[0] != "--test-only":
        _take(folder, Path(words[-1]).read_text())


def _take(folder: Path, text: str) -> None:
    jobs, mood = read(folder, "jobs"), read(folder, "mood")
    wish = dict(re.findall(r"#SBATCH --([a-z-]+)=(.*)", text))
    name, number, tasks = wish["job-name"].strip("'"), 100 + len(jobs), _elements(wish)
    if mood.startswith("holds ") and len(jobs) >= int(mood.split()[1]):
        sys.exit(FULL)
    if mood.startswith("takes ") and "array" in wish and len(jobs) >= int(mood.split()[1]):
        sys.exit(FULL)
    if mood == "kills before":
        os.kill(os.getppid(), signal.SIGKILL)
        sys.exit(1)
    inside = sorted(key for key in os.environ if key.startswith(("SLURM_", "SBATCH_")) and key != "SLURM_CONF")
    write(folder, "jobs", [*jobs, {"job": number, "name": name, "tasks": tasks, "wish": wish, "inside": inside}])
    numbers = [f"{number}_{index}" for index in range(tasks)] if "array" in wish else [str(number)]
    new = [row(element, "PENDING", "Priority", name=name) for element in numbers]
    write(folder, "queue", [*read(folder, "queue"), *new])
    if mood == "kills":
        os.kill(os.getppid(), signal.SIGKILL)
    if mood == "mumbles":
        sys.exit(LATE)
    print("Submitted batch job", number)


def _elements(wish: dict[str, str]) -> int:
    first, last = re.match(r"(\d+)-(\d+)", wish.get("array", "0-0")).groups()  # type: ignore[union-attr]
    return int(last) - int(first) + 1


def squeue(folder: Path, words: Sequence[str]) -> None:
    name, form = _value(words, "--name"), _value(words, "--format") or "%F"
    for job in read(folder, "queue"):
        if name in ("", job["name"]) and ("--states=all" in words or job["T"] != ENDED):
            print(_shown(job, form))


def _shown(job: dict[str, str], form: str) -> str:
    return re.sub("%([FKATrLNj])", lambda mark: job["name" if mark[1] == "j" else mark[1]], form)


def scancel(folder: Path, words: Sequence[str]) -> None:
    queue = read(folder, "queue")
    for job in queue:
        if {job["F"], f"{job['F']}_{job['K']}"} & set(words):
            job["T"] = ENDED
    write(folder, "queue", queue)


def sacct(folder: Path, words: Sequence[str]) -> None:
    if not _value(words, "--name"):
        print("\n".join(read(folder, "accounts")))


def scontrol(folder: Path, words: Sequence[str]) -> None:  # noqa: ARG001
    for key, value in read(folder, "config").items():
        print(f"{key:<23} = {value}")


COMMANDS = {"sbatch": sbatch, "squeue": squeue, "scancel": scancel, "sacct": sacct, "scontrol": scontrol}


def _value(words: Sequence[str], option: str) -> str:
    return words[words.index(option) + 1] if option in words else ""


def main(folder: Path, command: str, *words: str) -> None:
    if command == "sbatch" and read(folder, "mood") == "slow":
        time.sleep(SLOW_S)
    with locked(folder):
        with (folder / "calls").open("a") as calls:
            calls.write(f"{' '.join([command, *words])}\n")
        refusals = read(folder, "refusals")
        for refused in (command, f"{command} {words[0]}"):
            if refused in refusals:
                sys.exit(refusals[refused])
        COMMANDS[command](folder, words)
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
