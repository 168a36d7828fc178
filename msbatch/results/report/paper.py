"""What a paper needs beside the numbers: facts for its methods, reporting checklists, and where all of it came from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from msbatch.errors import MsbatchError
from msbatch.files import read_json
from msbatch.layout import RunDir
from msbatch.plan import Plan
from msbatch.results.reduction import Reduction
from msbatch.results.report.flow import class_words
from msbatch.results.report.grid import count, span

TO_FILL_IN = "to fill in"

_NAMED = (
    *("torch", "torchvision", "timm", "albumentations", "numpy", "scipy", "scikit-learn"),
    *("scikit-image", "pillow", "h5py", "submitit", "tensorboard"),
)


@dataclass(frozen=True)
class Made:
    """What a run was made with.

    Attributes
    ----------
    environment : dict
        As the run recorded it when it was planned; empty where it did not.
    images, codes : list of str
        Hashes of container images and of frozen code that tasks were submitted with.
    """

    environment: dict[str, Any]
    images: list[str]
    codes: list[str]

    @property
    def versions(self) -> dict[str, str]:
        """Versions of what decides results."""
        packages = {name.lower(): version for name, version in self._part("packages").items()}
        own = {"msbatch": self.environment.get("msbatch"), "Python": self.environment.get("python")}
        return {name: version for name, version in own.items() if version} | {
            name: packages[name] for name in _NAMED if name in packages
        }

    @property
    def commit(self) -> str:
        """The commit of the checkout, where there was one."""
        git = self._part("git")
        changed = " with changes that are in no commit" if git.get("changed") else ""
        return f"{git['commit']}{changed}" if git.get("commit") else "not recorded: not run from a checkout"

    def _part(self, key: str) -> dict[str, Any]:
        part = self.environment.get(key)
        return part if isinstance(part, dict) else {}


def read_made(run: RunDir) -> Made:
    """Read what a run was made with, as far as it is recorded."""
    environment: Any = {}
    with suppress(MsbatchError):
        environment = read_json(run.environment)
    events = [event for event in _events(run) if event.get("event") == "submitting"]
    images, codes = (
        list(dict.fromkeys(str(event[key]) for event in events if event.get(key)))
        for key in ("image_sha256", "code_sha256")
    )
    return Made(environment if isinstance(environment, dict) else {}, images, codes)


def provenance(run: RunDir, reduction: Reduction, made: Made) -> dict[str, str]:
    """Name everything that decides the numbers of a run."""
    plan, where = reduction.plan, made.environment
    return {
        "run": run.root.resolve().name,
        "plan signature": plan.signature,
        "store": f"{plan.store.path}, format {plan.store.format}",
        "store SHA-256": plan.store.sha256,
        "seed": f"{plan.seed}" + (f" and the {plan.seeds - 1} after it" if plan.seeds > 1 else ""),
        "backbones": ", ".join(plan.backbones),
        "pretrained weights SHA-256": _weights(reduction),
        "trainings under permuted labels": f"{len(plan.relabellings)}",
        "commit": made.commit,
        "code SHA-256": ", ".join(made.codes) or "not recorded: tasks ran on the machine where they were planned",
        "container image SHA-256": ", ".join(made.images) or "none recorded: tasks ran without a container",
        "planned on": ", ".join(str(where[key]) for key in ("platform", "machine") if key in where) or "not recorded",
        "device": f"{plan.compute.device}, {count(plan.compute.processes, 'process', 'processes')} per task",
        "versions": ", ".join(f"{name} {version}" for name, version in made.versions.items()) or "not recorded",
    }


def claim(reduction: Reduction, made: Made) -> list[tuple[str, str, str]]:
    """Give the items of CLAIM (Mongan, Moy & Kahn 2020) that software can fill in: number, what it asks, answer."""
    plan, training = reduction.plan, reduction.plan.settings.get("training", {})
    level = "patients" if plan.level == "patient" else "cells within patients"
    versions = ", ".join(f"{name} {version}" for name, version in made.versions.items())
    start = "Pretrained weights; the head anew." if plan.settings.get("pretrained") else "From scratch, at random."
    weights = f" SHA-256: {_weights(reduction)}." if plan.settings.get("pretrained") else ""
    partition = (
        f"Every patient held out once; of the others {validation_words(plan)} validate and the rest train, "
        f"drawn once with seed {plan.seed}."
        if plan.trained
        else "Every patient held out once; all others train."
    )
    early = sum(fold.early_stopping for fold in plan.folds)
    models = sum(not task.frozen for task in plan.tasks)
    where = "in every fold" if early == len(plan.folds) else f"in {count(early, 'fold')}, elsewhere the last weights"
    items = [
        ("7", "data sources", TO_FILL_IN),
        ("8", "eligibility criteria", TO_FILL_IN),
        ("9", "preprocessing", _preprocessing(reduction)),
        ("10", "selection of subsets", "See the flow diagram; why files were collected: to fill in."),
        ("13", "missing data", _missing(reduction)),
        ("19", "sample size, and how it was determined", f"{_size(reduction)} How it was determined: {TO_FILL_IN}."),
        ("20", "partitions", partition),
        ("21", "level at which partitions are disjoint", f"Patients; labels are of {level}."),
        ("22", "model", f"{_models(plan)}."),
        ("23", "software", f"{versions or TO_FILL_IN}."),
        ("24", "initial parameters", f"{start}{weights}" if "pretrained" in plan.settings else TO_FILL_IN),
        ("25", "training", f"{_recipe(training)} {count(models, 'model')} planned; see the methods text."),
        (
            "26",
            "selection of the final model",
            f"The weights that validate best on inner validation patients: {where}.",
        ),
        ("27", "ensembling", _ensembling(training)),
    ]
    return items if plan.trained else [*items[:-3], *_of_a_head(reduction)]


def _of_a_head(reduction: Reduction) -> list[tuple[str, str, str]]:
    """Give the items on training where nothing but heads on frozen backbones is trained."""
    rules = "; ".join(dict.fromkeys(probe.rule for probe in reduction.probes)) or TO_FILL_IN
    return [
        ("25", "training", "Ridge regression, all folds from one decomposition; see the methods text."),
        ("26", "selection of the final model", f"None but the penalty: {rules}."),
        ("27", "ensembling", "No ensemble of models."),
    ]


def tripod(reduction: Reduction) -> list[tuple[str, str, str]]:
    """Give items 5 and 6 of TRIPOD+AI (Collins et al. 2024); software knows little of where patients come from."""
    same = "The same patients develop and evaluate, by leaving each out once; there is no external set."
    return [
        ("5a", "sources of data, and how representative they are", f"{same} Source: {TO_FILL_IN}."),
        ("5b", "dates of the data", TO_FILL_IN),
        ("6a", "setting, number and location of centres", TO_FILL_IN),
        ("6b", "eligibility criteria", f"{_size(reduction)} Criteria: {TO_FILL_IN}."),
        ("6c", "treatments received", TO_FILL_IN),
    ]


def _events(run: RunDir) -> Iterator[Mapping[str, Any]]:
    """Give the lines of the run's ledger; one that was cut off is none."""
    with suppress(OSError):
        for line in run.submissions.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError, RecursionError):
                event = json.loads(line)
                if isinstance(event, dict):
                    yield event


def _weights(reduction: Reduction) -> str:
    """Give the SHA-256 of the weights that each backbone started from, as far as it is on record."""
    if reduction.plan.settings.get("pretrained") is False:
        return "none: networks start from scratch"
    found = {task.backbone: own.pretrained for task, own in reduction.predictions.items() if own.pretrained}
    found |= {probe.backbone: probe.weights for probe in reduction.probes}
    return ", ".join(f"{backbone} {digest}" for backbone, digest in found.items()) or "not recorded"


def _size(reduction: Reduction) -> str:
    return f"{count(len(reduction.plan.folds), 'patient')} ({'; '.join(class_words(reduction.plan))})."


def _missing(reduction: Reduction) -> str:
    if reduction.cohort is None:
        return TO_FILL_IN
    absent = ", ".join(f"{own.name}: {own.missing}" for own in reduction.cohort.covariates if own.missing)
    if not absent:
        return "Patients without a value: none in any covariate."
    return (
        f"Patients without a value: {absent}. For the tests beyond a covariate a missing number was set to the mean, "
        "with an indicator of missingness where it could be fitted, and a missing category was taken together with "
        "rare ones. Everything else that is computed of a covariate leaves such patients out."
    )


def _preprocessing(reduction: Reduction) -> str:
    return (
        "Images decoded to 8-bit RGB and laid on one canvas at one common scale"
        + (", see the flow diagram." if reduction.cohort else "; the store was not there to say more.")
        + " How images were acquired and cells cropped: to fill in."
    )


def validation_words(plan: Plan) -> str:
    """Say how many inner validation patients a fold has."""
    return span(len(fold.validation) for fold in plan.folds)


def _recipe(training: Mapping[str, Any]) -> str:
    if not training:
        return f"Recipe: {TO_FILL_IN}."
    return f"AdamW, {training['head_steps']} + {training['steps']} steps of {training['batch_size']} images."


def _models(plan: Plan) -> str:
    parts = []
    if plan.trained:
        parts.append(f"{', '.join(plan.trained)} (timm), one output: the log odds of {plan.classes[1]}")
    if plan.probed:
        parts.append(f"{', '.join(plan.probed)} (timm), not trained, with a ridge head")
    return "; ".join(parts)


def _ensembling(training: Mapping[str, Any]) -> str:
    averaged = "weights averaged over training" if training.get("ema_decay") else ""
    turned = "mean logit over 8 flips and quarter turns of each cell" if training.get("tta") else ""
    return f"No ensemble of models; {', '.join(filter(None, (averaged, turned))) or 'one model per fold'}."
