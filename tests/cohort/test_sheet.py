"""Tables as people save them, and those that cannot be read."""

import os
from pathlib import Path

import pytest

from msbatch.cohort.sheet import read_sheet
from msbatch.errors import MsbatchError


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "t.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_values_stay_text_in_every_dialect(tmp_path: Path, encoding: str, separator: str, end: str) -> None:
    lines = [("patient", "label", "ratio"), ("007", " no ", "1e5"), ("7", "NaN", "")]
    text = end.join(separator.join(line) for line in lines) + end
    sheet = read_sheet(write(tmp_path, text, encoding))
    assert sheet.columns == ["patient", "label", "ratio"]
    assert list(sheet.rows.values()) == [
        {"patient": "007", "label": "no", "ratio": "1e5"},
        {"patient": "7", "label": "NaN", "ratio": ""},
    ]


def test_blank_lines_and_columns_without_a_name_are_left_out_and_rows_keep_their_number(tmp_path: Path) -> None:
    sheet = read_sheet(write(tmp_path, "patient,label,,\nA,ms,x,\n,,,\nB,hc,,\n"))
    assert sheet.rows == {2: {"patient": "A", "label": "ms"}, 4: {"patient": "B", "label": "hc"}}


def test_usual_names_of_columns_are_found_in_order(tmp_path: Path) -> None:
    sheet = read_sheet(write(tmp_path, "ID,Patient_ID,Group,note\n1,A,ms,x\n"))
    assert sheet.need("patient", None) == "Patient_ID"
    assert sheet.need("label", None) == "Group"
    assert sheet.find("path", None) is None
    assert sheet.find("path", "note") == "note"


@pytest.mark.parametrize("name", [None, "verdict"])
def test_a_column_that_is_not_there_is_an_error_that_lists_those_there_are(tmp_path: Path, name: str | None) -> None:
    sheet = read_sheet(write(tmp_path, "who,what\nA,ms\n"))
    with pytest.raises(MsbatchError, match="its columns are: who, what") as caught:
        sheet.need("label", name)
    assert "--label" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "encoding", "reason"),
    [
        ("", "utf-8", "no rows"),
        ("patient,label\n", "utf-8", "no rows"),
        ("patient,label\nA,ms,more\n", "utf-8", "row 2 has another number"),
        ("patient,label\nA,ms\nB\n", "utf-8", "row 3 has another number"),
        ("patient,label,label\nA,ms,hc\n", "utf-8", "'label' twice"),
        ("patient,label\nMüller,ms\n", "latin-1", "not UTF-8"),
        ("patient,label\nA,ms\n", "utf-16", "not UTF-8"),
        ('patient,label\n"A,ms\n', "utf-8", "cannot be read as CSV"),
        ("patient,label\nA,m\0s\n", "utf-8", "holds a NUL"),
        ("patient,label\nA,ms\n", "utf-16-le", "NUL|control character"),
        ("patient,la\x1b[2Jbel\nA,ms\n", "utf-8", r"'la\\x1b\[2Jbel' holds a control character"),
        ("patient,label\nA," + 200_000 * "x", "utf-8", "cannot be read as CSV"),
        (",".join(map(str, range(1_000_000))) + "\nA,ms\n", "utf-8", "row 2 has another number"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str, encoding: str, reason: str) -> None:
    with pytest.raises(MsbatchError, match=reason):
        read_sheet(write(tmp_path, text, encoding))


def test_a_table_that_is_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t.csv")
    with pytest.raises(MsbatchError, match="it is no regular file"):
        read_sheet(tmp_path / "t.csv")


def test_a_missing_column_among_very_many_is_said_in_few_words(tmp_path: Path) -> None:
    sheet = read_sheet(write(tmp_path, ",".join(f"c{n}" for n in range(100_000)) + "\n" + ",".join("x" * 100_000)))
    with pytest.raises(MsbatchError, match="no column that looks like a label") as caught:
        sheet.need("label", None)
    assert len(caught.value.problem) < 3000


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(MsbatchError, match=r"none\.csv does not exist"):
        read_sheet(tmp_path / "none.csv")
