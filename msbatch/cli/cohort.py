"""Commands from images to a store: init, pack, inspect."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from msbatch.cli.options import PATH, CommaList, as_json, share_option
from msbatch.errors import MsbatchError


@click.command()
def init() -> None:
    """Write msbatch.toml, every setting with its meaning.

    \b
    Example:
      msbatch init
    """
    from msbatch.config import Settings
    from msbatch.files import write_text
    from msbatch.layout import SETTINGS
    from msbatch.settings_file import to_toml

    if SETTINGS.exists():
        raise MsbatchError(f"{SETTINGS} exists already.", "Edit it, or move it away first.")
    write_text(SETTINGS, to_toml(Settings(), left_out=["cluster"]))
    click.echo(f"Wrote {SETTINGS}.")


@click.command()
@click.argument("images", type=PATH)
@click.option("--table", type=PATH, required=True, help="CSV with a row per image or per patient.")
@click.option("-o", "--output", type=PATH, required=True, help="The store to write.")
@click.option("--patient", help="Column of patient identifiers.")
@click.option("--label", help="Column of labels.")
@click.option("--path", help="Column of image paths; without one, images lie under IMAGES/<patient>/.")
@click.option("--positive", help="The label of the positive class.")
@click.option("--negative", help="The label of the negative class; rows of any other label are left out.")
@click.option(
    "--label-per", type=click.Choice(["auto", "patient", "cell"]), default="auto", help="What carries the label."
)
@click.option("--size", type=int, help="Height and width of a stored cell, in pixels.  [default: 128]")
@click.option("--fit", type=click.Choice(["pad", "crop", "resize"]), help="How images meet the canvas.  [default: pad]")
@click.option(
    "--workers", type=click.IntRange(1), default=lambda: len(os.sched_getaffinity(0)), help="Decoding processes."
)
@click.option(
    "--keep", type=CommaList(), help="Further columns to keep, such as sex,age.  [default: all; with a key: none]"
)
@click.option("--pseudonymise", type=PATH, metavar="KEYFILE", help="Give patients pseudonyms under this key.")
@click.option("--no-pseudonymise", "named", is_flag=True, help="Keep names, although the settings name a key.")
@click.option("--lookup", type=PATH, help="With a key: where to write which pseudonym is whose. Keep it to yourself.")
@share_option
@click.option("--strict", is_flag=True, help="Fail on the first unusable image instead of listing it.")
@click.option("--overwrite", is_flag=True, help="Replace an existing store.")
def pack(images: Path, table: Path, output: Path, **given: Any) -> None:
    """Pack a folder of images into one store, keyed by patient.

    With a key (msbatch key new) the store holds no name of a patient, folder or file, and the same patient has the same
    pseudonym every time. Nothing leads back but the key, and the table that --lookup writes.

    \b
    Example:
      msbatch pack images/ --table cohort.csv -o cohort.h5
      msbatch pack images/ --table cohort.csv -o cohort.h5 --pseudonymise ~/cohort.key --lookup ~/who.csv
    """
    from msbatch.access import check_group
    from msbatch.cohort.pack import PackOptions
    from msbatch.cohort.pack import pack as pack_cohort
    from msbatch.cohort.pseudonyms import read_key
    from msbatch.layout import SETTINGS
    from msbatch.settings_file import load_settings
    from msbatch.terminal import progress

    named, key_file = given.pop("named"), given.pop("pseudonymise")
    if named and key_file:
        raise click.UsageError("--pseudonymise and --no-pseudonymise do not go together.")
    flags = {"size": given.pop("size"), "fit": given.pop("fit"), "pseudonymise": key_file}
    settings = load_settings(SETTINGS, {"pack": flags, "paths": {"share": given.pop("share")}})
    chosen, group = settings.pack, settings.paths.share
    number = None if group is None else check_group(group)
    key = None if named or chosen.pseudonymise is None else read_key(chosen.pseudonymise)
    if given["lookup"] and key is None:
        raise click.UsageError("--lookup goes with --pseudonymise.")
    keep = given.pop("keep")
    options = PackOptions(
        size_px=chosen.size,
        fit=chosen.fit,
        label_level=given.pop("label_per"),
        keep=None if keep is None else tuple(keep),
        key=key,
        group=number,
        **given,
    )
    click.echo(pack_cohort(images, table, output, options, progress).text())


@click.command()
@click.argument("store", type=PATH, default=Path("cohort.h5"))
@click.option("--montage", type=PATH, help="Write a picture with a row of cells per patient.")
@as_json
def inspect(store: Path, montage: Path | None, as_json: bool) -> None:
    """Show who is in a store: patients, classes, cells and covariates.

    \b
    Example:
      msbatch inspect cohort.h5 --montage montage.png
    """
    from msbatch.cohort import inspect as view
    from msbatch.store import Store
    from msbatch.terminal import make_console
    from msbatch.trial import try_store

    try_store(store)
    with Store(store) as opened:
        facts = view.describe(opened)
        if montage is not None:
            view.montage(opened, montage)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    console = make_console()
    for table in view.tables(facts):
        console.print(table)
