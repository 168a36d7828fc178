"""A soak: what of it needs no cluster, and a short one on a real cluster, for continuous integration."""

import os
import shutil
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import soak
from acts import CLUSTER_ACTS, STUDY_ACTS, draw_script, draw_weather
from invariants import LONG_S, Growth, Sample, differences, leftovers, not_once
from runs import make_run

from msbatch.layout import RunDir
from msbatch.store import Store


def test_the_seed_decides_every_study_and_what_happens_to_the_cluster() -> None:
    assert draw_script(3, 7) == draw_script(3, 7)
    assert list(islice(draw_weather(3), 50)) == list(islice(draw_weather(3), 50))
    assert draw_script(3, 7) != draw_script(4, 7)
    assert draw_script(3, 7).acts != draw_script(3, 8).acts


def test_an_hour_holds_every_kind_of_act() -> None:
    studies = [draw_script(1, number) for number in range(60)]
    assert {act.name for study in studies for act in study.acts} == set(STUDY_ACTS)
    assert {study.runtime for study in studies} == {"sif", "sandbox"}
    assert {act.name for act in islice(draw_weather(1), 80)} == set(CLUSTER_ACTS)


def test_a_table_that_differs_is_missing_or_is_one_too_many_is_named(tmp_path: Path) -> None:
    texts = {"mine": {"folds": "1", "cells": "2", "more": "3"}, "other": {"folds": "1", "cells": "3", "gone": "4"}}
    for run, tables in texts.items():
        (tmp_path / run / "results").mkdir(parents=True)
        for name, text in tables.items():
            (tmp_path / run / "results" / f"{name}.csv").write_text(text)
    named = differences(RunDir(tmp_path / "mine"), RunDir(tmp_path / "other"))
    assert named == ["results/cells.csv", "results/gone.csv", "results/more.csv"]


def test_locks_temporary_files_and_runs_that_were_given_up_are_named(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "runs" / "one")
    left = ["runs/two/plan", "runs/plan.lock", "runs/one/reduce.lock.now.v1.7", "runs/one/results/.folds.csv.tmp.0a1b"]
    kept = ["runs/one/plan.json", "runs/one/code/1/msbatch/lock.py", "runs/one/jobs/1/7_0_submitted.pkl"]
    for name in left + kept:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    named = {path.relative_to(tmp_path).as_posix() for path in leftovers(tmp_path, run)}
    assert named == {"runs/two", *left[1:]}


def test_a_cell_that_is_predicted_twice_or_not_at_all_is_named(tmp_path: Path, cohort_folder: Path) -> None:
    with Store(cohort_folder / "cohort.h5") as store:
        labels = {name: store.labels(name).tolist() for name in store.patients}
    logits = {"resnet50": {name: [0.5] * len(own) for name, own in labels.items()}}
    run = make_run(tmp_path / "run", labels, logits, cohort_folder / "cohort.h5")
    assert not_once(run) == []
    twice, gone = [run.task("resnet50", fold).predictions for fold in (0, 1)]
    patient, cell = twice.read_text().splitlines()[-1].split(",")[:2]
    twice.write_text(twice.read_text() + twice.read_text().splitlines()[-1] + "\n")
    assert not_once(run) == [("resnet50", [(patient, cell)])]
    gone.unlink()
    assert len(not_once(run)[0][1]) == 5


@pytest.mark.parametrize(
    ("rss_kib", "descriptors", "grows"),
    [
        ([90_000] * 100, [8] * 100, False),
        ([90_000, 120_000] * 50, [8, 11] * 50, False),
        ([60_000] * 20 + [90_000] * 80, [8] * 100, False),
        ([60_000 + 300 * n for n in range(100)], [8] * 100, True),
        ([90_000] * 100, [8 + n // 20 for n in range(100)], True),
    ],
    ids=["still", "up and down", "warming up", "leaks memory", "leaks descriptors"],
)
def test_a_process_that_takes_ever_more_is_named(rss_kib: list[int], descriptors: list[int], grows: bool) -> None:
    growth = Growth()
    for n, taken in enumerate(zip(rss_kib, descriptors, strict=True)):
        growth.add(7, "msbatch status --watch", Sample(n * LONG_S / 50, *taken))
    assert [("process 7" in line) for line in growth.violations()] == [True] * grows


def test_a_process_that_lived_for_a_moment_is_not_judged() -> None:
    growth = Growth()
    for n in range(20):
        growth.add(7, "msbatch status --watch", Sample(n * LONG_S / 50, 1000 * 2**n, 8))
    assert growth.violations() == []


def test_the_last_line_counts_faults_of_all_kinds(tmp_path: Path) -> None:
    done = soak.Soak(None, tmp_path, 1, 60)  # type: ignore[arg-type]
    done.studies, done.faults = 5, Counter({"scancel": 2, "node lost": 3})
    assert done.line == "soak: 5 studies, 5 faults, 0 violations"


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_a_short_soak_violates_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    if os.geteuid() != 0 or "MSBATCH_CLUSTER" not in os.environ:
        pytest.skip("no test cluster: as root, run make cluster-up and make cluster-test")
    cluster = Path(os.environ["MSBATCH_CLUSTER"])
    folder = cluster.with_name("msbatch-soak-sample")
    shutil.rmtree(folder, ignore_errors=True)
    code = soak.main(["--minutes", "1", "--at-once", "3", "--cluster", str(cluster), "--folder", str(folder)])
    out = capsys.readouterr().out
    assert code == 0, out
    assert "0 violations" in out
    assert "soak: 0 studies" not in out
    shutil.rmtree(folder)
