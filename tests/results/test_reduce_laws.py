"""What no table depends on: names, the order of folds and cells, and over how many runs the reducer saw predictions."""

import json
import random

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from packed import Study, draw_study, read_rows, renamed_plan
from runs import predict_all

from msbatch.layout import RunDir
from msbatch.plan import load_plan
from msbatch.results.reduce import reduce
from msbatch.results.tables import tables

Rows = list[tuple[tuple[str, str], ...]]


# Of the study: its seed, numbers of cells, whether cells carry the labels, backbones, and whose age is missing.
DESIGNS = st.tuples(
    st.integers(0, 99),
    st.lists(st.integers(2, 5), min_size=6, max_size=8),
    st.booleans(),
    st.sampled_from([("resnet50",), ("resnet50", "swin")]),
    st.sampled_from(["", "P01", "P04"]),
)
Design = tuple[int, list[int], bool, tuple[str, ...], str]


def draw(design: Design) -> Study:
    seed, sizes, by_cell, backbones, lost = design
    study = draw_study(seed, sizes, by_cell=by_cell, backbones=backbones)
    for name, traits in study.attributes.items():
        traits["age"] = "NA" if name == lost else traits["age"]
    return study


def shuffle(lot: random.Random, items: list) -> list:
    return lot.sample(items, len(items))


def dump(run: RunDir) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.results.glob("*.*") if path.suffix in (".csv", ".json")}


def rows(run: RunDir, names: dict[str, str], folds: list[int]) -> dict[str, Rows]:
    """Give the rows of every table by the names and fold numbers of before, in an order free of both."""
    found = {}
    for table in tables(reduce(run)):
        own = read_rows(run, table)
        for row in own:
            if "patient" in row:
                row["patient"] = names[row["patient"]]
            if "fold" in row:
                row["fold"] = str(folds[int(row["fold"])])
        found[table] = sorted(tuple(row.items()) for row in own)
    return found


@given(design=DESIGNS, lot=st.randoms(use_true_random=False))
@settings(max_examples=6, phases=(Phase.explicit, Phase.generate))
def test_no_table_depends_on_names_or_on_the_order_of_folds_and_cells(
    tmp_path_factory: pytest.TempPathFactory, design: Design, lot: random.Random
) -> None:
    study, folder = draw(design), tmp_path_factory.mktemp("study")
    (folder / "one").mkdir()
    (folder / "other").mkdir()
    old = list(study.labels)
    names = dict(zip(old, shuffle(lot, [f"renamed {number}" for number in range(len(old))]), strict=True))
    order = shuffle(lot, list(range(len(old))))
    cells = {name: shuffle(lot, list(range(len(own)))) for name, own in study.labels.items()}

    one = study.write(folder / "one")
    before = rows(one, dict(zip(old, old, strict=True)), list(range(len(old))))
    plan = renamed_plan(study.plan, names, order)
    other = study.shuffled(cells).renamed(names).write(folder / "other", plan)
    after = rows(other, {new: name for name, new in names.items()}, order)

    for table in before:
        assert after[table] == before[table], table
    verdicts = [json.loads((run.results / "verdict.json").read_text()) for run in (one, other)]
    for part in ("category", "sentence", "further", "not_exceeded"):
        assert verdicts[0][part] == verdicts[1][part]


@given(design=DESIGNS, lot=st.randoms(use_true_random=False))
@settings(max_examples=3, phases=(Phase.explicit, Phase.generate))
def test_predictions_that_come_over_several_runs_of_the_reducer_give_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, design: Design, lot: random.Random
) -> None:
    study, folder = draw(design), tmp_path_factory.mktemp("study")
    run = study.write(folder)
    assert reduce(run).complete
    whole = dump(run)
    tasks = [run.task(task.backbone, task.fold) for task in study.plan.tasks]
    for task in shuffle(lot, tasks)[: len(tasks) // 2]:
        task.predictions.unlink()
        task.manifest.unlink()
    assert not reduce(run).complete
    assert dump(run) != whole
    predict_all(run, load_plan(run.plan), study.labels, study.logits)
    assert reduce(run).complete
    assert dump(run) == whole
