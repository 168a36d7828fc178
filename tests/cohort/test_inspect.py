"""What a store tells people."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from msbatch.cohort.inspect import TEXT_PX, describe, montage, tables
from msbatch.cohort.pack import PackOptions, pack
from msbatch.store import Store

MakeTable = Callable[..., Path]


@pytest.fixture
def packed(cohort: tuple[Path, Path], tmp_path: Path) -> Path:
    pack(*cohort, tmp_path / "c.h5", PackOptions(size_px=24))
    return tmp_path / "c.h5"


@pytest.fixture
def packed_by_cell(cohort: tuple[Path, Path], tmp_path: Path, make_table: MakeTable) -> Path:
    rows = [(f"P{n}/{c}.png", f"P{n}", ("ms", "control")[c % 2], f"b{n % 2}") for n in range(4) for c in range(3)]
    pack(
        cohort[0],
        make_table(("path", "patient", "label", "batch"), *rows),
        tmp_path / "cells.h5",
        PackOptions(size_px=24),
    )
    return tmp_path / "cells.h5"


def text(path: Path) -> str:
    console = Console(width=200, record=True, file=io.StringIO(), soft_wrap=True)
    with Store(path) as store:
        for table in tables(describe(store)):
            console.print(table)
    return console.export_text()


def test_facts_are_json_and_hold_every_patient(packed: Path) -> None:
    with Store(packed) as store:
        facts = json.loads(json.dumps(describe(store)))
    assert facts["classes"] == ["control", "ms"]
    assert (facts["level"], facts["size_px"], facts["cells"]) == ("patient", 24, 12)
    assert (facts["packed"]["scale"], facts["packed"]["cropped"]) == (1.0, 0)
    assert facts["patients"][3] == {
        "patient": "P3",
        "label": "ms",
        "cells": {"control": 0, "ms": 3},
        "covariates": {"sex": "M", "age": "33"},
    }


def test_categories_are_crossed_with_the_label_and_numbers_are_not(packed: Path) -> None:
    with Store(packed) as store:
        assert describe(store)["tables"] == {"sex": {"F": {"control": 1, "ms": 1}, "M": {"control": 1, "ms": 1}}}
    assert "patients by sex and class" in text(packed)


def test_cells_are_counted_where_cells_carry_the_label(packed_by_cell: Path) -> None:
    with Store(packed_by_cell) as store:
        facts = describe(store)
    assert facts["level"] == "cell"
    assert facts["patients"][0]["label"] == "mixed"
    assert facts["tables"] == {"batch": {"b0": {"control": 2, "ms": 4}, "b1": {"control": 2, "ms": 4}}}
    assert "cells by batch and class" in text(packed_by_cell)


def test_the_montage_has_a_row_of_cells_per_patient(packed: Path, tmp_path: Path) -> None:
    with Store(packed) as store:
        montage(store, tmp_path / "m.png", per_patient=2)
        first = store.images("P2")[0]
    picture = np.asarray(Image.open(tmp_path / "m.png"))
    assert picture.shape == (4 * (24 + TEXT_PX), 2 * 24, 3)
    top = 2 * (24 + TEXT_PX)
    assert (picture[top + TEXT_PX : top + TEXT_PX + 24, :24] == first).all()
    assert (picture[top : top + TEXT_PX] < 128).any()  # something is written there
