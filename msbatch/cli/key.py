"""The command that makes the secret key of a cohort's pseudonyms: key."""

from __future__ import annotations

from pathlib import Path

import click

from msbatch.cli.options import PATH


@click.group()
def key() -> None:
    """Make the key under which patients get pseudonyms."""


@key.command()
@click.argument("file", type=PATH)
def new(file: Path) -> None:
    """Write a new random key into a new file that only you can read.

    With it, msbatch pack --pseudonymise FILE gives each patient the same pseudonym every time. Keep it apart from the
    store and off the cluster: whoever has it can test which pseudonym is whose. If it is lost, no pseudonym can be made
    again.

    \b
    Example:
      msbatch key new ~/cohort.key
    """
    from msbatch.cohort.pseudonyms import new_key

    new_key(file)
    click.echo(f"Wrote {file}. Keep it apart from the store, off the cluster, and have a copy in a safe place.")
