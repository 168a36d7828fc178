"""How the state of a run looks on a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from msbatch.cluster.reasons import CANCELLED, SEE_LOG
from msbatch.cluster.status import ReducerStatus, RunStatus, TaskStatus
from msbatch.config import short_name
from msbatch.plan import Plan

STYLES = {"done": "green", "running": "cyan", "queued": "yellow", "failed": "red", "waiting": "dim"}
PHASES = ("running", "queued", "waiting", "failed")
WAITS = {
    "BeginTime": "Slurm lets a restarted task wait a while",
    "JobArrayTaskLimit": "as many run as --array-parallelism allows",
    "Resources": "for free nodes",
    "Priority": "others come first",
    "Dependency": "for the tasks",
    "JobHeldUser": "held, perhaps by you, until it is let go",
    "JobHeldAdmin": "held by an administrator",
    "launch failed requeued held": "a node failed to start it, and Slurm holds it until it is let go",
    "job requeued in held state": "held until it is let go",
}
LET_GO = ("JobHeldUser", "launch failed requeued held", "job requeued in held state")
GAP = "  "

Row = Sequence[TaskStatus]  # one fold, in the order of the arms


def board(root: Path, plan: Plan, status: RunStatus, width: int, height: int | None) -> Group:
    """Lay out everything about a run: counts, table, failures, reducer.

    Parameters
    ----------
    root : Path
        The run's folder, as commands are to name it.
    width : int
        Columns of the terminal; arms that do not fit beside each other go below each other.
    height : int or None
        Lines to fill; where there are more folds, neighbours that stand alike share a row, and the
        trainings under permuted labels are only counted. None: a row and a column each.
    """
    parts: list[RenderableType] = [Text(f"{root}: {counted(status)}\n", style="bold")]
    for table in _tables(plan, status, width, height):
        parts += [table, Text()]
    parts += [] if height is None else [Text(line) for line in _permuted(status.tasks)]
    parts += [Text(line, style=STYLES["queued"]) for line in _waits(status.tasks)]
    parts += _failures(root, status.failed)
    parts += [_reducer(root, status.reducer)] if status.reducer else []
    parts += [Text(line, style="yellow") for line in _notes(root, status)]
    return Group(*parts)


def counted(status: RunStatus) -> str:
    """Say in a line how many tasks are where."""
    return _counted(status.tasks)


def _counted(tasks: Sequence[TaskStatus]) -> str:
    counts = Counter(task.phase for task in tasks)
    others = [f"{counts[phase]} {phase}" for phase in PHASES if counts[phase]]
    return ", ".join([f"{counts['done']} of {len(tasks)} tasks done", *others])


def _permuted(tasks: Sequence[TaskStatus]) -> list[str]:
    own = [task for task in tasks if task.relabelling is not None]
    return [f"under permuted labels: {_counted(own)}"] if own else []


def _tables(plan: Plan, status: RunStatus, width: int, height: int | None) -> list[Table]:
    found = {(task.arm, task.fold): task for task in status.tasks}
    arms = list(dict.fromkeys(task.arm for task in plan.tasks if height is None or task.relabelling is None))
    rows = [[found[arm, fold.number] for arm in arms] for fold in plan.folds]
    groups = [[row] for row in rows] if height is None or len(rows) <= height else list(_alike(rows))
    labels = [_label(group) for group in groups]
    columns = [_column([[row[place] for row in group] for group in groups]) for place in range(len(arms))]
    names = [short_name(arm) for arm in arms]
    widths = [max(len(name), *(len(cell) for cell in column)) for name, column in zip(names, columns, strict=True)]
    tables = []
    for places in _side_by_side(widths, width - max(4, *(len(label) for label in labels))):
        table = Table("fold", *(names[place] for place in places), box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for number, label in enumerate(labels):
            table.add_row(label, *(columns[place][number] for place in places))
        tables.append(table)
    return tables


def _alike(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Put neighbours together that stand alike; one that runs stands alone."""
    for _, group in groupby(rows, lambda row: [task.mark for task in row]):
        members = list(group)
        if any(task.phase == "running" for task in members[0]) or len(members) < 2:
            yield from ([row] for row in members)
        else:
            yield members


def _label(group: Sequence[Row]) -> str:
    first, last = group[0][0].fold, group[-1][0].fold
    return f"{first:02d}" if first == last else f"{first:02d}-{last:02d}"


def _column(groups: Sequence[Sequence[TaskStatus]]) -> list[Text]:
    """Write the cells of one arm, their parts below each other."""
    cells = [_cell(group) for group in groups]
    widths = [max(len(cell[part]) for cell in cells) for part in range(len(cells[0]))]
    written = []
    for group, (mark, *more) in zip(groups, cells, strict=True):
        cell = Text(mark.ljust(widths[0]), style=STYLES.get(group[0].phase, ""))
        cell.append("".join(f"{GAP}{part.ljust(size)}" for part, size in zip(more, widths[1:], strict=True) if size))
        cell.rstrip()
        written.append(cell)
    return written


def _cell(group: Sequence[TaskStatus]) -> tuple[str, str, str, str, str]:
    task = group[0]
    if len(group) > 1:
        return task.mark, "", "", "", ""
    score = f"val {task.best_validation:.3f}" if task.best_validation is not None else ""
    again = f"attempt {task.attempt}" if task.attempt > 1 else ""
    return task.mark, task.speed, score, again, f"{task.left} left" if task.left else ""


def _side_by_side(widths: Sequence[int], room: int) -> Iterator[list[int]]:
    """Deal out columns to as few tables as fit."""
    places: list[int] = []
    for place in range(len(widths)):
        if places and sum(widths[other] + len(GAP) for other in [*places, place]) > room:
            yield places
            places = []
        places.append(place)
    yield places


def _waits(tasks: Iterable[TaskStatus]) -> Iterator[str]:
    queued = [task for task in tasks if task.phase == "queued"]
    for reason, number in Counter(task.reason for task in queued).most_common():
        yield f"{number} queued: {_waits_for(reason)}"
        if reason in LET_GO:
            yield f"  scontrol release {','.join(str(task.job) for task in queued if task.reason == reason)}"


def _waits_for(reason: str) -> str:
    return f"{WAITS[reason]} ({reason})" if reason in WAITS else reason


def _failures(root: Path, failed: Sequence[TaskStatus]) -> list[Text]:
    """Write failures by reason, each with the command that runs them again."""
    found: list[Text] = []
    for category in dict.fromkeys(task.category for task in failed):
        group = [task for task in failed if task.category == category]
        what = category if category == CANCELLED else f"failed: {category}"
        found.append(Text(f"{len(group)} {what}", style=STYLES["failed"]))
        found += [Text(f"  {line}") for line in (*_who_and_why(group), *_remedy(root, group, failed))]
    return found


def _who_and_why(group: Sequence[TaskStatus]) -> Iterator[str]:
    for arm, reason in dict.fromkeys((task.arm, task.reason) for task in group):
        folds = [task.fold for task in group if (task.arm, task.reason) == (arm, reason)]
        why = "" if reason == group[0].category else f": {reason.splitlines()[0]}"
        yield f"{short_name(arm)} fold {ranges(folds)}{why}"


def _remedy(root: Path, group: Sequence[TaskStatus], failed: Sequence[TaskStatus]) -> Iterator[str]:
    task = group[0]
    if task.hint == SEE_LOG:
        yield f"-> read its log: msbatch logs {root} --fold {task.fold} --backbone {short_name(task.arm)}"
    elif task.hint:
        yield f"-> {task.hint.rstrip('.')}"
    yield f"-> {rerun_command(root, group, failed)}"


def rerun_command(root: Path, group: Sequence[TaskStatus], failed: Sequence[TaskStatus]) -> str:
    """Write the command that runs a group of failed tasks again, and none of the others."""
    if not any(task.job for task in group):
        return f"msbatch submit --run {root} --local"
    words = [f"msbatch rerun {root} --failed"]
    arms = dict.fromkeys(task.arm for task in group)
    if len(group) < len(failed):
        words.append(f"--backbones {','.join(short_name(arm) for arm in arms)}")
    if len(group) < sum(task.arm in arms or task.backbone in arms for task in failed):  # a backbone is all its arms
        words.append(f"--folds {','.join(str(fold) for fold in sorted({task.fold for task in group}))}")
    options = {task.options for task in group if task.options}  # of one kind, such as --mem 32: the most is enough
    return " ".join([*words, *sorted(options, key=lambda option: float(option.split()[1]))[-1:]])


def ranges(numbers: Sequence[int]) -> str:
    """Write numbers in order, neighbours as a range."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][-1] + 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    return ", ".join(f"{span[0]:02d}" if len(span) == 1 else f"{span[0]:02d}-{span[-1]:02d}" for span in spans)


def _reducer(root: Path, reducer: ReducerStatus) -> Text:
    said = {
        "queued": f"queued, waits: {_waits_for(reducer.reason)}",
        "running": "running",
        "done": f"done: the tables are in {root / 'results'}",
        "partial": f"done, but folds were missing: the tables in {root / 'results'} are partial",
        "failed": f"{_ended_badly(reducer.reason)}; reduce here with: msbatch reduce {root}",
    }
    style = "red" if reducer.phase == "failed" else ""
    return Text(f"reducer (job {reducer.job}): {said.get(reducer.phase, 'Slurm knows whether it runs')}", style=style)


def _ended_badly(reason: str) -> str:
    return reason if CANCELLED in reason else f"failed: {reason}"


def _notes(root: Path, status: RunStatus) -> list[str]:
    notes = [f"{status.note}: this is what the files know."] if status.note else []
    if status.unsettled:
        notes.append(
            f"Nobody knows yet whether Slurm took {', '.join(status.unsettled)}: msbatch submit --run {root} finds out."
        )
    return notes
