"""Stand-ins for Slurm's commands: a folder of programs that keep their queue in a file beside them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """#!{python}
import json, os, re, sys
from pathlib import Path
here = Path(__file__).resolve().parent
name, words, mood = Path(sys.argv[0]).name, sys.argv[1:], (here / "mood").read_text()
queue = json.loads((here / "queue.json").read_text())

def value(option):
    return words[words.index(option) + 1] if option in words else ""

def save():
    (here / "queue.json").write_text(json.dumps(queue))

if mood == "deaf":
    sys.exit("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
if name == "sbatch":
    text = Path(words[-1]).read_text()
    wish = dict(re.findall(r"#SBATCH --([a-z-]+)=(.*)", text))
    inside = sorted(key for key in os.environ if key.startswith("SLURM_") and key != "SLURM_CONF")
    if mood == "refuses":
        sys.exit("sbatch: error: invalid partition specified: gpuu\\nsbatch: error: Invalid partition name specified")
    if mood.startswith("takes ") and "--array=" in text and len(queue) >= int(mood.split()[1]):
        sys.exit("sbatch: error: AssocMaxSubmitJobLimit\\nsbatch: error: Batch job submission failed")
    if mood == "holds one job" and queue:
        sys.exit("sbatch: error: AssocMaxSubmitJobLimit\\nsbatch: error: Batch job submission failed")
    if mood == "drops":
        sys.exit("sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)")
    number = 100 + len(queue)
    first, last = re.match(r"(\\d+)-(\\d+)", wish["array"]).groups() if "array" in wish else (0, 0)
    tasks = int(last) - int(first) + 1
    job = {{"job": number, "name": wish["job-name"].strip("'"), "tasks": tasks, "state": "PENDING"}}
    queue.append({{**job, "wish": wish, "inside": inside}})
    save()
    if mood == "kills":
        os.kill(os.getppid(), 9)
    if mood == "mumbles":
        sys.exit("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation")
    print("Submitted batch job", number)
elif name == "squeue":
    for job in queue:
        if value("--name") and job["name"] != value("--name"):
            continue
        if job["state"] == "GONE":
            continue
        for index in range(job["tasks"]):
            shown = str(index) if job["tasks"] > 1 else "N/A"
            line = value("--format")
            marks = {{"F": job["job"], "K": shown, "A": job["job"] + 1000 * index, "T": job["state"]}}
            for mark, text in {{**marks, "r": "Priority", "L": "1:00", "N": ""}}.items():
                line = line.replace("%" + mark, str(text))
            print(line)
elif name == "scontrol":
    print("MaxArraySize            =", (here / "max_array_size").read_text())
elif name == "scancel":
    for job in queue:
        if str(job["job"]) in words:
            job["state"] = "GONE"
    save()
elif name == "sacct":
    sys.exit("Slurm accounting storage is disabled")
"""


class FakeSlurm:
    """A Slurm that takes jobs and runs none.

    Its mood: ``fine``; ``refuses`` sbatch; ``mumbles``: takes a job, but tells sbatch that it timed out;
    ``drops``: tells sbatch that it cannot be reached; ``deaf``: answers nobody;
    ``takes 1``: refuses a second array; ``holds one job``: and a reducer; ``kills``: takes a job and kills who asks.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in ("sbatch", "srun", "squeue", "scontrol", "scancel", "sacct"):
            program = folder / name
            program.write_text(PROGRAM.format(python=sys.executable))
            program.chmod(0o755)
        self.set(queue="[]", mood="fine", max_array_size="1001")

    def set(self, queue: str | None = None, mood: str | None = None, max_array_size: str | None = None) -> None:
        files = {"queue.json": queue, "mood": mood, "max_array_size": max_array_size}
        for name, text in files.items():
            if text is not None:
                (self.folder / name).write_text(text)

    def jobs(self) -> list[dict[str, Any]]:
        return list(json.loads((self.folder / "queue.json").read_text()))

    def end_all(self) -> None:
        self.set(queue=json.dumps([{**job, "state": "GONE"} for job in self.jobs()]))


@pytest.fixture
def fake_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    fake = FakeSlurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", str(fake.folder), prepend=":")
    return fake
