"""Commands that run the tasks of a study, on a cluster or here: submit, rerun."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msbatch.cli.options import (
    PATH,
    CommaList,
    NumberList,
    cluster_options,
    cluster_values,
    open_run,
    run_argument,
    study_options,
    study_settings,
)
from msbatch.cli.probe import frozen
from msbatch.cli.study import check_folds, check_training, check_weights, run_and_reduce, show_plan
from msbatch.errors import MsbatchError

if TYPE_CHECKING:
    from msbatch.cluster.ledger import Submission
    from msbatch.cluster.submit import Image, Order
    from msbatch.config import Settings
    from msbatch.layout import RunDir
    from msbatch.plan import Plan, Task

yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
dry_option = click.option("--dry-run", is_flag=True, help="Show what would be submitted; write nothing, run nothing.")


@click.command()
@study_options
@click.option("--run", type=PATH, help="Run this plan as it is, instead of drawing one.")
@click.option("--local", is_flag=True, help="Run on this machine, without a cluster.")
@click.option("--jobs", type=click.IntRange(1), help="With --local: tasks at once.  [default: what fits the cores]")
@click.option("--folds", type=NumberList(), help="Only these fold numbers.")
@click.option("--probe", is_flag=True, help="Only embed cells with frozen backbones, and reduce; see msbatch probe.")
@dry_option
@yes_option
@click.option("--prepare", is_flag=True, help="Get everything ready, but leave calling sbatch to you.")
@cluster_options
def submit(run: Path | None, local: bool, jobs: int | None, folds: list[int] | None, **given: Any) -> None:
    """Train every fold with every backbone, then reduce. The same command resumes what was stopped.

    \b
    Example:
      msbatch submit --backbones swin,resnet50
      msbatch submit --backbones swin,resnet50 --local
    """
    from msbatch.cluster import slurm

    if run is not None and given["store"] is not None:
        raise click.UsageError(f"--run and a store do not go together: {run} has its own.")
    if run is not None and given["probe"]:
        raise click.UsageError(f"--run and --probe do not go together: {run} has its own backbones.")
    if run is not None and given["share"]:
        raise click.UsageError("--run and --share do not go together: msbatch plan --share opens a run that exists.")
    if local:
        _submit_local(run, folds, jobs, given)
        return
    if not (given["dry_run"] or given["prepare"]):
        slurm.check()
    settings = _settings(given)
    found, drawn = _found_or_drawn(run, settings, given["new"])
    check_folds(drawn, folds)
    wanted = [task for task in drawn.tasks if task.frozen or not given["probe"]]
    tasks = [task for task in wanted if folds is None or task.fold in folds]
    order = _checked(found, drawn, settings, tasks, given["dry_run"])
    _submit_to_slurm(order, tasks, given, None if run is not None else settings)


@click.command()
@run_argument
@click.option("--failed", is_flag=True, help="Every task that is neither done nor queued.")
@click.option("--folds", type=NumberList(), help="Only these fold numbers.")
@click.option("--backbones", type=CommaList(), help="Only these backbones; swin.seed-1, say, is one seed's.")
@click.option("--fresh", is_flag=True, help="Train from the start instead of from the checkpoint.")
@dry_option
@yes_option
@cluster_options
def rerun(run: Path | None, **given: Any) -> None:
    """Submit chosen tasks once more, with other resources where needed, then reduce.

    \b
    Example:
      msbatch rerun --failed --mem 32
      msbatch rerun RUN --folds 2,5 --backbones swin --fresh
    """
    from msbatch.cluster.rerun import rerun as submit_again
    from msbatch.plan import load_plan
    from msbatch.settings_file import load_settings

    found = open_run(run)
    settings = load_settings(found.settings, {"cluster": cluster_values(given)})
    plan = load_plan(found.plan)
    tasks = _chosen(found, plan, given["failed"], given["folds"], given["backbones"])
    if not tasks:
        click.echo(f"{found.root}: there is nothing to run again.")
        return
    order = _checked(found, plan, settings, tasks, given["dry_run"])
    _show_order(order, tasks)
    if given["dry_run"]:
        _show_texts(order, tasks)
    elif _agreed(given["yes"]):
        _show_submitted(order, submit_again(order, tasks, given["fresh"]))


def _submit_local(run: Path | None, folds: list[int] | None, jobs: int | None, given: dict[str, Any]) -> None:
    from msbatch.cluster.submit import refuse_other_resources
    from msbatch.runs import create_or_reuse

    settings = _settings(given)
    chosen, drawn = _found_or_drawn(run, settings, given["new"])
    show_plan(chosen, drawn)
    if given["dry_run"]:
        return
    check_training()
    if run is None:
        refuse_other_resources(chosen, drawn)
        chosen = create_or_reuse(drawn, settings, given["new"])
    run_and_reduce(chosen, folds, jobs, probe=given["probe"])


def _settings(given: dict[str, Any]) -> Settings:
    settings = study_settings(given)
    return frozen(settings) if given["probe"] else settings


def _submit_to_slurm(order: Order, tasks: Sequence[Task], given: dict[str, Any], drawn_from: Settings | None) -> None:
    """Show what would be submitted, ask, save the plan where it was drawn just now, and submit."""
    from msbatch.cluster.submit import prepare, refuse_other_resources
    from msbatch.cluster.submit import submit as submit_tasks
    from msbatch.runs import create_or_reuse

    todo = _waiting(order, tasks)
    show_plan(order.run, order.plan)
    if todo:
        _show_order(order, todo)
    if given["dry_run"]:
        _show_texts(order, todo)
        return
    if todo:
        _warn_of_names(order)
    if todo and not given["prepare"] and not _agreed(given["yes"]):
        return
    if drawn_from is not None:
        refuse_other_resources(order.run, order.plan)
        order = replace(order, run=create_or_reuse(order.plan, drawn_from, given["new"]))
    if given["prepare"]:
        _show_by_hand(order, todo, prepare(order))
    else:
        _show_submitted(order, submit_tasks(order, tasks))


def _warn_of_names(order: Order) -> None:
    """Say before the first submission of a run that it holds patients' names, where it does."""
    from msbatch.cluster.ledger import read_ledger
    from msbatch.store import Store

    with Store(Path(order.plan.store.path)) as store:
        named = store.key_fingerprint is None
    if named and not read_ledger(order.run):
        click.echo(
            "Patients are named in the run's plan, predictions and results, closed to all but you or your group; "
            "msbatch pack --pseudonymise KEY makes a store without names."
        )


def _found_or_drawn(run: Path | None, settings: Settings, new: bool) -> tuple[RunDir, Plan]:
    """Give a run and its plan; what is drawn is not saved yet."""
    from msbatch.cohort.folds import draw_plan
    from msbatch.plan import load_plan
    from msbatch.runs import preview

    if run is not None:
        found = open_run(run)
        return found, load_plan(found.plan)
    return preview(draw_plan(settings.paths.store, settings), settings, new)


def _checked(run: RunDir, plan: Plan, settings: Settings, tasks: Sequence[Task], dry_run: bool) -> Order:
    """Check all that the tasks need before anything is queued."""
    from msbatch.cluster.sites import check_binds
    from msbatch.cluster.status import is_done
    from msbatch.cluster.submit import Image, Order
    from msbatch.store import verify_store

    image = Image()
    try:
        check_binds(settings.cluster, run, plan)
        check_weights(plan, {task.network for task in tasks if not is_done(run, task)})
        verify_store(Path(plan.store.path), plan.store.sha256)
        image = _image(settings, dry_run)
    except MsbatchError as error:
        if not dry_run:
            raise
        click.echo(f"Not ready yet: {error}", err=True)
    return Order(run, plan, settings.cluster, image)


def _image(settings: Settings, dry_run: bool) -> Image:
    from msbatch.cluster.submit import Image

    if settings.cluster.runtime == "none":
        return Image()
    from msbatch.cluster import container

    program = container.program(settings.cluster.program or "")
    facts = container.check(settings.cluster.image, program, remember=not dry_run)
    return Image(facts.path.resolve(), facts.bytes, facts.sha256)


def _waiting(order: Order, tasks: Sequence[Task]) -> list[Task]:
    from msbatch.cluster import slurm
    from msbatch.cluster.status import is_done
    from msbatch.cluster.submit import waiting

    try:
        return waiting(order.run, tasks)
    except slurm.SlurmError as error:
        click.echo(f"{error.problem}\nTasks that are queued cannot be told from those that are not.", err=True)
        return [task for task in tasks if not is_done(order.run, task)]


def _chosen(
    run: RunDir, plan: Plan, failed: bool, folds: list[int] | None, backbones: list[str] | None
) -> Sequence[Task]:
    from msbatch.cluster.survey import survey
    from msbatch.config import full_name

    if not (failed or folds or backbones):
        raise MsbatchError("Say which tasks: --failed, --folds or --backbones.", "msbatch status shows how they stand.")
    check_folds(plan, folds)
    names = {full_name(name) for name in backbones or plan.backbones}
    unknown = sorted(names - {*plan.backbones, *plan.arms})
    if unknown:
        raise MsbatchError(f"The run has no backbone {unknown[0]}: it has {', '.join(plan.arms)}.")
    chosen = [t for t in plan.tasks if names & {t.backbone, t.arm} and (folds is None or t.fold in folds)]
    if not failed:
        return chosen
    found = survey(run, chosen)
    if found.note:
        raise MsbatchError(f"{found.note}.", "Try again when Slurm answers, or name the tasks with --folds.")
    ended = {status.index for status in found.tasks if status.phase == "failed"}
    return [task for task in chosen if task.index in ended]


def _show_order(order: Order, tasks: Sequence[Task]) -> None:
    from msbatch.cli.tables import balance_tables, order_lines
    from msbatch.terminal import make_console

    console = make_console()
    for table in balance_tables(order.plan):
        console.print(table)
    for line in order_lines(order, tasks):
        click.echo(line)


def _show_texts(order: Order, tasks: Sequence[Task]) -> None:
    from msbatch.cluster.submit import sbatch_texts

    for text in sbatch_texts(order, tasks) if tasks else ():
        click.echo(f"\n{text.rstrip()}")
    click.echo("\nThis was a dry run: nothing was written or submitted.")


def _show_by_hand(order: Order, tasks: Sequence[Task], folder: Path) -> None:
    from msbatch.cluster.held import by_hand_name
    from msbatch.cluster.launches import LaunchFolder
    from msbatch.cluster.sites import sbatch_options, task_parameters
    from msbatch.layout import JobDir, data_dir

    array = f"--array={_ranges([task.index for task in tasks])}%{order.site.array_parallelism}"
    options = sbatch_options(task_parameters(order.site, order.plan.compute))
    name = f"--job-name={by_hand_name(order.run)}"
    output, error = LaunchFolder(JobDir(folder)).logs("%A_%a")
    logs = [f"--output={output}", f"--error={error}"]
    words = ["sbatch", array, name, *logs, *options, str(data_dir("slurm") / "lopo_array.sbatch"), str(order.run.root)]
    click.echo(f"Ready: {folder}. Submit it yourself, then reduce:")
    click.echo(f"  {shlex.join(words)}")
    click.echo(f"  msbatch reduce {order.run.root}")


def _ranges(numbers: Sequence[int]) -> str:
    """Write ascending numbers as sbatch reads them: 0-5,7."""
    starts = [n for n in numbers if n - 1 not in set(numbers)]
    ends = [n for n in numbers if n + 1 not in set(numbers)]
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))


def _agreed(yes: bool) -> bool:
    """Ask once, where there is somebody to ask."""
    if yes or not sys.stdin.isatty() or click.confirm("Submit?", default=True):
        return True
    click.echo("Nothing was submitted.")
    return False


def _show_submitted(order: Order, made: Sequence[Submission]) -> None:
    if not made:
        click.echo(f"Nothing to submit: every task of {order.run.root} is done or queued. See: msbatch status")
        return
    *arrays, reducer = made
    for array in arrays:
        click.echo(f"Submitted {len(array.tasks)} tasks as job {array.job}.")
    click.echo(f"The reducer is job {reducer.job}; it writes {order.run.results}.")
    click.echo(f"Follow it with: msbatch status {order.run.root} --watch")
