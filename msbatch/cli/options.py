"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from msbatch.config import Settings
    from msbatch.layout import RunDir

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


share_option = click.option("--share", metavar="GROUP", help="A group of this machine that may read it all.")

STUDY_OPTIONS = (
    click.argument("store", required=False, type=PATH),
    click.option(
        "--backbones", type=CommaList(), help="timm names or short names: swin, resnet50, convnext, vit, efficientnet."
    ),
    click.option("--seed", type=int, help="Of folds, sampling, augmentation and initial weights."),
    click.option("--val-patients", type=int, help="Inner validation patients per fold."),
    click.option(
        "--balance", type=CommaList(), help="Sample training cells evenly over these: class, and columns of the table."
    ),
    click.option(
        "--rebalance/--no-rebalance",
        default=None,
        help="For a held-out patient, drop one of the other class from training.",
    ),
    click.option("--train-on", metavar="COLUMN=VALUE", help="Only such patients train; everyone is held out."),
    click.option("--seeds", type=int, help="Train every fold so many times, with seed, seed + 1, ..."),
    click.option("--permute-labels", type=int, help="Train everything so many times more, under permuted labels."),
    click.option("--weights", type=PATH, help="Folder of pretrained weights."),
    click.option("--pretrained/--no-pretrained", default=None, help="Start from pretrained weights, or from scratch."),
    click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Where tasks train."),
    click.option("--processes", type=int, help="Processes per task, one per GPU."),
    click.option("--threads", type=int, help="CPU threads per process."),
    click.option("--nodes", type=int, help="Nodes that a task's processes are spread over."),
    click.option("--workers", type=int, help="Loader processes per process."),
    click.option(
        "--memory-budget",
        "memory_budget_gb",
        type=float,
        metavar="GB",
        help="Images that a task keeps in memory on each node; more are mapped from the store.",
    ),
    click.option("--compile/--no-compile", default=None, help="Compile the network; worth it for long trainings."),
    click.option("--profile/--no-profile", default=None, help="Trace some steps of fold 0 and say what bounds them."),
    click.option("--resident/--no-resident", default=None, help="Keep training cells, not augmented, on the device."),
    click.option(
        "--precision", type=click.Choice(["auto", "fp32", "fp64", "bf16", "fp16"]), help="Arithmetic of training."
    ),
    share_option,
    click.option("--new", is_flag=True, help="Make a new run even where one of the same settings exists."),
)

PROBE_OPTIONS = ("permutations", "penalty", "covariates")
PLAN_OPTIONS = ("backbones", "seed", "val_patients", "balance", "rebalance", "train_on", "seeds", "permute_labels")

CLUSTER_OPTIONS = (
    click.option("--site", type=PATH, help="A site's settings: a file, or the name of one that ships with msbatch."),
    click.option("--partition", help="Slurm's partition."),
    click.option("--account", help="What the hours are charged to."),
    click.option("--qos", help="Quality of service."),
    click.option("--constraint", help="Features that a node must have."),
    click.option("--gpus", type=click.Choice(["gres", "gpus-per-node"]), help="How the site is asked for GPUs."),
    click.option("--gpu-type", help="The site's name of a GPU model."),
    click.option("--time", "time_min", type=int, metavar="MINUTES", help="Time limit of a task."),
    click.option("--mem", "mem_gb", type=float, metavar="GB", help="Memory of a task on each node."),
    click.option("--cpus", type=int, help="Cores of a task on each node."),
    click.option("--array-parallelism", type=int, help="Tasks that run at once."),
    click.option("--signal-lead", "signal_lead_s", type=int, metavar="SECONDS", help="Warning before the time limit."),
    click.option("--hang", "hang_min", type=float, metavar="MINUTES", help="Silence after which a task is restarted."),
    click.option("--extra", multiple=True, help="A further option of sbatch, such as --exclude=node7."),
    click.option("--modules", type=CommaList(), help="Environment modules to load before a task."),
    click.option("--reducer-partition", help="Partition of the reducer job."),
    click.option("--reducer-time", "reducer_time_min", type=int, metavar="MINUTES", help="Its time limit."),
    click.option("--reducer-mem", "reducer_mem_gb", type=float, metavar="GB", help="Its memory."),
    click.option("--runtime", type=click.Choice(["sandbox", "sif", "none"]), help="How the container is run."),
    click.option("--image", type=PATH, help="The container image."),
    click.option("--program", help="apptainer or singularity."),
    click.option("--scratch", help="A folder on the node's own disk."),
    click.option("--binds", multiple=True, help="A further path that the container sees, as SOURCE:TARGET:ro."),
)


def cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what this cluster wants to be told."""
    for option in reversed(CLUSTER_OPTIONS):
        command = option(command)
    return command


def cluster_values(given: dict[str, Any]) -> dict[str, Any]:
    """Give the settings of [cluster] that flags set."""
    from msbatch.config import ClusterSettings

    values = {name: given.get(name) for name in ClusterSettings.model_fields}
    return {name: list(value) or None if isinstance(value, tuple) else value for name, value in values.items()}


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
        If a setting is unknown or out of range, or the group is not the user's.
    """
    from msbatch.access import check_group
    from msbatch.config import ComputeSettings
    from msbatch.layout import SETTINGS
    from msbatch.settings_file import load_settings

    overrides = {
        "paths": {"store": given["store"], "share": given["share"]},
        "plan": {key: given.get(key) for key in PLAN_OPTIONS},
        "training": {"precision": given.get("precision")},
        "weights": {"dir": given["weights"], "pretrained": given["pretrained"]},
        "compute": {key: given.get(key) for key in ComputeSettings.model_fields},
        "probe": {key: given.get(key) for key in PROBE_OPTIONS},
        "cluster": cluster_values(given),
    }
    settings = load_settings(SETTINGS, overrides)
    if settings.paths.share is not None:
        check_group(settings.paths.share)
    # A rerun may be asked for from another folder: what the site said is kept, not where.
    resolved = {"image": settings.cluster.image.absolute(), "site": None}
    return settings.model_copy(update={"cluster": settings.cluster.model_copy(update=resolved)})


def open_run(run: Path | None) -> RunDir:
    """Give the named run, or else the newest one; what is written from now on is for whoever may read it."""
    from msbatch.access import write_as
    from msbatch.layout import find_run

    found = find_run(run)
    write_as(found.root)
    return found
