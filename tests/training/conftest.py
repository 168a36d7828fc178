"""A small packed cohort and runs on it, for the tests of the training stage."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tasks import stop_all

from msbatch.cohort.folds import draw_plan
from msbatch.cohort.pack import PackOptions, pack
from msbatch.cohort.synth import draw_cohort
from msbatch.layout import RunDir
from msbatch.plan import save_plan
from msbatch.settings_file import parse_settings

TINY = {"batch_size": 8, "steps": 20, "lr": 1e-3, "input_px": 32, "tta": False}

MakeRun = Callable[..., RunDir]


@pytest.fixture(scope="session")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    table = draw_cohort(folder, patients=6, cells=8, seed=1)
    pack(folder / "images", table, folder / "cohort.h5", PackOptions(size_px=48))
    return folder / "cohort.h5"


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    yield
    stop_all()


@pytest.fixture(scope="session")
def make_run_in(store_path: Path) -> Callable[[Path], MakeRun]:
    """Make runs in a folder that outlives a test."""

    def runs_in(folder: Path) -> MakeRun:
        def make(
            name: str,
            backbone: str = "test_vit",
            compute: dict[str, Any] | None = None,
            augment: dict[str, Any] | None = None,
            **training: Any,
        ) -> RunDir:
            values = {
                "plan": {"backbones": [backbone], "seed": 3},
                "training": {**TINY, **training},
                "weights": {"pretrained": False, "dir": str(folder / "weights")},
                "compute": compute or {},
                "augment": augment or {},
            }
            run = RunDir(folder / name)
            save_plan(run.plan, draw_plan(store_path, parse_settings(values, "test")))
            return run

        return make

    return runs_in


@pytest.fixture
def make_run(make_run_in: Callable[[Path], MakeRun], tmp_path: Path) -> MakeRun:
    return make_run_in(tmp_path)
