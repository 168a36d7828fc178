"""Both forms of the table, and everything that may not match between it and the folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from msbatch.cohort.labels import LabelRule
from msbatch.cohort.sheet import Columns
from msbatch.cohort.table import CellFile, Cohort, read_cohort
from msbatch.errors import MsbatchError

MakeTable = Callable[..., Path]
PER_IMAGE = ("path", "patient", "label")
PER_PATIENT = ("patient", "label")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in ("007/a.png", "007/deep/er/b.TIF", "7/a.png", "7/notes.txt", "7/.hidden.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "images"


def read(images: Path, table: Path, rule: LabelRule | None = None) -> Cohort:
    return read_cohort(images, table, Columns(), rule or LabelRule())


def test_a_row_per_patient_takes_all_images_below_its_folder(images: Path, make_table: MakeTable) -> None:
    cohort = read(images, make_table((*PER_PATIENT, "sex"), ("7", "ms", "F"), ("007", "control", "")))
    assert cohort.classes == ("control", "ms")
    assert [patient.identifier for patient in cohort.patients] == ["007", "7"]
    assert cohort.patients[0].files == (CellFile("007/a.png", 0), CellFile("007/deep/er/b.TIF", 0))
    assert cohort.patients[1].files == (CellFile("7/a.png", 1),)
    assert [patient.attributes for patient in cohort.patients] == [{"sex": ""}, {"sex": "F"}]


def test_a_row_per_image_may_label_cells_one_by_one(images: Path, make_table: MakeTable) -> None:
    rows = [("7/z.png", "A", "ms"), ("./7//a.png", "A", "control"), ("007/a.png", "B", "ms")]
    cohort = read(images, make_table(PER_IMAGE, *rows))
    assert cohort.patients[0].files == (CellFile("7/a.png", 0), CellFile("7/z.png", 1))
    assert cohort.patients[1].files == (CellFile("007/a.png", 1),)


def test_columns_that_vary_within_a_patient_are_no_attributes_and_named(images: Path, make_table: MakeTable) -> None:
    header = (*PER_IMAGE, "sex", "slide")
    rows = [("a", "A", "ms", "F", "1"), ("b", "A", "ms", "F", "2"), ("c", "B", "control", "M", "3")]
    cohort = read(images, make_table(header, *rows))
    assert [patient.attributes for patient in cohort.patients] == [{"sex": "F"}, {"sex": "M"}]
    assert cohort.varying == ("slide",)


def test_the_order_of_rows_does_not_matter(images: Path, make_table: MakeTable) -> None:
    rows = [("7/a.png", "A", "ms"), ("x/b.png", "A", "control"), ("007/a.png", "B", "ms")]
    assert read(images, make_table(PER_IMAGE, *rows)) == read(images, make_table(PER_IMAGE, *reversed(rows)))


def test_rows_of_a_third_label_are_dropped_and_counted(images: Path, make_table: MakeTable) -> None:
    rows = [("a", "A", "ms"), ("b", "A", "unsure"), ("c", "B", "control"), ("d", "C", "unsure")]
    cohort = read(images, make_table(PER_IMAGE, *rows), LabelRule("ms", "control"))
    assert cohort.dropped == 2
    assert [(patient.identifier, len(patient.files)) for patient in cohort.patients] == [("A", 1), ("B", 1)]


def test_the_folder_of_a_patient_who_is_dropped_is_not_unknown(images: Path, make_table: MakeTable) -> None:
    (images / "X").mkdir()
    (images / "X" / "a.png").touch()
    table = make_table(PER_PATIENT, ("7", "ms"), ("007", "control"), ("X", "unsure"))
    assert read(images, table, LabelRule("ms", "control")).dropped == 1


def test_two_labels_of_a_patient_are_refused_where_labels_were_declared_per_patient(
    images: Path, make_table: MakeTable
) -> None:
    table = make_table(PER_IMAGE, ("a", "A", "ms"), ("b", "A", "control"))
    with pytest.raises(MsbatchError, match="patient A has two labels, ms and control"):
        read(images, table, LabelRule(level="patient"))
    assert len(read(images, table, LabelRule(level="cell")).patients[0].files) == 2


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([("7", "ms")], "folder .*007 belongs to no patient"),
        ([("7", "ms"), ("007", "control"), ("8", "ms")], "Patient 8 has no image"),
        ([("7", "ms"), ("007", "control"), ("7", "control")], "several rows of one patient"),
        ([("7", "ms"), ("", "control")], "row 3 has no patient"),
        ([("7", "ms"), ("007", "")], "row 3 has no label"),
        ([("7", "ms"), ("../7", "control")], "'../7' begins with a dot"),
        ([("7", "ms"), ("a\nb", "control")], "control character"),
        ([("a", "ms"), ("A", "control")], "differ only in case"),
    ],
)
def test_a_row_per_patient_that_does_not_match_is_refused(
    images: Path, make_table: MakeTable, rows: list[tuple[str, str]], reason: str
) -> None:
    with pytest.raises(MsbatchError, match=reason):
        read(images, make_table(PER_PATIENT, *rows))


@pytest.mark.parametrize("path", ["/etc/passwd", "../cohort.csv", "7/../../cohort.csv", "out/a.png", "a\nb"])
def test_paths_that_leave_the_folder_are_refused(images: Path, make_table: MakeTable, path: str) -> None:
    (images / "out").symlink_to(images.parent)
    with pytest.raises(MsbatchError, match="does not lie inside") as caught:
        read(images, make_table(PER_IMAGE, ("7/a.png", "A", "ms"), (path, "B", "control")))
    assert "Row 3" in caught.value.problem


def test_a_path_listed_twice_is_refused(images: Path, make_table: MakeTable) -> None:
    with pytest.raises(MsbatchError, match=r"lists 7/a\.png twice, for A and B"):
        read(images, make_table(PER_IMAGE, ("7/a.png", "A", "ms"), ("7/./a.png", "B", "control")))


def test_a_row_per_patient_cannot_label_cells(images: Path, make_table: MakeTable) -> None:
    with pytest.raises(MsbatchError, match="cannot label cells"):
        read(images, make_table(PER_PATIENT, ("7", "ms"), ("007", "control")), LabelRule(level="cell"))


def test_a_file_name_with_a_line_break_is_refused(images: Path, make_table: MakeTable) -> None:
    (images / "7" / "a\nb.png").touch()
    with pytest.raises(MsbatchError, match="control character") as caught:
        read(images, make_table(PER_PATIENT, ("7", "ms"), ("007", "control")))
    assert "\n" not in caught.value.problem


def test_a_patients_folder_and_images_may_be_links(images: Path, make_table: MakeTable, tmp_path: Path) -> None:
    (images / "7").rename(tmp_path / "seven")
    (images / "7").symlink_to(tmp_path / "seven")
    (tmp_path / "elsewhere.png").touch()
    (tmp_path / "seven" / "b.png").symlink_to(tmp_path / "elsewhere.png")
    cohort = read(images, make_table(PER_PATIENT, ("7", "ms"), ("007", "control")))
    assert [file.path for file in cohort.patients[1].files] == ["7/a.png", "7/b.png"]


@pytest.mark.parametrize("label", ["m\x1b[2Js", "m\ns", "m\u202es"])
def test_a_label_that_would_steer_a_terminal_is_refused(images: Path, make_table: MakeTable, label: str) -> None:
    with pytest.raises(MsbatchError, match=r"label .* holds a control character") as caught:
        read(images, make_table(PER_PATIENT, ("7", label), ("007", "1")))
    assert caught.value.problem.isprintable()


def test_a_missing_folder_of_images_is_named(tmp_path: Path, make_table: MakeTable) -> None:
    with pytest.raises(MsbatchError, match="nowhere is not a folder"):
        read(tmp_path / "nowhere", make_table(PER_PATIENT, ("7", "ms")))
