"""The study that nobody disturbs: all others must come to its tables."""

import shutil
from pathlib import Path

from grounds import Grounds
from slurm_cluster import USER
from study import BACKBONE, SETTINGS, TABLES, TASKS

from msbatch.cohort.pack import PackOptions, pack
from msbatch.cohort.synth import draw_cohort


def run_undisturbed(base: Path, grounds: Grounds) -> None:
    """Draw the cohort and run the study on this machine; what is there already stays."""
    local = base / "local"
    if not (local / "cohort.h5").is_file():
        table = draw_cohort(local, patients=TASKS, cells=12, seed=1)
        pack(local / "images", table, local / "cohort.h5", PackOptions(size_px=48))
        (local / "msbatch.toml").write_text(SETTINGS)
        shutil.rmtree(local / "images")
        grounds.root("chown", "--recursive", f"{USER}:", base)
    if not (base / "expected").is_dir():
        grounds.run("msbatch", "submit", "--local", "--backbones", BACKBONE, cwd=local, timeout=1800)
        for name in TABLES:
            (base / "made").mkdir(exist_ok=True)
            shutil.copy(next((local / "runs").glob(f"*/results/{name}")), base / "made")
        (base / "made").rename(base / "expected")
