"""The synthetic cohort: deterministic, balanced, and different where it should be."""

import csv
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msbatch.cohort.features import FEATURES, measure
from msbatch.cohort.synth import draw_cohort
from msbatch.errors import MsbatchError


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def hashes(folder: Path) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*.*"))]


def test_a_seed_decides_every_byte(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        draw_cohort(tmp_path / name, patients=2, cells=3, seed=seed)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    assert not set(hashes(tmp_path / "a")) & set(hashes(tmp_path / "c"))


def test_both_classes_hold_both_sexes_alike(tmp_path: Path) -> None:
    table = draw_cohort(tmp_path, patients=8, cells=1)
    assert Counter((row["label"], row["sex"]) for row in rows(table)) == {
        (label, sex): 2 for label in ("ms", "control") for sex in "FM"
    }
    assert set(rows(table)[0]) == {"patient", "label", "sex", "age", "batch"}


def test_every_patient_has_the_cells_asked_for_in_a_plausible_size(tmp_path: Path) -> None:
    draw_cohort(tmp_path, patients=3, cells=4)
    for patient in range(3):
        paths = sorted((tmp_path / "images" / f"P{patient:02d}").iterdir())
        assert [path.name for path in paths] == [f"cell_{n:03d}.png" for n in range(4)]
        assert all(70 <= side <= 90 for path in paths for side in np.asarray(Image.open(path)).shape[:2])


def differences(folder: Path, effect: float) -> dict[str, float]:
    """Difference of class means over the spread within a class, for each feature."""
    table = draw_cohort(folder, patients=8, cells=12, effect=effect)
    means: dict[str, list[np.ndarray]] = {"ms": [], "control": []}
    for row in rows(table):
        cells = [measure(np.asarray(Image.open(p))) for p in (folder / "images" / row["patient"]).iterdir()]
        means[row["label"]].append(np.mean(cells, axis=0))
    ms, control = np.array(means["ms"]), np.array(means["control"])
    spread = (ms.std(axis=0) + control.std(axis=0)) / 2
    return dict(zip(FEATURES, np.abs(ms.mean(axis=0) - control.mean(axis=0)) / spread, strict=True))


def test_the_effect_shows_in_shape_and_only_if_asked_for(tmp_path: Path) -> None:
    planted, none = differences(tmp_path / "a", 1.0), differences(tmp_path / "b", 0.0)
    for name in ("circularity", "solidity", "pallor_contrast"):
        assert planted[name] > 3
        assert none[name] < 2


def test_another_cohort_in_the_folder_is_not_overwritten(tmp_path: Path) -> None:
    table = draw_cohort(tmp_path, patients=2, cells=1)
    before = hashes(tmp_path)
    draw_cohort(tmp_path, patients=2, cells=1)  # the same one may be finished
    table.write_text("patient,label\nmine,ms\n")
    with pytest.raises(MsbatchError, match="another cohort"):
        draw_cohort(tmp_path, patients=2, cells=1)
    assert hashes(tmp_path)[1:] == before[1:]
    assert table.read_text() == "patient,label\nmine,ms\n"
