"""Heads of features in files, with matrices in temporary files, against those in memory; and what memory they take."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from heads import Noise, draw

from msbatch.results.decomposition import decompose
from msbatch.results.head import fit_head
from msbatch.results.matrix import StackedRows
from msbatch.results.permutation import association, beyond_nuisance

SIZES = [7, 9, 12, 5, 8, 6]


def save(folder: Path, cohort: Noise) -> StackedRows:
    paths = [folder / f"{name}.npy" for name in cohort.names]
    for name, path in zip(cohort.names, paths, strict=True):
        np.save(path, cohort.features[cohort.groups == name])
    return StackedRows(paths)


@pytest.mark.parametrize("nuisance_columns", [0, 2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("columns", [4, 90])
def test_files_say_what_memory_says(tmp_path: Path, monkeypatch, columns, weighted, nuisance_columns) -> None:
    cohort = draw(1, SIZES, columns, effect=0.3)
    rng = np.random.default_rng(0)
    options = {
        "weights": rng.uniform(0.5, 2, 47) if weighted else None,
        "nuisance": rng.normal(100, 5, (47, nuisance_columns)),
    }
    expected = fit_head(cohort.features, cohort.groups, **options)
    monkeypatch.setattr("msbatch.results.matrix._BLOCK", 11 * columns)
    rows = save(tmp_path, cohort)
    head = fit_head(rows, cohort.groups, **options, budget_bytes=0)
    assert head.penalty == pytest.approx(expected.penalty, rel=1e-12)
    for own, other in (
        (head.cell_scores(cohort.labels), expected.cell_scores(cohort.labels)),
        (head.score_map(), expected.score_map()),
        (head.leverage, expected.leverage),
    ):
        np.testing.assert_allclose(own, other, rtol=0, atol=1e-9)
    assert association(head, cohort.labels) == association(head, cohort.labels)
    assert association(head, cohort.labels).p == association(expected, cohort.labels).p


def test_beyond_nuisance_takes_files(tmp_path: Path) -> None:
    cohort = draw(2, SIZES, 4, effect=0.3)
    nuisance = np.random.default_rng(0).normal(size=(47, 1))
    tests = [
        beyond_nuisance(features, cohort.groups, cohort.labels, nuisance, permutations=99)
        for features in (cohort.features, save(tmp_path, cohort))
    ]
    assert tests[0].p == tests[1].p


def test_patients_whose_rows_lie_scattered_are_as_good(tmp_path: Path) -> None:
    cohort = draw(3, SIZES, 4)
    order = np.random.default_rng(0).permutation(47)
    head = fit_head(save(tmp_path, cohort).subset(order), cohort.groups[order], budget_bytes=0)
    expected = fit_head(cohort.features, cohort.groups).predict(cohort.labels)
    np.testing.assert_allclose(head.predict(cohort.labels[order]), expected[order], atol=1e-9)


def test_singular_features_lose_no_accuracy(tmp_path: Path) -> None:
    cohort = draw(4, SIZES, 3)
    # Doubled columns are one column under half the penalty: a copy times the root of two.
    doubled = Noise(np.hstack([cohort.features] * 2), cohort.groups, cohort.labels)
    assert len(decompose(doubled.features, doubled.groups).squares) == 3
    head = fit_head(save(tmp_path, doubled), cohort.groups, penalty=5.0)
    expected = fit_head(cohort.features * np.sqrt(2), cohort.groups, penalty=5.0)
    np.testing.assert_allclose(head.predict(cohort.labels), expected.predict(cohort.labels), atol=1e-9)


def test_constant_embeddings_leave_no_penalty_and_broken_ones_are_refused(tmp_path: Path) -> None:
    cohort = draw(5, SIZES, 3)
    flat = save(tmp_path, Noise(np.full((47, 3), 0.1), cohort.groups, cohort.labels))
    assert fit_head(flat, cohort.groups).penalty == 0.0
    cohort.features[46, 2] = np.inf
    broken = save(tmp_path, cohort)
    with pytest.raises(ValueError, match="features must be finite"):
        fit_head(broken, cohort.groups)
    with pytest.raises(ValueError, match=r"features must have shape \(46, columns\)"):
        fit_head(broken, cohort.groups[:46])


PROGRAM = """
import resource, sys
from pathlib import Path
import numpy as np
from msbatch.results.head import fit_head
from msbatch.results.matrix import StackedRows

paths = sorted(Path(sys.argv[1]).iterdir())
rows = StackedRows(paths)
groups, labels = np.repeat(list("ABCDEFGH"), 25_000), np.repeat([0, 1] * 4, 25_000)
np.ones((500, 500)) @ np.ones((500, 500))  # the library of linear algebra takes its own buffers now
taken = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData"))
limit = 1024 * int(taken.split()[1]) + 70_000_000
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
features = np.concatenate([np.load(path) for path in paths]) if sys.argv[2] == "array" else rows
head = fit_head(features, groups, budget_bytes=int(sys.argv[3]))
print(head.score_map().shape, head.cell_scores(labels).shape, head.leverage.shape)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight patients of 25,000 cells and 64 columns: 51 MB on disk, 102 MB in float64."""
    folder, rng = tmp_path_factory.mktemp("large"), np.random.default_rng(0)
    for number in range(8):
        np.save(folder / f"{number}.npy", rng.normal(size=(25_000, 64)).astype(np.float32))
    return folder


@pytest.fixture(scope="module")
def within_70_mb(large: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", PROGRAM, str(large), *words]
        environment = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": "."}
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    return run


def test_features_larger_than_memory_are_read_from_files(within_70_mb) -> None:
    done = within_70_mb("files", "0")
    assert done.stdout == "(8, 8) (200000,) (200000,)\n", done.stderr


@pytest.mark.parametrize(("source", "budget_bytes"), [("array", "0"), ("files", "1000000000")])
def test_the_same_does_not_fit_when_a_matrix_is_held(within_70_mb, source: str, budget_bytes: str) -> None:
    done = within_70_mb(source, budget_bytes)
    assert done.returncode == 1
    assert "MemoryError" in done.stderr
