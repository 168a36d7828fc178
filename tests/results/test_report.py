"""The report as its reader gets it: what it says, what it never says, and what a hostile name does to it."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
import runs
from packed import Study, draw_study

from msbatch.layout import RunDir
from msbatch.plan import Relabelling
from msbatch.results.metrics import Value
from msbatch.results.permutation import PermutationTest
from msbatch.results.reduce import reduce
from msbatch.results.report.page import SECTIONS, write_report
from msbatch.results.report.summary import interval_words, summaries

HOSTILE = {
    "P00": "<img src=x onerror=alert(1)>",
    "P01": '"><b onmouseover="alert(2)">',
    "P02": "=HYPERLINK(1)",
    "P03": "$\\frac{x}$_{n",
    "P04": "患者 ١٢٣ ひ",
    "P05": "&amp;&lt;{{ 7 * 7 }}",
    "P06": "long" * 40,
    "P07": "-->]]>",
}
CLASSES = ("<script>alert(3)</script>", "</style></title>$x_1$ & MS")


class Reader(HTMLParser):
    """What a browser makes of a page: its text, its elements and where it leads."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self.inside: list[str] = []
        self.feed(page)
        self.text = " ".join("".join(self.pieces).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.inside:
            self.inside.remove(tag)

    def handle_data(self, data: str) -> None:
        if not self.inside:
            self.pieces.append(data)

    def values(self, attribute: str) -> Iterator[str]:
        return (own[attribute] or "" for _, own in self.elements if attribute in own)


def read(run: RunDir) -> Reader:
    return Reader(write_report(run, reduce(run)).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    study = draw_study(sizes=(6,) * 12, backbones=("resnet50", "hub:org/net"))
    return study.write(tmp_path_factory.mktemp("complete"))


@pytest.fixture(scope="module")
def page(complete: RunDir) -> Reader:
    return read(complete)


def test_every_section_stands_in_order(page: Reader) -> None:
    places = [page.text.index(f"{number} {title}") for number, title in enumerate(SECTIONS.values(), 1)]
    assert places == sorted(places)


def test_the_answer_comes_first_and_in_full(complete: RunDir, page: Reader) -> None:
    verdict = reduce(complete).cohort.verdict  # type: ignore[union-attr]
    answer = page.text[: page.text.index("2 The cohort")]
    for sentence in (verdict.sentence, *verdict.further):
        assert sentence in answer
    for row in ("always-positive", "colour alone", "size alone", "shape alone", "resnet50, majority vote"):
        assert row in answer


def test_it_says_what_a_reviewer_asks_for(page: Reader) -> None:
    for words in (
        "Patients of each class by covariate",
        "Some cells of MS",
        "binomial 95 % interval (Clopper-Pearson), within the patient",
        "Influence of single patients",
        "pooled over models of which each held out one patient",
        "Confusion matrices",
        "presume a prior of 50 %",
        "This is optimistic, since it was chosen on the same folds",
        "floor of p",
        "Gaps between subgroups",
        "To fill in: how patients were recruited",
        "CLAIM, items 7 to 10, 13 and 19 to 27",
        "TRIPOD+AI, items 5 and 6",
        "store SHA-256",
    ):
        assert words in page.text


def test_it_says_which_pretrained_weights_it_rests_on(tmp_path: Path) -> None:
    run = draw_study(sizes=(6,) * 6).write(tmp_path)
    assert re.search(r"pretrained weights SHA-256 ?not recorded", read(run).text)
    manifest = run.task("resnet50", 0).manifest
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "pretrained_sha256": "ab" * 32}))
    assert re.search(rf"pretrained weights SHA-256 ?resnet50 {'ab' * 32}", read(run).text)


def test_what_is_undefined_has_its_reason_as_a_footnote(page: Reader) -> None:
    assert "n/a" in page.text
    assert "all calls alike" in page.text  # the always-positive row has no MCC
    for word in (" nan", "None", "inf "):
        assert word not in page.text


def test_every_figure_and_table_leads_to_its_data(complete: RunDir, page: Reader) -> None:
    sources = {unquote(link) for link in page.values("href") if not link.startswith("#")}
    assert {f"figures/forest-{name}.csv" for name in ("resnet50", "hub_org_net")} <= sources
    for source in sources:
        with (complete.results / source).open(encoding="utf-8", newline="") as handle:
            assert len(list(csv.reader(handle))) > 1, source


def test_the_same_run_gives_the_same_bytes(complete: RunDir) -> None:
    read(complete)
    before = {path: path.read_bytes() for path in complete.results.rglob("*") if path.is_file()}
    read(complete)
    assert {path: path.read_bytes() for path in complete.results.rglob("*") if path.is_file()} == before
    assert (complete.results / "report.html").stat().st_size < 3_000_000


def test_data_of_figures_that_are_no_more_are_removed(complete: RunDir, page: Reader) -> None:  # noqa: ARG001
    old = complete.results / "figures" / "forest-of-a-backbone-that-was-renamed.csv"
    old.write_text("old")
    read(complete)
    assert not old.exists()


def test_a_partial_run_says_so_first_and_why(tmp_path: Path) -> None:
    study = draw_study(sizes=(4,) * 8)
    left = {"resnet50": {name: own for name, own in study.logits["resnet50"].items() if name != "P03"}}
    page = read(Study(study.labels, left, study.attributes, study.looks).write(tmp_path))
    banner = page.text[: page.text.index("1 The answer")]
    assert "Partial: 1 of 8 folds are missing" in banner
    assert "resnet50, fold 03 (P03): No predictions" in banner
    assert "7 of 8" in page.text
    assert "the lowest of 7 draws" in page.text
    assert "The missing folds took no part in this." in page.text


def test_missing_further_trainings_leave_the_summaries_whole(tmp_path: Path) -> None:
    study = draw_study(sizes=(4,) * 8)
    page = read(study.write(tmp_path, study.plan.with_seeds(2)))
    banner = page.text[: page.text.index("1 The answer")]
    assert "Partial: 8 of 16 folds are missing, all of them of further trainings" in banner
    assert "Every total below is partial" not in banner


def test_a_run_without_any_prediction_still_has_a_report(tmp_path: Path) -> None:
    study = draw_study(sizes=(4,) * 8)
    page = read(Study(study.labels, {"resnet50": {}}, study.attributes, study.looks).write(tmp_path))
    assert "Partial: 8 of 8 folds are missing" in page.text


def test_without_the_store_there_is_no_verdict_and_the_page_says_why(tmp_path: Path) -> None:
    run = draw_study(sizes=(4,) * 8).write(tmp_path)
    (tmp_path / "cohort.h5").unlink()
    page = read(run)
    assert "No verdict: what the tests need is not there." in page.text[: page.text.index("1 The answer")]
    assert "cohort.h5 does not exist" in page.text
    assert "img" not in dict(page.elements)
    assert "All folds" in page.text
    assert re.search(r"missing data ?to fill in", page.text)


def test_it_says_what_became_of_missing_values(tmp_path: Path) -> None:
    study = draw_study(sizes=(4,) * 8)
    study.attributes["P03"]["age"] = "NA"
    page = read(study.write(tmp_path))
    said = "Patients without a value: age: 1. For the tests beyond a covariate a missing number was set to the mean"
    assert said in page.text
    assert "Never imputed" not in page.text


def test_only_refits_with_a_p_are_reported(tmp_path: Path) -> None:
    run = draw_study(sizes=(4,) * 8, backbones=("resnet50", "vit")).write(tmp_path)
    found = reduce(run)
    none = Value(None, "no refit under permuted labels is whole")
    refits = {"resnet50": PermutationTest(Value(1.0), Value(0.05), 0.05, 19), "vit": PermutationTest(none, none)}
    for own, told in ((refits, True), ({"vit": refits["vit"]}, False)):
        reduction = replace(found, cohort=replace(found.cohort, refits=own))  # type: ignore[type-var]
        text = Reader(write_report(run, reduction).read_text(encoding="utf-8")).text
        assert ("Fine-tuned backbones (resnet50) were trained again" in text) == told
        assert ("every fold anew under permuted labels (resnet50: 19 permutations)." in text) == told
        assert ("of fine-tuned backbones it trains every fold anew" in text) == told


def test_how_intervals_were_made_is_told_of_every_row_that_differs(tmp_path: Path) -> None:
    study = draw_study(sizes=(4,) * 8, backbones=("resnet50", "vit"))
    study.logits["vit"] = {name: [10.0 * own - 5.0 for own in labels] for name, labels in study.labels.items()}
    found = reduce(study.write(tmp_path))
    methods = {str(row["backbone"]): str(row["intervals"]) for row in found.cells if row["intervals"]}
    assert methods["resnet50"] != methods["vit"]
    said = interval_words(found).casefold().replace("macro-f1", "macro f1")
    for name, method in methods.items():
        assert re.search(rf"\b{name}(; [a-z ]+ alone)*: {re.escape(method.casefold())}\.", said)


def test_classes_called_low_and_high_keep_their_f1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "CLASSES", ("low", "high"))
    for grid in summaries(reduce(draw_study(sizes=(4,) * 8).write(tmp_path))):
        row = next(own for own in grid.rows if own[0].text == "always-positive")
        shown = dict(zip(grid.header, row, strict=True))
        assert [shown[key].text for key in ("F1 low", "F1 high")] == ["0.000", "0.667"]
        assert not any(own.between for own in row)


def test_labels_of_cells_are_told_within_patients(tmp_path: Path) -> None:
    page = read(draw_study(sizes=(8,) * 6, by_cell=True).write(tmp_path))
    assert "Nothing is pooled over models" in page.text
    assert "Patients, mean over patients" in page.text
    assert "resnet50: cells" in page.text
    assert "No fold could be called odd or not" in page.text
    assert "patients, by mean logit" not in page.text


def test_the_area_by_chance_is_that_of_permuted_labels(tmp_path: Path) -> None:
    run = draw_study(sizes=(4,) * 8).write(tmp_path)
    found = reduce(run)
    folds = found.results["resnet50"]
    highest = sorted(folds.values(), key=lambda fold: fold.score)[4:]
    labels = {fold.patient: int(fold in highest) for fold in folds.values()}
    plan = found.plan.with_relabellings([Relabelling(number=1, labels=labels, seed=None, folds=())])
    arms = {**found.arms, "resnet50.labels-01": folds}
    page = Reader(write_report(run, replace(found, plan=plan, arms=arms)).read_text(encoding="utf-8"))
    assert "under permuted labels 1.000 on average, over 1 training of all folds" in page.text


def test_hostile_names_are_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "CLASSES", CLASSES)
    study = draw_study(sizes=(4,) * 8, backbones=("a<b>&'\"$_",)).renamed(HOSTILE)
    for place, own in enumerate(study.attributes.values()):
        own["sex<i>"] = ("=1+1", "<svg onload=alert(4)>")[place // 2 % 2]
    run = study.write(tmp_path)
    page = read(run)
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == tags.count("style") == 1
    assert not {"i", "iframe", "object", "embed", "base"} & set(tags)
    assert not [name for _, own in page.elements for name in own if name.startswith("on")]
    for name in (*HOSTILE.values(), *CLASSES, "sex<i>", "<svg onload=alert(4)>"):
        assert " ".join(name.split()) in page.text
    assert all(source.startswith("data:image/webp;base64,") for source in page.values("src"))
    assert all(link.startswith(("#", "figures/")) or "/" not in link for link in page.values("href"))
    forest = next((run.results / "figures").glob("forest-*.csv")).read_text(encoding="utf-8")
    assert "'=HYPERLINK(1)" in forest
