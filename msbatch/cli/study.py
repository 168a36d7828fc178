"""Commands that draw a plan and run it: plan, submit, demo."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msbatch.cli.options import PATH, NumberList, as_json, study_options, study_settings
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

    run = _plan_run(given)
    drawn = load_plan(run.plan)
    if as_json:
        click.echo(json.dumps({"run": str(run.root), **drawn.model_dump(mode="json")}, indent=2))
    else:
        _show_plan(run, drawn)


@click.command()
@study_options
@click.option("--run", type=PATH, help="Run this plan as it is, instead of drawing one.")
@click.option("--local", is_flag=True, help="Run on this machine, without a cluster.")
@click.option("--jobs", type=click.IntRange(1), help="Tasks at once.  [default: cores / (threads x processes)]")
@click.option("--folds", type=NumberList(), help="Only these fold numbers.")
@click.option("--dry-run", is_flag=True, help="Show folds and balance; write nothing, run nothing.")
def submit(
    run: Path | None, local: bool, jobs: int | None, folds: list[int] | None, dry_run: bool, **given: Any
) -> None:
    """Train every fold with every backbone, then reduce. The same command resumes what was stopped.

    \b
    Example:
      msbatch submit --backbones swin,resnet50 --local
    """
    from msbatch.layout import find_run
    from msbatch.plan import load_plan

    if dry_run:
        _show_plan(None, _draw(given) if run is None else load_plan(find_run(run).plan))
        return
    if not local:
        raise MsbatchError(_without_slurm(), "Run the same tasks on this machine with --local.")
    _check_training()
    chosen = find_run(run) if run is not None else _plan_run(given)
    _show_plan(chosen, load_plan(chosen.plan))
    _run_and_reduce(chosen, folds, jobs)


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

    _check_training()
    run = prepare_demo(folder)
    _run_and_reduce(run, None, jobs)


def _run_and_reduce(run: RunDir, folds: Sequence[int] | None, jobs: int | None) -> None:
    from msbatch.cli.outcome import show_reduction
    from msbatch.cluster.local import default_jobs, run_local
    from msbatch.cluster.status import is_done
    from msbatch.plan import load_plan

    plan = load_plan(run.plan)
    _check_folds(plan, folds)
    tasks = [task for task in plan.tasks if folds is None or task.fold in folds]
    _check_weights(plan, {task.backbone for task in tasks if not is_done(run, task)})
    failed = run_local(run, plan, tasks, jobs or default_jobs(plan.compute))
    complete = show_reduction(run)
    click.echo(f"\nTables:      {run.results}\nTensorBoard: msbatch tensorboard {run.root}")
    if failed:
        names = "\n".join(f"  {task.backbone} fold {task.fold:02d}: {task.reason.splitlines()[0]}" for task in failed)
        raise IncompleteError(
            f"{len(failed)} of {len(tasks)} tasks failed:\n{names}", "The same command tries them again."
        )
    if not complete:
        raise IncompleteError("Some folds have no predictions yet, so every total is partial.")


def _plan_run(given: dict[str, Any]) -> RunDir:
    from msbatch.cohort.folds import draw_plan
    from msbatch.runs import create_or_reuse

    settings = study_settings(given)
    return create_or_reuse(draw_plan(settings.paths.store, settings), settings, given["new"])


def _draw(given: dict[str, Any]) -> Plan:
    from msbatch.cohort.folds import draw_plan

    settings = study_settings(given)
    return draw_plan(settings.paths.store, settings)


def _show_plan(run: RunDir | None, plan: Plan) -> None:
    from msbatch.cli.tables import plan_table
    from msbatch.terminal import make_console

    make_console().print(plan_table(plan))
    for backbone in plan.backbones:
        indices = [task.index for task in plan.tasks if task.backbone == backbone]
        click.echo(f"{backbone}: tasks {indices[0]} to {indices[-1]}")
    if run is not None:
        click.echo(f"Run: {run.root}")


def _check_folds(plan: Plan, folds: Sequence[int] | None) -> None:
    unknown = [fold for fold in folds or () if fold >= len(plan.folds)]
    if unknown:
        raise MsbatchError(f"There is no fold {unknown[0]}: folds are 0 to {len(plan.folds) - 1}.")


def _check_weights(plan: Plan, backbones: set[str]) -> None:
    from msbatch.pretrained import find_weights

    for backbone in sorted(backbones) if plan.settings["pretrained"] else ():
        find_weights(Path(plan.weights_dir), backbone)


def _check_training() -> None:
    from importlib.util import find_spec

    missing = next((name for name in ("torch", "timm", "albumentations") if find_spec(name) is None), None)
    if missing:
        raise MsbatchError(f"Training needs {missing}.", "Install it with: pip install 'msbatch[train]'")


def _without_slurm() -> str:
    if shutil.which("sbatch") is None:
        return "There is no Slurm on this machine (no sbatch found)."
    return "This version does not submit to Slurm yet."
