"""Commands that look at what came out: status, reduce, report, tensorboard."""

from __future__ import annotations

import getpass
import json
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from msbatch.cli.options import as_json, open_run, run_argument
from msbatch.errors import IncompleteError, MsbatchError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from msbatch.cluster.status import RunStatus
    from msbatch.layout import RunDir
    from msbatch.results.reduction import Reduction

ROWS = 24  # of a table that is read at a glance

# TensorBoard smooths by default, which shows no fold as it was; colours runs one by one, which tells no backbone from
# another; and beyond 40 runs its custom scalars show none. These addresses make up for it.
FOLDS = r"?smoothing=0&tagFilter=%5E(train/loss|validation)&runColorGroup=regex:(%5Cw%2B/%5B%5E/%5D%2B)#timeseries"
SUMMARIES = "#custom_scalars&regexInput=summary&_smoothingWeight=0"


@click.command()
@run_argument
@click.option(
    "--watch", is_flag=True, help="Look again and again, until nothing is queued or running; exit 3 if tasks failed."
)
@click.option("--all", "whole", is_flag=True, help="Give every fold a row, however many there are.")
@as_json
def status(run: Path | None, watch: bool, whole: bool, as_json: bool) -> int:
    """Show how far every fold is, and why tasks failed.

    \b
    Example:
      msbatch status
      msbatch status RUN --watch
    """
    from msbatch.cluster.board import board
    from msbatch.cluster.follow import follow
    from msbatch.cluster.survey import Answers, survey
    from msbatch.plan import load_plan
    from msbatch.terminal import make_console

    if watch and as_json:
        raise click.UsageError("--watch and --json do not go together.")
    found = open_run(run)
    plan, answers, console = load_plan(found.plan), Answers(), make_console()
    height = None if whole else max(ROWS, console.height - ROWS if console.is_terminal else 0)

    def look() -> RunStatus:
        return survey(found, plan.tasks, answers)

    def show(status: RunStatus) -> RenderableType:
        return board(found.root, plan, status, console.width, height)

    if as_json:
        click.echo(json.dumps({"run": str(found.root), **look().as_json()}, indent=2))
        return 0
    if watch:
        return IncompleteError.exit_code if follow(look, show, console).failed else 0
    console.print(show(look()))
    return 0


@click.command("reduce")
@run_argument
@click.option("--allow-partial", is_flag=True, help="Exit 0 although folds are missing; the tables stay marked.")
@as_json
def reduce(run: Path | None, allow_partial: bool, as_json: bool) -> None:
    """Turn predictions into tables.

    \b
    Example:
      msbatch reduce
    """
    found = open_run(run)
    if not show_reduction(found, as_json) and not allow_partial:
        raise _incomplete(found)


@click.command()
@run_argument
@click.option("--allow-partial", is_flag=True, help="Exit 0 although folds are missing; the report stays marked.")
def report(run: Path | None, allow_partial: bool) -> None:
    """Turn predictions into one page to read, print and pass on.

    It needs no network and no other file, and holds names of patients and pictures of their cells.

    \b
    Example:
      msbatch report
    """
    from msbatch.results.report.page import write_report
    from msbatch.results.tables import headline

    found = open_run(run)
    reduction = _reduce(found)
    click.echo(write_report(found, reduction))
    click.echo(headline(reduction))
    if not reduction.complete and not allow_partial:
        raise _incomplete(found)


@click.command()
@run_argument
@click.option("--port", type=click.IntRange(1, 65535), default=6006, show_default=True, help="Port on this machine.")
def tensorboard(run: Path | None, port: int) -> None:
    """Show training curves by backbone and fold, and their summaries once reduced, on this machine only.

    \b
    Example:
      msbatch tensorboard --port 6007
    """
    from msbatch.plan import load_plan
    from msbatch.results.logdir import link_runs

    found = open_run(run)
    _check_free(port)
    folder = link_runs(found, load_plan(found.plan))
    tunnel = f"ssh -L {port}:127.0.0.1:{port} {getpass.getuser()}@{socket.gethostname()}"
    click.echo(f"http://127.0.0.1:{port}  (from elsewhere: {tunnel})")
    click.echo(f"Every fold, and the mean of each backbone:  http://127.0.0.1:{port}/{FOLDS}")
    click.echo(f"Means with the range of their folds:        http://127.0.0.1:{port}/{SUMMARIES}")
    click.echo(
        "TensorBoard has no authentication: it listens on this machine's loopback only, where everybody who is "
        "logged in here can look. End it with Ctrl-C."
    )
    command = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        str(folder),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    sys.stdout.flush()
    os.execv(sys.executable, command)  # noqa: S606


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as TensorBoard does
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise MsbatchError(f"Port {port} cannot be used: {reason}.", "Choose another one with --port.") from None


def show_reduction(run: RunDir, as_json: bool = False) -> bool:
    """Reduce a run, print its tables, and say whether it is complete."""
    from msbatch.results import show
    from msbatch.terminal import make_console

    reduction = _reduce(run)
    if as_json:
        click.echo(json.dumps(show.as_json(reduction), indent=2))
        return reduction.complete
    console = make_console()
    for part in show.tables(reduction):
        console.print(part)
        console.print()
    return reduction.complete


def _incomplete(run: RunDir) -> IncompleteError:
    see = f"See why with: msbatch status {run.root}, and in {run.results / 'missing.csv'}"
    train = f"Train them with: msbatch submit --run {run.root} --local, or as {run.results / 'missing.csv'} says"
    return IncompleteError("Folds are missing, so every total is partial.", see if run.on_cluster else train)


def _reduce(run: RunDir) -> Reduction:
    """Reduce a run; on a terminal something moves meanwhile."""
    from msbatch.results.reduce import reduce as reduce_run
    from msbatch.terminal import make_console

    with make_console(stderr=True).status("Reading predictions, running tests ..."):
        return reduce_run(run)
