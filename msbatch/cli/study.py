"""Commands that draw a plan, and run a small study: plan, demo."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msbatch.cli.options import PATH, as_json, study_options, study_settings
from msbatch.errors import IncompleteError, MsbatchError

if TYPE_CHECKING:
    from msbatch.layout import RunDir
    from msbatch.plan import Plan


@click.command()
@study_options
@as_json
def plan(as_json: bool, **given: Any) -> None:
    """Draw the folds of a study and freeze them in a run.

    \b
    Example:
      msbatch plan cohort.h5 --backbones swin,resnet50
    """
    from msbatch.plan import load_plan

    run = plan_run(given)
    drawn = load_plan(run.plan)
    if as_json:
        click.echo(json.dumps({"run": str(run.root), **drawn.model_dump(mode="json")}, indent=2))
    else:
        show_plan(run, drawn, most=len(drawn.folds))


@click.command()
@click.option("--folder", type=PATH, default=Path("demo"), help="Where cohort and run are put.", show_default=True)
@click.option("--jobs", type=click.IntRange(1), help="Tasks at once.")
def demo(folder: Path, jobs: int | None) -> None:
    """Run a whole small study on a synthetic cohort: 8 patients, two backbones, every fold.

    \b
    Example:
      msbatch demo
    """
    from msbatch.cli.demo import prepare_demo

    check_training()
    run = prepare_demo(folder)
    run_and_reduce(run, None, jobs)


def run_and_reduce(
    run: RunDir, folds: Sequence[int] | None, jobs: int | None, *, probe: bool = False, as_json: bool = False
) -> None:
    """Do tasks on this machine, those of frozen backbones alone for a probe, then print the tables."""
    from msbatch.cli.outcome import show_reduction
    from msbatch.cluster.local import default_jobs, run_local
    from msbatch.cluster.status import is_done
    from msbatch.plan import load_plan

    plan = load_plan(run.plan)
    check_folds(plan, folds)
    tasks = [task for task in plan.tasks if (folds is None or task.fold in folds) and (task.frozen or not probe)]
    check_weights(plan, {task.network for task in tasks if not is_done(run, task)})
    failed = run_local(run, plan, tasks, jobs or default_jobs(plan.compute))
    complete = show_reduction(run, as_json)
    if not as_json:
        click.echo(f"\nTables:      {run.results}\nReport:      msbatch report {run.root}")
    if not as_json and not probe:
        click.echo(f"TensorBoard: msbatch tensorboard {run.root}")
    if failed:
        names = "\n".join(f"  {task.arm} fold {task.fold:02d}: {task.reason.splitlines()[0]}" for task in failed)
        raise IncompleteError(
            f"{len(failed)} of {len(tasks)} tasks failed:\n{names}", "The same command tries them again."
        )
    if not complete and not probe:  # what is to be trained may wait
        raise IncompleteError("Some folds have no predictions yet, so every total is partial.")


def plan_run(given: dict[str, Any]) -> RunDir:
    """Draw a plan and save it in its run."""
    from msbatch.cohort.folds import draw_plan
    from msbatch.runs import create_or_reuse

    settings = study_settings(given)
    return create_or_reuse(draw_plan(settings.paths.store, settings), settings, given["new"])


def show_plan(run: RunDir | None, plan: Plan, most: int = 40) -> None:
    """Print the folds, unless there are too many to look at, the design, and the numbers of the tasks."""
    from msbatch.cli.tables import design_lines, plan_table, task_lines
    from msbatch.terminal import make_console

    if len(plan.folds) <= most:
        make_console().print(plan_table(plan))
    else:
        click.echo(f"{len(plan.folds)} folds: msbatch plan lists them")
    for line in (*design_lines(plan), *task_lines(plan)):
        click.echo(line)
    if run is not None:
        click.echo(f"Run: {run.root}")


def check_folds(plan: Plan, folds: Sequence[int] | None) -> None:
    """Refuse the number of a fold that the plan does not have."""
    unknown = [fold for fold in folds or () if fold >= len(plan.folds)]
    if unknown:
        raise MsbatchError(f"There is no fold {unknown[0]}: folds are 0 to {len(plan.folds) - 1}.")


def check_weights(plan: Plan, backbones: set[str]) -> None:
    """Refuse backbones whose pretrained weights are not there."""
    from msbatch.pretrained import find_weights

    for backbone in sorted(backbones) if plan.settings["pretrained"] else ():
        find_weights(Path(plan.weights_dir), backbone)


def check_training() -> None:
    """Refuse to train where torch and its companions are not installed."""
    from importlib.util import find_spec

    missing = next((name for name in ("torch", "timm", "albumentations") if find_spec(name) is None), None)
    if missing:
        raise MsbatchError(f"Training needs {missing}.", "Install it with: pip install 'msbatch[train]'")
