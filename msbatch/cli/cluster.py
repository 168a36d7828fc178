"""Commands about the jobs of a run and the cluster under them: logs, cancel, doctor."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msbatch.cli.options import as_json, cluster_options, cluster_values, open_run, run_argument
from msbatch.errors import MsbatchError

if TYPE_CHECKING:
    from msbatch.cluster.doctor import Check
    from msbatch.cluster.held import Held
    from msbatch.cluster.status import TaskStatus
    from msbatch.plan import Plan, Task


@click.command()
@run_argument
@click.option("--fold", type=int, required=True, help="Number of the fold.")
@click.option(
    "--backbone", help="timm name or short name, with .seed-1 and the like behind it; not needed where the run has one."
)
@click.option("-n", "--lines", type=click.IntRange(1), default=100, show_default=True, help="Last lines of each log.")
@click.option("-f", "--follow", is_flag=True, help="Go on showing what is added, until the task ends.")
def logs(run: Path | None, fold: int, backbone: str | None, lines: int, follow: bool) -> None:
    """Show what a task, its launcher and Slurm wrote down.

    \b
    Example:
      msbatch logs --fold 3 --backbone swin -f
    """
    from msbatch.cluster import logs as view
    from msbatch.cluster.survey import survey
    from msbatch.plan import load_plan

    found = open_run(run)
    task = _task(load_plan(found.plan), fold, backbone)
    tails = [view.Tail(path) for path in view.log_files(found, task)]
    for tail in tails:
        last, skipped = tail.last(lines)
        _show(tail.path, last, skipped)

    def goes_on() -> bool:
        status = survey(found, [task])
        return status.silent or status.tasks[0].live

    with suppress(KeyboardInterrupt):
        for path, more in view.follow(tails, goes_on) if follow else ():
            _show(path, more)
    click.echo(_said(survey(found, [task]).tasks[0]))


@click.command()
@run_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
def cancel(run: Path | None, yes: bool) -> None:
    """End every job of a run that Slurm still holds, and nothing else of yours.

    \b
    Example:
      msbatch cancel
    """
    from msbatch.cluster import slurm
    from msbatch.cluster.held import held

    found = open_run(run)
    jobs = held(found)
    if not jobs.jobs:
        click.echo(f"{found.root}: Slurm holds nothing of it.")
        return
    what = _counted(jobs)
    if not yes and sys.stdin.isatty() and not click.confirm(f"{found.root}: cancel {what}?"):
        click.echo("Nothing was cancelled.")
        return
    slurm.cancel(jobs.jobs)
    click.echo(f"{found.root}: cancelled {what}. What was finished or saved stays.")
    click.echo(f"Go on with: msbatch rerun {found.root} --failed")


@click.command()
@cluster_options
@as_json
def doctor(as_json: bool, **given: Any) -> int:
    """Check whether a study can be submitted from here: every line ok, or what to do.

    Exit code 1 says that something stops a submission.

    \b
    Example:
      msbatch doctor
    """
    from msbatch.cluster.doctor import examine
    from msbatch.layout import SETTINGS
    from msbatch.settings_file import load_settings

    checks = []
    for check in examine(load_settings(SETTINGS, {"cluster": cluster_values(given)})):
        checks.append(check)
        if not as_json:
            _show_check(check)
    if as_json:
        click.echo(json.dumps([asdict(check) for check in checks], indent=2))
    return int(any(check.blocks and not check.ok for check in checks))


def _task(plan: Plan, fold: int, backbone: str | None) -> Task:
    from msbatch.cli.study import check_folds
    from msbatch.config import full_name

    check_folds(plan, [fold])
    if backbone is None and len(plan.backbones) > 1:
        raise MsbatchError("Say which backbone with --backbone.", f"The run has {', '.join(plan.backbones)}.")
    name = full_name(backbone or plan.backbones[0])
    for task in plan.tasks:
        if (task.arm, task.fold) == (name, fold):
            return task
    raise MsbatchError(f"The run has no backbone {name}.", f"It has {', '.join(plan.arms)}.")


def _show(path: Path, lines: Sequence[str], skipped: int = 0) -> None:
    if lines:
        before = f"  ({skipped} lines before these)" if skipped else ""
        click.secho(f"==> {path} <=={before}", dim=True)
        click.echo("\n".join(lines))


def _said(task: TaskStatus) -> str:
    from msbatch.config import short_name

    job = f", job {task.job}" if task.job else ""
    why = f": {task.reason}" if task.reason else ""
    step = f" at step {task.step} of {task.steps}" if task.steps and task.phase == "running" else ""
    return f"{short_name(task.arm)} fold {task.fold:02d} is {task.phase}{step}{job}{why}"


def _counted(jobs: Held) -> str:
    tasks = [f"{number} {phase}" for number, phase in ((jobs.running, "running"), (jobs.queued, "queued")) if number]
    parts = [f"{' and '.join(tasks)} task{'s' if jobs.running + jobs.queued > 1 else ''}"] if tasks else []
    parts += [f"{len(jobs.reducers)} reducer{'s' if len(jobs.reducers) > 1 else ''}"] if jobs.reducers else []
    return " and ".join(parts)


def _show_check(check: Check) -> None:
    mark, colour = ("ok", "green") if check.ok else (("FAIL", "red") if check.blocks else ("note", "yellow"))
    click.echo(f"{click.style(f'{mark:<5}', fg=colour)} {check.name:<14} {check.said}")
    if check.hint:
        click.echo(f"{'':<20} -> {check.hint}")
