"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from msbatch.config import Settings

PATH = click.Path(path_type=Path)

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
run_argument = click.argument("run", required=False, type=PATH)


class CommaList(click.ParamType[Any]):
    """Words separated by commas."""

    name = "A,B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Split the text; refuse an empty word."""
        if not isinstance(value, str):
            return value
        words = [word.strip() for word in value.split(",")]
        if not all(words):
            self.fail("give words separated by single commas", param, ctx)
        return words


class NumberList(CommaList):
    """Whole numbers separated by commas."""

    name = "0,3"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Split the text into numbers."""
        words = super().convert(value, param, ctx)
        if not all(str(word).isdecimal() for word in words):
            self.fail("give whole numbers separated by commas", param, ctx)
        return [int(word) for word in words]


STUDY_OPTIONS = (
    click.argument("store", required=False, type=PATH),
    click.option(
        "--backbones", type=CommaList(), help="timm names or short names: swin, resnet50, convnext, vit, efficientnet."
    ),
    click.option("--seed", type=int, help="Of folds, sampling, augmentation and initial weights."),
    click.option("--val-patients", type=int, help="Inner validation patients per fold."),
    click.option("--weights", type=PATH, help="Folder of pretrained weights."),
    click.option("--pretrained/--no-pretrained", default=None, help="Start from pretrained weights, or from scratch."),
    click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Where tasks train."),
    click.option("--processes", type=int, help="Processes per task, one per GPU."),
    click.option("--threads", type=int, help="CPU threads per process."),
    click.option("--workers", type=int, help="Loader processes per process."),
    click.option(
        "--precision", type=click.Choice(["auto", "fp32", "fp64", "bf16", "fp16"]), help="Arithmetic of training."
    ),
    click.option("--new", is_flag=True, help="Make a new run even where one of the same settings exists."),
)


def study_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that decide what is trained and with what."""
    for option in reversed(STUDY_OPTIONS):
        command = option(command)
    return command


def study_settings(given: dict[str, Any]) -> Settings:
    """Lay the study options over the settings file.

    Raises
    ------
    MsbatchError
        If a setting is unknown or out of range.
    """
    from msbatch.config import load_settings
    from msbatch.layout import SETTINGS

    overrides = {
        "paths": {"store": given["store"]},
        "plan": {"backbones": given["backbones"], "seed": given["seed"], "val_patients": given["val_patients"]},
        "training": {"precision": given["precision"]},
        "weights": {"dir": given["weights"], "pretrained": given["pretrained"]},
        "compute": {key: given[key] for key in ("device", "processes", "threads", "workers")},
    }
    return load_settings(SETTINGS, overrides)
