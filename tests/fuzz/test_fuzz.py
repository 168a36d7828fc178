"""A seeded sample of the fuzz run, and that it sees what it is meant to see."""

from pathlib import Path

import pytest
from fuzz import NAMES, fuzz, read_again

INPUTS = {"image": 250, "store": 400, "weights": 150, "settings": 250}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_reader_refuses_or_returns(name: str, tmp_path: Path) -> None:
    outcome = fuzz(name, tmp_path, seed=0, inputs=INPUTS.get(name, 500))
    kept = "\n".join(path.read_text() for path in tmp_path.glob("*.txt"))
    assert outcome.crashes == 0, kept
    assert outcome.inputs >= INPUTS.get(name, 500)
    assert outcome.lines > 20


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("that-raises", "ZeroDivisionError"),
        ("that-dies", "exit code -11"),
        ("that-hangs", "exit code -27"),
        ("that-looks-outside", "opened"),
        ("that-writes-outside", "opened"),
        ("that-starts-a-program", "subprocess.Popen"),
        ("that-takes-all-memory", "MemoryError"),
    ],
)
def test_a_reader_that_breaks_the_contract_is_found(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"x")
    assert read_again(name, tmp_path / "crashes", tmp_path / "input").crashes == 1
    kept = [path.read_text() for path in (tmp_path / "crashes").glob("*.txt")]
    assert any(said in text for text in kept), kept
    assert [path.read_bytes() for path in (tmp_path / "crashes").glob("*.input")] == [b"x"]
