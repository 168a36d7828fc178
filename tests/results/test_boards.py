"""Summary runs for TensorBoard: what its readers find in them, and what must never be in them."""

import io
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from runs import make_run
from scalars import rounds, train
from server import Server, tensorboard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from msbatch.layout import RunDir
from msbatch.plan import load_plan
from msbatch.results.boards import write_boards
from msbatch.results.collect import collect
from msbatch.results.folds import summarise
from msbatch.results.logdir import link_runs

PATIENTS = [f"Donor-{letter}" for letter in "abcdefgh"]
LABELS = {patient: [number % 2] * 6 for number, patient in enumerate(PATIENTS)}
LOGITS = {patient: [2.0 * label - 1 for label in own] for patient, own in LABELS.items()}
WRONG = {**LOGITS, PATIENTS[1]: [-1.0, -1.0, -1.0, -1.0, 1.0, 1.0]}
STOPPED = 5  # the fold that stops early


def boards(run: RunDir) -> Path:
    plan = load_plan(run.plan)
    found, _ = collect(run, plan)
    results: dict[str, dict[int, Any]] = {name: {} for name in plan.backbones}
    for task, own in found.items():
        results[task.backbone][task.fold] = summarise(task.fold, own)
    return write_boards(run, plan, found, results)


def make_trained(root: Path, labels: Mapping[str, Any] = LABELS, logits: Mapping[str, Any] = LOGITS) -> RunDir:
    """Make a run of two backbones whose folds have curves; of one fold of resnet50 they are damaged."""
    run = make_run(root, labels, {"resnet50": {**logits, PATIENTS[1]: WRONG[PATIENTS[1]]}, "org/vit": logits})
    for backbone in ("resnet50", "org/vit"):
        for fold in range(len(labels)):
            length = 2 if fold == STOPPED else 4
            loss = rounds(10, [1.0 + fold, 0.5 + fold, 0.25 + fold, 0.125 + fold][:length])
            train(run.task(backbone, fold), {"train/loss": loss, "validation/loss": loss, "lr/top": loss})
    damage(run, "resnet50", 3)
    return run


def damage(run: RunDir, backbone: str, fold: int) -> None:
    (path,) = run.task(backbone, fold).tensorboard.iterdir()
    path.write_bytes(b"damaged")


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return events


def points(events: EventAccumulator, tag: str) -> dict[int, float]:
    return {event.step: float(event.tensor_proto.float_val[0]) for event in events.Tensors(tag)}


def words(events: EventAccumulator, tag: str) -> str:
    (event,) = events.Tensors(tag)
    return event.tensor_proto.string_val[0].decode()


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    run = make_trained(tmp_path_factory.mktemp("boards") / "run")
    assert boards(run) == run.boards
    return run


@pytest.fixture(scope="module")
def resnet50(run: RunDir) -> EventAccumulator:
    return read(run.boards / "resnet50")


@pytest.fixture(scope="module")
def server(run: RunDir) -> Iterator[Server]:
    with tensorboard(link_runs(run, load_plan(run.plan))) as server:
        server.wait("runs", lambda names: len(names) == 2 + 15)  # a damaged file makes no run
        server.wait("plugin/scalars/tags", lambda tags: all("train/loss" in own for own in tags.values()))
        server.wait("plugin/custom_scalars/layout", bool)  # what is written last
        yield server


def test_the_mean_is_over_the_folds_that_still_train(resnet50: EventAccumulator) -> None:
    all_but_the_damaged = [0, 1, 2, 4, 5, 6, 7]
    left = [fold for fold in all_but_the_damaged if fold != STOPPED]
    assert points(resnet50, "train/loss") == pytest.approx(
        {
            10: 1.0 + np.mean(all_but_the_damaged),
            20: 0.5 + np.mean(all_but_the_damaged),
            30: 0.25 + np.mean(left),
            40: 0.125 + np.mean(left),
        }
    )
    assert points(resnet50, "variation/train/loss/folds") == {10: 7, 20: 7, 30: 6, 40: 6}
    assert points(resnet50, "variation/train/loss/lowest") == {10: 1.0, 20: 0.5, 30: 0.25, 40: 0.125}
    assert points(resnet50, "variation/train/loss/highest") == {10: 8.0, 20: 7.5, 30: 7.25, 40: 7.125}


def test_the_mean_names_the_tag_that_tells_how_many_folds_are_left(resnet50: EventAccumulator) -> None:
    said = resnet50.SummaryMetadata("train/loss").summary_description
    assert "`variation/train/loss/folds` says how many are left" in said


def test_a_fold_without_usable_curves_is_named(resnet50: EventAccumulator) -> None:
    about = words(resnet50, "about")
    assert "All 8 folds have predictions. Curves of 7 of 8 folds." in about
    assert "* fold 03: Its event files" in about


def test_final_metrics_stand_by_fold_and_pooled(resnet50: EventAccumulator) -> None:
    assert points(resnet50, "by_fold/recall") == pytest.approx({fold: 1 / 3 if fold == 1 else 1 for fold in range(8)})
    assert points(resnet50, "pooled/cells/balanced_accuracy") == pytest.approx({0: (20 / 24 + 1) / 2})
    assert points(resnet50, "pooled/patients/balanced_accuracy") == {0: 0.875}
    table = words(resnet50, "folds")
    assert table.startswith("| fold | class | cells | recall | mean logit |\n")
    assert "| 01 | MS | 6 | 0.333 | -0.333 |" in table
    assert "by_fold/auc" not in resnet50.Tags()["tensors"]  # undefined within patients of one class


def test_images_of_confusion_are_alike_in_size(run: RunDir, resnet50: EventAccumulator) -> None:
    other = read(run.boards / "org_vit")
    sizes = {
        Image.open(io.BytesIO(event.tensor_proto.string_val[2])).size
        for events in (resnet50, other)
        for tag in ("confusion/cells", "confusion/patients")
        for event in events.Tensors(tag)
    }
    assert len(sizes) == 1


def test_no_patient_and_no_machine_is_named(run: RunDir) -> None:
    written = contents(run.boards)
    assert len(written) == 2
    for path, content in written.items():
        assert b"Donor" not in content
        assert path.name == "events.out.tfevents.1000000040.summary"
        assert ((run.boards / path).stat().st_mode & 0o777) == 0o600


def test_the_same_run_gives_the_same_bytes_and_nothing_else_is_left(tmp_path: Path) -> None:
    run = make_trained(tmp_path / "run")
    first = contents(boards(run))
    (run.boards / "old").mkdir()
    (run.results / ".tensorboard.tmp").mkdir()  # a killed writer's
    assert contents(boards(run)) == first
    assert [path.name for path in run.results.iterdir()] == ["tensorboard"]
    assert sorted(path.name for path in (run.boards).iterdir()) == ["org_vit", "resnet50"]


def test_a_failing_write_leaves_the_old_boards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_trained(tmp_path / "run")
    before = contents(boards(run))

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("msbatch.results.events.write_events", full)
    with pytest.raises(OSError, match="No space left"):
        boards(run)
    assert contents(run.boards) == before


def test_a_run_without_any_curves_still_has_its_results(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", LABELS, {"resnet50": {PATIENTS[0]: LOGITS[PATIENTS[0]]}})
    events = read(boards(run) / "resnet50")
    assert "**PARTIAL: 1 of 8 folds have predictions.** Curves of 0 of 8 folds." in words(events, "about")
    assert points(events, "by_fold/recall") == {0: 1.0}
    assert "| 07 | no predictions |  | – | – |" in words(events, "folds")
    tags = events.Tags()["tensors"]
    assert not {"train/loss", "pooled/cells", "pooled/cells/mcc"} & set(tags)  # one class so far


def test_a_run_without_predictions_has_boards_that_say_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", LABELS, {"resnet50": {}})
    assert "PARTIAL: 0 of 8 folds" in words(read(boards(run) / "resnet50"), "about")


def test_cells_with_labels_of_their_own_have_no_picture_of_patients(tmp_path: Path) -> None:
    labels = {patient: [0, 1, 1] for patient in PATIENTS}
    run = make_run(tmp_path / "run", labels, {"resnet50": {patient: [-1.0, 1.0, -1.0] for patient in PATIENTS}})
    tags = read(boards(run) / "resnet50").Tags()["tensors"]
    assert {"confusion/cells", "by_fold/auc", "by_fold/f1"} <= set(tags)
    assert not {"confusion/patients", "pooled/patients/mcc", "by_fold/recall"} & set(tags)


def test_tensorboard_shows_all_dashboards(server: Server) -> None:
    listing = server.ask("plugins_listing")
    shown = {name for name, plugin in listing.items() if plugin["enabled"]}
    assert {"timeseries", "scalars", "images", "text", "pr_curves", "custom_scalars", "hparams"} <= shown


def test_runs_have_names_that_read_well(server: Server) -> None:
    names = set(server.ask("runs"))
    assert {"summary/resnet50", "summary/org_vit", "folds/resnet50/fold-00", "folds/org_vit/fold-07"} <= names


def test_means_and_folds_lie_in_one_chart(server: Server) -> None:
    tags = server.ask("plugin/scalars/tags")
    assert all("train/loss" in own for own in tags.values())
    about = tags["summary/resnet50"]["train/loss"]["description"]
    assert "mean over the folds that still train" in about
    answer = server.ask("plugin/scalars/scalars", run="summary/resnet50", tag="variation/train/loss/folds")
    assert [(step, value) for _, step, value in answer] == [(10, 7), (20, 7), (30, 6), (40, 6)]


def test_the_curve_of_pooled_predictions_says_what_it_rests_on(server: Server) -> None:
    tag = server.ask("plugin/pr_curves/tags")["summary/resnet50"]["pooled/cells"]
    assert "pooled over models" in tag["description"]
    assert "Training draws both classes equally often" in tag["description"]
    (curve,) = server.ask("plugin/pr_curves/pr_curves", tag="pooled/cells", run="summary/resnet50")["summary/resnet50"]
    at_half = curve["thresholds"].index(0.5)
    assert (curve["recall"][at_half], curve["precision"][at_half]) == pytest.approx((20 / 24, 1.0))
    assert (curve["recall"][0], curve["precision"][0]) == (1.0, 0.5)


def test_pictures_and_texts_arrive(server: Server) -> None:
    (sample,) = server.ask("plugin/images/images", run="summary/resnet50", tag="confusion/patients", sample="0")
    picture = server.ask("plugin/images/individualImage", blob_key=sample["query"].removeprefix("blob_key="))
    assert Image.open(io.BytesIO(picture)).format == "PNG"
    (text,) = server.ask("plugin/text/text", run="summary/resnet50", tag="folds")
    assert "<table>" in text["text"]


def test_the_layout_has_a_band_for_every_curve(server: Server) -> None:
    bands, every, numbers = server.ask("plugin/custom_scalars/layout")["category"]
    assert [chart["title"] for chart in bands["chart"]] == ["train/loss", "validation/loss"]
    (series,) = bands["chart"][0]["margin"]["series"]
    tags = server.ask("plugin/scalars/tags")["summary/org_vit"]
    assert {series["value"], series["lower"], series["upper"]} <= set(tags)
    assert every["chart"][0]["multiline"]["tag"] == ["^train/loss$"]
    assert len(numbers["chart"]) == 2


def test_backbones_stand_in_the_table_of_hparams_with_their_pooled_metrics(server: Server) -> None:
    wanted = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
        "colParams": [{"metric": {"group": "", "tag": "pooled/patients/balanced_accuracy"}}],
        "startIndex": 0,
        "sliceSize": 10,
    }
    experiment = server.ask("plugin/hparams/experiment", {"experimentName": ""})
    assert "pooled/cells/mcc" in {metric["name"]["tag"] for metric in experiment["metricInfos"]}
    groups = server.ask("plugin/hparams/session_groups", wanted)["sessionGroups"]
    values = {group["hparams"]["backbone"]: group["metricValues"] for group in groups}
    assert set(values) == {"resnet50", "org/vit"}
    found = {value["name"]["tag"]: value["value"] for value in values["resnet50"]}
    assert found["pooled/patients/balanced_accuracy"] == 0.875


def test_links_hold_when_a_run_is_moved_and_wait_for_folds_to_come(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", LABELS, {"resnet50": {}})
    folder = link_runs(run, load_plan(run.plan))
    assert link_runs(run, load_plan(run.plan)) == folder
    moved = RunDir(shutil.move(run.root, tmp_path / "elsewhere"))
    train(moved.task("resnet50", 4), {"train/loss": rounds(10, [1.0])})
    assert list((moved.logdir / "folds" / "resnet50" / "fold-04").glob("*tfevents*"))


SETTINGS_ROW = """
import hashlib, sys
from msbatch.results.events import trial
row = trial("net", {"backbone": "net", "seed": 1, "lr": 0.1, "steps": 3, "pretrained": False}, {"a": "A"}, 0.0)
print(hashlib.sha256(b"".join(value.SerializeToString(deterministic=True) for value in row)).hexdigest())
"""


def test_another_process_writes_the_same_row_of_settings() -> None:
    runs = [subprocess.run([sys.executable, "-c", SETTINGS_ROW], capture_output=True, check=True) for _ in range(4)]
    assert len({run.stdout for run in runs}) == 1
