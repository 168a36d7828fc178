"""The command that checks a store or a run against what was written: verify."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import click

from msbatch.cli.options import PATH, as_json
from msbatch.errors import DiskError, MsbatchError

if TYPE_CHECKING:
    from msbatch.layout import RunDir
    from msbatch.plan import Task
    from msbatch.verify import Finding, Part

DAMAGED = 1
SETTLED_S = 2  # a task or a reducer that is at work has moved its files into place by then


@click.command()
@click.argument("target", metavar="[RUN|STORE]", required=False, type=PATH)
@as_json
def verify(target: Path | None, as_json: bool) -> int:
    """Check a store, or everything in a run, against the hashes that were recorded when it was written.

    Names what is damaged or gone, and the command that makes it anew. Changes nothing. Exit code 0 if all is as it
    was written, though tasks may not be done yet; 1 if anything is damaged, gone or cannot be read.

    \b
    Example:
      msbatch verify
      msbatch verify cohort.h5
    """
    from msbatch.files import hash_beside
    from msbatch.layout import find_run
    from msbatch.terminal import progress

    if target is not None and not target.exists() and not hash_beside(target).exists():
        raise MsbatchError(f"{target} does not exist.", "Name a store, or a run: a folder under runs/.")
    if target is not None and not target.is_dir():
        checked, parts = target, _parts_of_store(target)
    else:
        run = find_run(target)
        checked, parts = run.root, _parts_of_run(run)
    with progress("verifying", len(parts), "parts") as advance:
        found = look_twice(parts, advance)
    _show_json(checked, found) if as_json else _show(checked, found)
    return DAMAGED if any(finding.bad for finding in found) else 0


def look_twice(parts: Sequence[Part], advance: Callable[[int], None]) -> list[Finding]:
    """Make all checks, and once more, after a moment, those in which all was not well."""
    from msbatch.verify import last_look, look

    looks: list[list[Finding] | None] = []
    for part in parts:
        looks.append(look(part))
        advance(1)
    if None in looks:
        time.sleep(SETTLED_S)
    return [
        each for part, found in zip(parts, looks, strict=True) for each in (last_look(part) if found is None else found)
    ]


def _parts_of_store(path: Path) -> list[Part]:
    from msbatch.verify import check_store

    return [partial(check_store, path)]


def _parts_of_run(run: RunDir) -> list[Part]:
    from msbatch.verify import open_plan, parts

    plan, first = open_plan(run)
    if plan is None:
        return [lambda: iter([first])]
    trained = [task for task in plan.tasks if not task.frozen]
    curves = [partial(_check_curves, run, task) for task in trained]
    return [lambda: iter([first]), *parts(run, plan), *curves, partial(_check_code, run)]


def _check_curves(run: RunDir, task: Task) -> Iterator[Finding]:
    """Read the event files of a finished task; they are appended to, so that they carry checksums but no hash."""
    from msbatch.remedies import do_again
    from msbatch.results.curves import read_curves
    from msbatch.verify import Finding

    folder = run.task(task.arm, task.fold)
    if not folder.done:
        return
    try:
        read_curves(folder)
    except MsbatchError as error:
        problem = f"{folder.tensorboard}: {error.problem} No table needs them."
        remedy = error.hint if isinstance(error, DiskError) else do_again(run, task, str(run.root))
        yield Finding(folder.tensorboard, "note", problem, remedy)
    else:
        yield Finding(folder.tensorboard)


def _check_code(run: RunDir) -> Iterator[Finding]:
    from msbatch.cluster.freeze import code_digest
    from msbatch.remedies import resume
    from msbatch.verify import Finding

    for folder in sorted(path for path in run.code.glob("[!.]*") if path.is_dir()):
        if run.frozen(code_digest(folder)) == folder:
            yield Finding(folder)
        else:
            problem = f"{folder} is not the code that it is named by; the next submission writes its own."
            yield Finding(folder, "damaged", problem, resume(run, str(run.root)))


def _show(checked: Path, found: list[Finding]) -> None:
    from msbatch.terminal import make_console
    from msbatch.verify import BAD

    console = make_console()
    told = [finding for finding in found if finding.state != "ok"]
    for finding, after in zip_longest(told, told[1:]):
        console.print(f"{finding.state:<8} {finding.problem}")
        if finding.remedy and (after is None or after.remedy != finding.remedy):  # once for all that call for it
            console.print(f"{'':<8} {finding.remedy}")
    counts = Counter(finding.state for finding in found)
    words = [f"{counts[state]} {state}" for state in BAD if counts[state]]
    console.print(f"{checked}: {len(found)} checked, {', '.join(words) or 'nothing damaged or missing'}.")


def _show_json(checked: Path, found: list[Finding]) -> None:
    told = [vars(finding) | {"path": str(finding.path)} for finding in found if finding.state != "ok"]
    well = not any(finding.bad for finding in found)
    click.echo(json.dumps({"target": str(checked), "checked": len(found), "well": well, "findings": told}, indent=2))
