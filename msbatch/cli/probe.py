"""The command that asks frozen backbones, in minutes, before anything is trained: probe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msbatch.cli.options import PATH, CommaList, as_json, share_option, study_settings
from msbatch.cli.study import check_training, run_and_reduce

if TYPE_CHECKING:
    from msbatch.config import Settings


@click.command()
@click.argument("store", required=False, type=PATH)
@click.option(
    "--backbones", type=CommaList(), help="timm names or short names: swin, resnet50, convnext, vit, efficientnet."
)
@click.option("--permutations", type=int, help="Of each test, where not all arrangements are looked at.")
@click.option("--lambda", "penalty", type=click.Choice(["label-free", "inner"]), help="Penalty of the ridge head.")
@click.option("--covariates", type=CommaList(), help="Columns to try to read from images.  [default: all]")
@click.option("--seed", type=int, help="Of permutations, and of initial weights.")
@click.option("--weights", type=PATH, help="Folder of pretrained weights.")
@click.option("--pretrained/--no-pretrained", default=None, help="Pretrained weights, or initial ones.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Where cells are embedded.")
@click.option("--threads", type=int, help="CPU threads per process.")
@click.option("--jobs", type=click.IntRange(1), help="Processes at once.  [default: what fits the cores]")
@share_option
@click.option("--new", is_flag=True, help="Make a new run even where one of the same settings exists.")
@as_json
def probe(store: Path | None, jobs: int | None, as_json: bool, **given: Any) -> None:
    """Train a linear head on frozen backbones: every held-out patient, every p-value, in minutes.

    Each cell is embedded once; every leave-one-patient-out refit, and every permutation, is then computed exactly. The
    same run takes fine-tuned backbones later (msbatch submit), and one report shows both. On a cluster: submit --probe.

    \b
    Example:
      msbatch probe cohort.h5 --backbones swin,resnet50
    """
    from msbatch.cluster.submit import refuse_other_resources
    from msbatch.cohort.folds import draw_plan
    from msbatch.runs import create_or_reuse, preview

    check_training()
    settings = frozen(study_settings({**given, "store": store}))
    drawn = draw_plan(settings.paths.store, settings)
    refuse_other_resources(*preview(drawn, settings, given["new"]))
    run = create_or_reuse(drawn, settings, given["new"])
    run_and_reduce(run, None, jobs, probe=True, as_json=as_json)


def frozen(settings: Settings) -> Settings:
    """Turn the settings of a study into those of its probe: backbones as they come, each once."""
    from msbatch.config import FROZEN, network_name

    names = tuple(dict.fromkeys(network_name(name) + FROZEN for name in settings.plan.backbones))
    changed = settings.plan.model_copy(update={"backbones": names, "seeds": 1, "permute_labels": 0})
    return settings.model_copy(update={"plan": changed})
