"""What of a campaign needs no cluster: drawing, going on after a stop, and the last line."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from campaign import Journal, last_line, left
from draw import Injection, by_name, chosen, draw
from kinds import KINDS
from trial import Record

RECORD = Record("scancel", "sif", 2, 10, "rerun", "cancelled", 40)


def test_a_campaign_has_at_least_30_injections_of_12_kinds() -> None:
    injections = [injection for study in draw(1) for injection in study]
    assert len(injections) >= 30
    assert len({injection.kind for injection in injections}) >= 12


@pytest.mark.parametrize("seed", range(5))
def test_every_kind_is_injected_once_in_each_of_its_runtimes(seed: int) -> None:
    keys = [injection.key for study in draw(seed) for injection in study]
    assert sorted(keys) == sorted(f"{kind.name} / {runtime}" for kind in KINDS for runtime in kind.runtimes)


@pytest.mark.parametrize("seed", range(5))
def test_what_comes_of_each_fault_can_be_told_from_the_others_of_its_study(seed: int) -> None:
    for study in draw(seed):
        assert len({injection.runtime for injection in study}) == 1
        hits = [injection for injection in study if by_name(injection.kind).when in ("held", "task", "alone")]
        assert len({injection.task for injection in hits}) == len(hits)
        assert sum(by_name(injection.kind).when == "submit" for injection in study) <= 1
        kinds = [by_name(injection.kind) for injection in study]
        if any("--no-accounting" in kind.variant for kind in kinds):
            assert len(kinds) == 1, "a cluster without accounting takes any account"
        assert len(hits) == 1 or all(by_name(injection.kind).when != "alone" for injection in hits)


def test_the_seed_decides_everything() -> None:
    assert draw(3) == draw(3)
    assert draw(3) != draw(4)


def test_kinds_can_be_chosen_in_all_or_some_of_their_runtimes() -> None:
    keys = {injection.key for study in draw(1, chosen("scancel; requeue / sif")) for injection in study}
    assert keys == {"scancel / sif", "scancel / sandbox", "requeue / sif"}
    with pytest.raises(SystemExit, match="no kind 'no such'"):
        chosen("no such")


def test_a_stopped_campaign_goes_on_with_what_is_not_finished(tmp_path: Path) -> None:
    studies = draw(1)
    journal = Journal(tmp_path / "journal.jsonl")
    finished, begun = studies[0], next(study for study in studies[1:] if len(study) > 1)
    journal.add([_record(injection, "healed") for injection in [*finished, begun[0]]])
    assert left(studies, journal.read()) == studies[1:]


def test_what_was_lost_is_tried_again_and_the_newest_record_counts(tmp_path: Path) -> None:
    study = [Injection("scancel", "sif", 2, 10)]
    journal = Journal(tmp_path / "journal.jsonl")
    journal.add([replace(RECORD, outcome="lost")])
    assert left([study], journal.read()) == [study]
    journal.add([RECORD])
    assert left([study], journal.read()) == []
    assert list(journal.read().values()) == [RECORD]
    assert len(journal.path.read_text().splitlines()) == 2, "what was lost stays in the file"


def test_a_line_that_was_cut_off_is_passed_over(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.add([RECORD])
    with journal.path.open("a") as out:
        out.write(json.dumps({"kind": "requeue"})[:9])
    assert list(journal.read().values()) == [RECORD]


@pytest.mark.parametrize(
    ("outcomes", "line", "code"),
    [
        (["healed", "rerun", "healed"], "faults: 3 injected, 2 healed, 1 rerun, 0 lost", 0),
        (["healed", "lost", "healed"], "faults: 3 injected, 2 healed, 0 rerun, 1 lost", 1),
        (["healed", "rerun"], "faults: 2 injected, 1 healed, 1 rerun, 0 lost", 1),
        ([], "faults: 0 injected, 0 healed, 0 rerun, 0 lost", 1),
    ],
)
def test_the_last_line_and_the_exit_code(outcomes: list[str], line: str, code: int) -> None:
    study = draw(1, chosen("scancel / sif; rank killed / sif; requeue / sif"))[0]
    records = [_record(injection, outcome) for injection, outcome in zip(study, outcomes, strict=False)]
    assert last_line([study], {record.key: record for record in records}) == (line, code)


def _record(injection: Injection, outcome: str) -> Record:
    return Record(injection.kind, injection.runtime, injection.task, injection.step, outcome, "", 1)
