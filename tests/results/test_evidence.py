"""The tests behind a verdict, on cells that were drawn, packed and embedded: what is claimed, and what is not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msbatch.cohort.pack import PackOptions, pack
from msbatch.cohort.synth import draw_cell
from msbatch.config import ProbeSettings
from msbatch.files import write_csv
from msbatch.results import evidence as judged
from msbatch.results.evidence import evidence, run_tests
from msbatch.results.network import NETWORK
from msbatch.results.subjects import Subjects, read_subjects
from msbatch.results.verdict import Category, Verdict, judge
from msbatch.store import Store

PATIENTS = 20
CELLS = 6
STAIN = np.array([-18.0, -21.0, 12.0])

Traits = Callable[[int], tuple[str, str, float, float]]  # label, sex, strength of the stain, and of the outline


def mixed(number: int) -> tuple[str, str]:
    """Give every label with every sex equally often."""
    return ("control", "ms")[number % 2], "FM"[number // 2 % 2]


def draw(folder: Path, traits: Traits) -> Subjects:
    """Draw cells of patients, pack them, and read what the tests need."""
    rows = []
    for number in range(PATIENTS):
        label, sex, stain, outline = traits(number)
        rng = np.random.default_rng([4, number])
        own = folder / "images" / f"P{number:02d}"
        own.mkdir(parents=True)
        colour, radius = rng.normal(0, 3, 3) + stain * STAIN, rng.uniform(26, 30)
        for cell in range(CELLS):
            Image.fromarray(draw_cell(rng, radius, colour, outline)).save(own / f"{cell}.bmp")
        rows.append((own.name, label, sex, "b1"))
    write_csv(folder / "cohort.csv", ("patient", "label", "sex", "site"), rows)
    pack(folder / "images", folder / "cohort.csv", folder / "cohort.h5", PackOptions(size_px=96))
    with Store(folder / "cohort.h5") as store:
        return read_subjects(store)


@pytest.fixture(scope="module")
def stained(tmp_path_factory: pytest.TempPathFactory) -> Subjects:
    """Give patients whose classes differ by their stain, and by nothing else."""

    def traits(number: int) -> tuple[str, str, float, float]:
        return (*mixed(number), float(number % 2), 0.0)

    return draw(tmp_path_factory.mktemp("stained"), traits)


@pytest.fixture(scope="module")
def sexes(tmp_path_factory: pytest.TempPathFactory) -> Subjects:
    """Give patients whose sexes differ by the outline of their cells, and whose classes do not differ."""

    def traits(number: int) -> tuple[str, str, float, float]:
        return (*mixed(number), 0.0, float(number // 2 % 2))

    return draw(tmp_path_factory.mktemp("sexes"), traits)


def relabelled(subjects: Subjects, labels: dict[str, int]) -> Subjects:
    cells = subjects.cells
    own = np.array([labels[patient] for patient in cells.groups.tolist()], np.uint8)
    return replace(subjects, cells=replace(cells, labels=own))


def verdict(subjects: Subjects, tests: judged.Tests | None = None) -> Verdict:
    return judge(evidence(subjects, tests or run_tests(subjects, ProbeSettings(permutations=1000)), {}, {}))


def test_classes_that_differ_by_colour_alone_are_not_shown_to_exceed_it(stained: Subjects) -> None:
    said = verdict(stained)
    assert said.category is Category.ASSOCIATED
    assert "colour" in said.not_exceeded
    assert (
        said.sentence == f"Image and label are associated, but not shown to exceed {' and '.join(said.not_exceeded)}."
    )


def test_classes_that_differ_where_nothing_is_measured_exceed_every_row(sexes: Subjects) -> None:
    """Labels follow the outline, but the only row is a colour that knows nothing."""
    labels = {patient: int(own["sex"] == "M") for patient, own in sexes.attributes.items()}
    own = relabelled(sexes, labels)
    own = replace(own, cells=replace(own.cells, columns={"colour": own.cells.columns["colour"]}), attributes=bare(own))
    said = verdict(own)
    assert said.category is Category.EXCEEDS
    assert said.sentence.endswith("exceeds every nuisance row measured: colour.")


def bare(subjects: Subjects) -> dict[str, dict[str, str]]:
    return {patient: {} for patient in subjects.attributes}


def test_labels_that_nothing_goes_with_are_not_claimed(sexes: Subjects) -> None:
    said = verdict(sexes)
    assert said.category is Category.NONE
    assert said.sentence.startswith("No evidence above chance")


def test_a_sex_that_separates_the_classes_is_named_and_nothing_else_is_said(sexes: Subjects) -> None:
    labels = {patient: int(own["sex"] == "M") for patient, own in sexes.attributes.items()}
    own = relabelled(sexes, labels)
    tests = run_tests(own, ProbeSettings(permutations=1000))
    assert tests.separating == ("sex",)
    assert tests.covariates["sex"].p.number == pytest.approx(2 / 184756)  # of 20 over 10 tables, both extremes
    said = verdict(own, tests)
    assert said.category is Category.INSEPARABLE
    assert said.sentence.endswith("the label cannot be separated from sex.")


def test_a_sex_that_shows_in_the_images_is_readable_also_within_controls(sexes: Subjects, stained: Subjects) -> None:
    found = run_tests(sexes, ProbeSettings(permutations=1000)).readable
    assert set(found) == {"sex", "sex, control only"}
    assert found["sex"][NETWORK].p.number <= 0.002
    # 10 controls, 5 of them women: 252 arrangements, and the smallest p is twice 1 in 252.
    assert found["sex, control only"][NETWORK].exact
    assert found["sex, control only"][NETWORK].p.number == pytest.approx(2 / 252)
    other = run_tests(stained, ProbeSettings(permutations=1000)).readable
    assert other["sex"][NETWORK].p.number > 0.05
    assert other["sex, control only"][NETWORK].p.number > 0.05


def test_a_sex_known_of_few_controls_is_not_read_within_them_and_it_says_why(sexes: Subjects) -> None:
    controls = [patient for patient, label in sexes.labels.items() if not label]
    attributes = {
        patient: {"sex": "" if patient in controls[3:] else own["sex"]} for patient, own in sexes.attributes.items()
    }
    found = run_tests(replace(sexes, attributes=attributes), ProbeSettings(permutations=100)).readable
    assert found["sex, control only"][NETWORK].p.reason == "only 3 patients"
    assert found["sex"][NETWORK].p.number is not None


def test_each_of_several_batches_and_the_halves_of_an_age_are_read_and_only_what_was_asked_for(sexes: Subjects) -> None:
    attributes = {
        patient: {"batch": "abc"[number % 3], "age": str(30 + number)}
        for number, patient in enumerate(sexes.attributes)
    }
    own = replace(sexes, attributes=attributes)
    found = run_tests(own, ProbeSettings(permutations=100)).readable
    names = {"batch: a", "batch: b", "batch: c", "age: above 39.5"}
    assert set(found) == names | {f"{name}, control only" for name in names}
    assert set(run_tests(own, ProbeSettings(permutations=100, covariates=("AGE",))).readable) == {
        "age: above 39.5",
        "age: above 39.5, control only",
    }


def test_one_sex_only_is_no_row_and_is_not_read(sexes: Subjects) -> None:
    found = run_tests(
        replace(sexes, attributes={name: {"sex": "F"} for name in sexes.attributes}), ProbeSettings(permutations=100)
    )
    assert list(found.beyond) == ["colour", "size", "shape"]
    assert found.covariates == found.readable == {}


def test_a_column_of_the_table_does_not_stand_in_for_what_was_measured(stained: Subjects) -> None:
    attributes = {name: {"colour": "gb"[number // 2 % 2]} for number, name in enumerate(stained.attributes)}
    own = replace(stained, attributes=attributes)
    tests = run_tests(own, ProbeSettings(permutations=1000))
    assert {"colour", "covariate colour"} <= set(tests.beyond)
    assert "colour" in verdict(own, tests).not_exceeded
    assert tests.beyond["colour"] == run_tests(stained, ProbeSettings(permutations=1000)).beyond["colour"]


def test_one_missing_value_does_not_forbid_a_claim(sexes: Subjects) -> None:
    labels = {patient: int(own["sex"] == "M") for patient, own in sexes.attributes.items()}
    own = relabelled(sexes, labels)
    ages = {patient: {"age": str(30 + number * 7 % 20)} for number, patient in enumerate(own.attributes)}
    ages["P03"] = {"age": "NA"}
    wards = {patient: {"ward": "ab"[number // 4 % 2]} for number, patient in enumerate(own.attributes)}
    wards["P03"] = {"ward": ""}
    for attributes in (ages, wards):
        (name,) = attributes["P00"]
        beyond = run_tests(replace(own, attributes=attributes), ProbeSettings(permutations=1000)).beyond
        assert beyond[name][NETWORK].p.number <= 0.025


def test_cells_that_carry_the_labels_are_compared_within_patients_and_covariates_say_nothing(stained: Subjects) -> None:
    cells = stained.cells
    labels = (np.arange(len(cells.groups)) % 2).astype(np.uint8)
    own = replace(stained, cells=replace(cells, labels=labels))
    assert not own.by_patient
    tests = run_tests(own, ProbeSettings(permutations=200))
    assert tests.covariates == tests.readable == {}
    assert set(tests.beyond) == {"colour", "size", "shape"}
    assert tests.association[NETWORK].permutations == 200
    assert verdict(own, tests).category is Category.NONE


def test_measurements_of_a_patient_are_scaled_by_nobody_else(stained: Subjects) -> None:
    cells = stained.cells
    own = cells.groups == cells.groups[0]
    others = {row: np.where(own[:, None], values, 3 * values + 7) for row, values in cells.columns.items()}
    told, changed = (judged.measure(columns)[own] for columns in (cells.columns, others))
    assert np.array_equal(told, changed)
