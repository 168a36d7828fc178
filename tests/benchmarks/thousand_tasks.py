"""Processor time and memory of the commands that handle a whole study, at 500 patients with 2 backbones.

From the root of the checkout: ``PYTHONPATH=tests python tests/benchmarks/thousand_tasks.py``
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from fake_slurm import FakeSlurm
from runs import make_plan, make_store, predict_all
from test_thousand_tasks import BACKBONES, LARGE, SUBMIT, mixed

from msbatch.layout import RunDir
from msbatch.plan import save_plan


def measure(*words: str) -> None:
    """Run one command of msbatch and print what it took."""
    process = subprocess.Popen([sys.executable, "-m", "msbatch", *words], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds, memory = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
    print(f"{' '.join(words):<100} exit {process.returncode}  {seconds:5.1f} s  {memory:4.0f} MB", flush=True)


def main(folder: Path) -> None:
    """Measure on a stand-in for Slurm, whose own time counts as well."""
    os.chdir(folder)
    slurm = FakeSlurm(folder / "slurm")
    os.environ["PATH"] = f"{slurm.folder}{os.pathsep}{os.environ['PATH']}"
    make_store(Path("cohort.h5"), LARGE)
    measure(*SUBMIT, "--dry-run")
    measure(*SUBMIT, "--yes")
    plan, run = make_plan(LARGE, BACKBONES), RunDir(Path("mixed"))
    save_plan(run.plan, plan)
    mixed(run, plan, slurm)
    measure("status", "mixed", "--json")
    measure("status", "mixed")
    logits = {patient: [2.0 * label - 1 for label in own] for patient, own in LARGE.items()}
    predict_all(run, plan, LARGE, dict.fromkeys(BACKBONES, logits))
    measure("reduce", "mixed")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
