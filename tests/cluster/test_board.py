"""How the state of a run looks."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from runs import make_plan

from msbatch.cluster.board import board, ranges
from msbatch.cluster.reasons import Evidence, explain
from msbatch.cluster.status import ReducerStatus, RunStatus, TaskStatus
from msbatch.plan import Plan, Relabelling, Task

ROOT = Path("runs/a")
SWIN = "swin_tiny_patch4_window7_224"


def study(patients: int, backbones: Sequence[str] = ("resnet50",)) -> Plan:
    return make_plan({f"P{number}": [number % 2] * 3 for number in range(patients)}, backbones)


def stands(plan: Plan, *phases: str, reducer: ReducerStatus | None = None, **told: Any) -> RunStatus:
    """Let tasks be in these phases, the rest of them waiting."""
    given = [*phases, *["waiting"] * (len(plan.tasks) - len(phases))]
    fields = {"attempt": 1, "steps": 120, "best_validation": None, "reason": "", "silent_s": None, **told}
    tasks = [
        TaskStatus(phase=phase, step=30 * (phase == "running"), **which(task), **fields)
        for task, phase in zip(plan.tasks, given, strict=True)
    ]
    return RunStatus(tasks, reducer, "", [])


def failing(plan: Plan, *evidence: Evidence | None) -> RunStatus:
    """Let tasks fail on the cluster by this evidence; None: done."""
    status = stands(plan, *["done"] * len(plan.tasks))
    for place, left in enumerate(evidence):
        if left is not None:
            why = explain(left)
            words = {"category": why.category, "reason": why.said, "hint": why.hint, "options": why.options}
            fields = {"phase": "failed", "attempt": 1, "step": 0, "steps": 0, "best_validation": None, "silent_s": None}
            status.tasks[place] = TaskStatus(**which(plan.tasks[place]), **fields, job="12", **words)
    return status


def which(task: Task) -> dict[str, Any]:
    return {name: getattr(task, name) for name in ("index", "backbone", "fold", "repeat", "relabelling")}


def shown(plan: Plan, status: RunStatus, width: int = 120, height: int | None = None) -> list[str]:
    out = io.StringIO()
    Console(width=width, file=out, soft_wrap=True).print(board(ROOT, plan, status, width, height))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_folds_are_rows_and_backbones_columns() -> None:
    plan = study(4, [SWIN, "resnet50"])
    lines = shown(plan, stands(plan, "done", "running", "queued", best_validation=0.25, attempt=2, left="3:10:00"))
    assert lines[0] == "runs/a: 1 of 8 tasks done, 1 running, 1 queued, 5 waiting"
    assert lines[2].split() == ["fold", "swin", "resnet50"]
    assert lines[4].startswith("01    30/120   val 0.250  attempt 2  3:10:00 left  waiting")
    assert lines[3].index("val") == lines[4].index("val"), "parts of cells stand below each other"


def test_a_running_task_shows_its_speed() -> None:
    plan = study(4)
    lines = shown(plan, stands(plan, "done", "running", images_per_second=41.3, best_validation=0.25))
    assert [line.split() for line in lines[3:5]] == [
        ["00", "done", "val", "0.250"],
        ["01", "30/120", "41", "img/s", "val", "0.250"],
    ]
    assert lines[3].index("val") == lines[4].index("val")


def test_backbones_that_do_not_fit_go_below() -> None:
    plan = study(4, [SWIN, "resnet50", "test_vit"])
    status = stands(plan, *["done"] * 12, best_validation=0.25)
    heads = [line.split() for line in shown(plan, status, width=40) if line.startswith("fold")]
    assert heads == [["fold", "swin", "resnet50"], ["fold", "test_vit"]]
    assert max(len(line) for line in shown(plan, status, width=40)[1:]) <= 40


def test_further_seeds_are_columns_and_permuted_labels_are_counted_unless_all_is_asked_for() -> None:
    plan = study(4, [SWIN]).with_seeds(2)
    labels = {fold.held_out: 1 for fold in plan.folds}
    plan = plan.with_relabellings([Relabelling(number=1, labels=labels, seed=None, folds=plan.folds)])
    status = stands(plan, *["done"] * 8, "running")
    lines = shown(plan, status, height=30)
    assert lines[2].split() == ["fold", "swin", "swin.seed-1"]
    assert "under permuted labels: 0 of 4 tasks done, 1 running, 3 waiting" in lines
    assert shown(plan, status)[2].split() == ["fold", "swin", "swin.seed-1", "swin.labels-01"]
    lost, memory = Evidence(slurm="NODE_FAIL"), Evidence(slurm="OUT_OF_MEMORY", mem_gb=16)
    lines = shown(plan, failing(plan, memory, *[None] * 4, lost))
    assert "  swin.seed-1 fold 01: its node was lost" in lines
    assert lines[-1] == "  -> msbatch rerun runs/a --failed --backbones swin.seed-1"
    assert "  -> msbatch rerun runs/a --failed --backbones swin --folds 0 --mem 32" in lines


def test_many_folds_share_rows_where_they_stand_alike() -> None:
    plan = study(300)
    status = stands(plan, *["done"] * 100, "running", "running", *["queued"] * 150)
    rows = [line.split() for line in shown(plan, status, height=30)[3:8]]
    assert rows == [
        ["00-99", "done"],
        ["100", "30/120"],
        ["101", "30/120"],
        ["102-251", "queued"],
        ["252-299", "waiting"],
    ]
    assert len(shown(plan, status)) > 300


def test_failures_are_grouped_by_reason_with_the_command_that_runs_them_again() -> None:
    plan = study(4, [SWIN, "resnet50"])
    memory, lost = Evidence(slurm="OUT_OF_MEMORY", mem_gb=16), Evidence(slurm="NODE_FAIL")
    lines = shown(plan, failing(plan, memory, None, memory, memory, lost))
    block = lines[lines.index("3 failed: out of memory") :]
    assert block == [
        "3 failed: out of memory",
        "  swin fold 00, 02-03: out of memory: Slurm ended it at its limit of 16 GB",
        "  -> give it more memory",
        "  -> msbatch rerun runs/a --failed --backbones swin --mem 32",
        "1 failed: node lost",
        "  resnet50 fold 00: its node was lost",
        "  -> msbatch rerun runs/a --failed --backbones resnet50",
    ]


def test_a_lone_reason_is_rerun_without_naming_tasks_and_a_shared_backbone_names_folds() -> None:
    plan = study(4)
    lost, time = Evidence(slurm="NODE_FAIL"), Evidence(slurm="TIMEOUT", time_min=60)
    assert shown(plan, failing(plan, lost, lost))[-1] == "  -> msbatch rerun runs/a --failed"
    lines = shown(plan, failing(plan, lost, time))
    assert lines[-1] == "  -> msbatch rerun runs/a --failed --backbones resnet50 --folds 1 --time 120"


def test_of_several_amounts_the_largest_is_asked_for() -> None:
    plan = study(4)
    small, large = Evidence(slurm="OUT_OF_MEMORY", mem_gb=4), Evidence(slurm="OUT_OF_MEMORY", mem_gb=16)
    assert shown(plan, failing(plan, small, large, small))[-1] == "  -> msbatch rerun runs/a --failed --mem 32"


def test_an_unknown_reason_points_to_the_log() -> None:
    plan = study(4)
    lines = shown(plan, failing(plan, None, Evidence(exit_code=2)))
    assert "  -> read its log: msbatch logs runs/a --fold 1 --backbone resnet50" in lines


def test_a_task_that_failed_on_this_machine_is_run_here_again() -> None:
    plan = study(4)
    lines = shown(plan, stands(plan, "failed", category="error", reason="no such backbone"))
    assert lines[-1] == "  -> msbatch submit --run runs/a --local"


def test_what_is_waited_for_is_said() -> None:
    plan = study(4)
    waits = stands(plan, "queued", "queued", reason="BeginTime", reducer=ReducerStatus("9", "queued", "Dependency"))
    lines = shown(plan, waits)
    assert "2 queued: Slurm lets a restarted task wait a while (BeginTime)" in lines
    held = stands(plan, "queued", "queued", "done", reason="launch failed requeued held")
    held.tasks[:2] = [replace(task, job=f"7_{number}") for number, task in enumerate(held.tasks[:2])]
    lines = shown(plan, held)
    assert "  scontrol release 7_0,7_1" in lines
    lines = shown(plan, waits)
    assert "reducer (job 9): queued, waits: for the tasks (Dependency)" in lines


@pytest.mark.parametrize(
    ("phase", "said"),
    [("done", "the tables are in runs/a/results"), ("partial", "are partial"), ("failed", "msbatch reduce runs/a")],
)
def test_the_reducer_says_where_its_tables_are(phase: str, said: str) -> None:
    plan = study(4)
    assert said in shown(plan, stands(plan, reducer=ReducerStatus("9", phase, "its node was lost")))[-1]


def test_silence_of_slurm_and_unsettled_submissions_are_said() -> None:
    plan = study(4)
    status = stands(plan)
    lines = shown(plan, RunStatus(status.tasks, None, "squeue gave no answer in 60 seconds", ["msb-1"]))
    assert lines[-2] == "squeue gave no answer in 60 seconds: this is what the files know."
    assert "msb-1" in lines[-1]


def test_neighbours_are_written_as_a_range() -> None:
    assert ranges([3, 1, 2, 9, 11, 12]) == "01-03, 09, 11-12"
