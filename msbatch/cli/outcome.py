"""Commands that look at what came out: status, reduce, tensorboard."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from msbatch.cli.options import as_json, run_argument
from msbatch.errors import IncompleteError

if TYPE_CHECKING:
    from msbatch.layout import RunDir


@click.command()
@run_argument
@as_json
def status(run: Path | None, as_json: bool) -> None:
    """Show how far every fold is.

    \b
    Example:
      msbatch status
    """
    from msbatch.cluster import status as view
    from msbatch.layout import find_run
    from msbatch.plan import load_plan
    from msbatch.terminal import make_console

    found = find_run(run)
    plan = load_plan(found.plan)
    statuses = view.run_status(found, plan)
    if as_json:
        click.echo(json.dumps(view.as_json(statuses), indent=2))
        return
    done = sum(status.phase == "done" for status in statuses)
    click.echo(f"{found.root}: {done} of {len(statuses)} tasks done")
    make_console().print(view.status_table(statuses, plan))
    reasons: dict[tuple[str, str], list[str]] = {}
    for failed in (status for status in statuses if status.phase == "failed"):
        reasons.setdefault((failed.backbone, failed.reason), []).append(f"{failed.fold:02d}")
    for (backbone, reason), folds in reasons.items():
        click.echo(f"{backbone} fold {', '.join(folds)}: {reason}")


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
    from msbatch.layout import find_run

    found = find_run(run)
    if not show_reduction(found, as_json) and not allow_partial:
        raise IncompleteError(
            "Folds are missing, so every total is partial.", "Train them with: msbatch submit --local"
        )


@click.command()
@run_argument
@click.option("--port", type=int, default=6006, show_default=True, help="Port on this machine.")
def tensorboard(run: Path | None, port: int) -> None:
    """Show training curves, by backbone and fold, on this machine only.

    \b
    Example:
      msbatch tensorboard --port 6007
    """
    from msbatch.layout import find_run

    folder = find_run(run).tasks
    click.echo(f"http://127.0.0.1:{port}  (from elsewhere: ssh -L {port}:127.0.0.1:{port} <this machine>)")
    click.echo("TensorBoard asks nobody for a password: it listens on this machine's loopback only.")
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


def show_reduction(run: RunDir, as_json: bool = False) -> bool:
    """Reduce a run, print its tables, and say whether it is complete."""
    from msbatch.results import show
    from msbatch.results.reduce import reduce as reduce_run
    from msbatch.terminal import make_console

    reduction = reduce_run(run)
    if as_json:
        click.echo(json.dumps(show.as_json(reduction), indent=2))
        return reduction.complete
    console = make_console()
    for part in show.tables(reduction):
        console.print(part)
        console.print()
    return reduction.complete
