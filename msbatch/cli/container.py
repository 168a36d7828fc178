"""Commands for the container image: build, check, show."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from msbatch.cli.options import PATH, as_json
from msbatch.errors import MsbatchError

if TYPE_CHECKING:
    from msbatch.cluster.container import ImageFacts

image_argument = click.argument("image", required=False, type=PATH)
FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.group()
def container() -> None:
    """Build and check the container image that tasks run in."""


@container.command()
@image_argument
@click.option("--wheels", type=FOLDER, help="Folder with a wheel of everything in requirements.lock: no network.")
@click.option("--torch-wheels", type=FOLDER, help="Folder with another flavour of torch, for older drivers.")
@click.option("--bootstrap", default="", help="How the builder gets its base: docker, localimage, oci-archive, ...")
@click.option("--base", default="", help="The base image.  [default: as pinned in containers/msbatch.def]")
@click.option("--squashfs", default="", help="Passed on to mksquashfs, such as '-comp zstd -Xcompression-level 3'.")
def build(
    image: Path | None, wheels: Path | None, torch_wheels: Path | None, bootstrap: str, base: str, squashfs: str
) -> None:
    """Build IMAGE (cluster.image where it is left out) from containers/msbatch.def and requirements.lock.

    It needs Apptainer 1.2 or newer and about 15 GB under $APPTAINER_TMPDIR. On a cluster without a network, fetch the
    wheels elsewhere (pip download --require-hashes -r requirements.lock -d FOLDER) and bring a base image.

    \b
    Examples:
      msbatch container build
      msbatch container build --wheels FOLDER --bootstrap oci-archive --base python.tar
    """
    from msbatch.cluster.build import Recipe
    from msbatch.cluster.build import build as build_image
    from msbatch.cluster.container import program

    recipe = Recipe(bootstrap, base, wheels, torch_wheels, squashfs)
    facts = build_image(image or _configured(), recipe, program(), click.echo)
    click.echo(_describe(facts))


@container.command()
@image_argument
@click.option("--full", is_flag=True, help="Hash the whole image, also where its size and time are as recorded.")
@as_json
def check(image: Path | None, full: bool, as_json: bool) -> None:
    """Say whether IMAGE is whole, agrees with this installation, and suits this node's driver.

    \b
    Example:
      msbatch container check msbatch.sif
    """
    from msbatch.cluster.container import check as compare
    from msbatch.cluster.container import program
    from msbatch.driver import explain_driver, read_driver

    facts = compare(image or _configured(), program(), full)
    driver = read_driver()
    if as_json:
        click.echo(json.dumps({**asdict(facts), "path": str(facts.path), "driver": driver}, indent=2))
    else:
        click.echo(f"{_describe(facts)}\nIt agrees with this installation.")
        click.echo(f"Driver of this node: {driver or 'none, so there is nothing to compare'}")
    problem = explain_driver(facts.cuda, driver)
    if problem:
        raise MsbatchError(problem)


@container.command()
@image_argument
def show(image: Path | None) -> None:
    """List what IMAGE holds: every Python package with the hash of its wheel, every Debian package.

    Columns are separated by tabs. What has no hash came with the base image.

    \b
    Example:
      msbatch container show msbatch.sif | grep torch
    """
    from msbatch.cluster.container import program, read_contents

    click.echo(read_contents(image or _configured(), program()), nl=False)


def _configured() -> Path:
    from msbatch.layout import SETTINGS
    from msbatch.settings_file import load_settings

    return load_settings(SETTINGS, {}).cluster.image


def _describe(facts: ImageFacts) -> str:
    origin = "from a folder of wheels, outside the lock" if facts.outside_lock else "as locked"
    return (
        f"{facts.path}: {facts.bytes / 1e9:.1f} GB, sha256 {facts.sha256[:12]}, Python {facts.python}, "
        f"submitit {facts.submitit}, torch {facts.torch} for CUDA {facts.cuda} ({origin})"
    )
