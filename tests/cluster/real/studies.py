"""Small studies for the real cluster: a cohort under a telling name, its settings, and waiting for the queue."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slurm_cluster import USER, Cluster, Done

from msbatch.layout import RunDir, list_runs

CANARY = "Canarywitz"
PATIENTS = 6

SETTINGS = """
[training]
batch_size = 8
steps = 24
eval_every = 6
input_px = 32
tta = false
[weights]
pretrained = false
[compute]
processes = 2
[cluster]
time_min = 10
mem_gb = 2
signal_lead_s = 60
array_parallelism = 4
reducer_mem_gb = 1
image = "{image}"
scratch = "{scratch}"
"""

DRAW = f"""
import csv, sys
from pathlib import Path
from msbatch.cohort.synth import draw_cohort
table = draw_cohort(Path("."), patients={PATIENTS}, cells=6, seed=1)
rows = list(csv.DictReader(table.open()))
for row in rows:
    own = Path("images") / row["patient"]
    row["patient"] = "{CANARY}-" + row["patient"]
    own.rename(own.with_name(row["patient"]))
with table.open("w", newline="") as out:
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
"""


def make_study(cluster: Cluster, folder: Path) -> None:
    """Draw and pack a cohort whose patients all have the canary in their names, and write settings."""
    cluster.run("python", "-c", DRAW, cwd=folder)
    cluster.run("msbatch", "pack", "images", "--table", "cohort.csv", "-o", "cohort.h5", "--size", "48", cwd=folder)
    (folder / "msbatch.toml").write_text(SETTINGS.format(image=cluster.image, scratch=cluster.work / "scratch"))


def submit(cluster: Cluster, folder: Path, *options: str, check: bool = True) -> Done:
    """Submit from a folder, as its user types it."""
    return cluster.run("msbatch", "submit", "--yes", *options, cwd=folder, check=check)


def newest_run(folder: Path) -> RunDir:
    """Give the newest run of a study's folder."""
    return list_runs(folder / "runs")[-1]


def wait_until_idle(cluster: Cluster, seconds: float = 600) -> None:
    """Wait until none of the user's jobs is queued or running."""
    queue = ["squeue", "--noheader", "--user", USER]
    cluster.wait(lambda: not cluster.run(*queue).stdout.strip(), seconds)


def status(cluster: Cluster, folder: Path) -> Any:
    """Give what `msbatch status --json` says."""
    return json.loads(cluster.run("msbatch", "status", "--json", cwd=folder).stdout)


def tables(run: RunDir) -> dict[str, bytes]:
    """Give the tables of a run."""
    return {path.name: path.read_bytes() for path in sorted(run.results.glob("*.csv"))}


def told_to_others(run: RunDir) -> list[Path]:
    """Name what says who the patients are and may not, or what others may read, of all that is in a run."""
    may = ("plan.json", "predictions.csv", "predictions.json")
    naming = [path for path, content in files([run.root]).items() if CANARY.encode() in content]
    found = [path for path in naming if path.name not in may and not path.is_relative_to(run.results)]
    found += [path for path in run.root.rglob("*") if CANARY in path.name]
    return found + [path for path in [run.root, *run.root.rglob("*")] if path.lstat().st_mode & 0o077]


def files(folders: Sequence[Path]) -> dict[Path, bytes]:
    """Give all files below some folders."""
    return {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}
