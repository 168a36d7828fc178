"""Commands for pretrained weights: get, list, check."""

from __future__ import annotations

from pathlib import Path

import click

from msbatch.cli.options import PATH
from msbatch.errors import MsbatchError

folder_option = click.option(
    "--dir", "folder", type=PATH, default=Path("weights"), show_default=True, help="The weights folder."
)


@click.group()
def weights() -> None:
    """Fetch, list and check pretrained weights."""


@weights.command()
@click.argument("backbones", nargs=-1, required=True)
@folder_option
def get(backbones: tuple[str, ...], folder: Path) -> None:
    """Fetch weights; the one command that uses the network.

    \b
    Example:
      msbatch weights get swin resnet50 --dir weights
    """
    from msbatch.training.weights import get as fetch

    for backbone in backbones:
        click.echo(f"Wrote {fetch(backbone, folder)}")


@weights.command("list")
@folder_option
def list_(folder: Path) -> None:
    """List the weight files of a folder.

    \b
    Example:
      msbatch weights list
    """
    from msbatch.training.weights import list_weights

    for entry in list_weights(folder):
        note = "" if entry["listed"] else "  (not in the manifest)"
        click.echo(f"{entry['backbone']}  {entry['bytes'] / 1e6:.1f} MB  {entry['file']}{note}")


@weights.command()
@folder_option
def check(folder: Path) -> None:
    """Compare weight files with the hashes of their manifest.

    \b
    Example:
      msbatch weights check
    """
    from msbatch.training.weights import check as compare

    entries = compare(folder)
    for entry in entries:
        click.echo(f"{entry['status']:9} {entry['file']}")
    bad = [entry["file"] for entry in entries if entry["status"] in ("changed", "missing")]
    if bad:
        raise MsbatchError(f"{bad[0]} is not what was fetched.", "Fetch it again with: msbatch weights get")
