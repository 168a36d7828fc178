"""The group of all commands, and how their errors reach a person."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from msbatch.access import keep_private
from msbatch.errors import MsbatchError, explained

COMMANDS = {
    "demo": "study",
    "init": "cohort",
    "key": "key",
    "pack": "cohort",
    "inspect": "cohort",
    "plan": "study",
    "probe": "probe",
    "submit": "submit",
    "rerun": "submit",
    "status": "outcome",
    "logs": "cluster",
    "cancel": "cluster",
    "reduce": "outcome",
    "report": "outcome",
    "verify": "verify",
    "tensorboard": "outcome",
    "weights": "weights",
    "container": "container",
    "doctor": "cluster",
}

AS_USER = ("container", "doctor")  # what these write, or look at, follows the user's umask

HELP = """Leave-one-patient-out transfer learning on blood-cell images.

\b
From a folder of images to a report:
  msbatch pack images/ --table cohort.csv -o cohort.h5
  msbatch submit --backbones swin,resnet50 --local
  msbatch report

Settings come from msbatch.toml (write one with: msbatch init), then from MSBATCH_<COMMAND>_<OPTION>
in the environment, then from flags. Where RUN can be left out, it is the newest run.

\b
Exit codes: 0 fine; 1 an error you can mend; 2 wrong usage; 3 incomplete, because folds
are missing or failed; 130 interrupted.
Shell completion: eval "$(_MSBATCH_COMPLETE=bash_source msbatch)"
"""


class Verbs(click.Group):
    """Commands that are imported when they are asked for, in the order of a study."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Give all names, in the order of a study."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the module of one command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"msbatch.cli.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command


@click.group(cls=Verbs, help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="msbatch")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Gather all commands."""
    if ctx.invoked_subcommand not in AS_USER:
        keep_private()


def main() -> None:
    """Run the command line; every error a user can mend becomes one or two lines and an exit code."""
    try:
        result: Any = cli.main(auto_envvar_prefix="MSBATCH", standalone_mode=False)
    except click.exceptions.Abort:  # click's name for an interrupt
        _stop("Interrupted: what was finished is kept. The same command goes on from there.", 130)
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from None
    except MsbatchError as error:
        _stop(f"Error: {error}", error.exit_code)
    except OSError as error:  # no space left, a folder that may not be written, ...
        _stop(f"Error: {explained(error)}", 1)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("msbatch"):
            raise
        _stop(f"Error: this needs the Python package {error.name}.\nInstall it with: pip install 'msbatch[train]'", 1)
    raise SystemExit(result if isinstance(result, int) else 0)


def _stop(message: str, code: int) -> None:
    click.echo(message, file=sys.stderr)
    raise SystemExit(code)
