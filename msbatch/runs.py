"""Runs on disk: found again by their identity, or made anew."""

from __future__ import annotations

import datetime
import platform
import subprocess
from contextlib import suppress
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from msbatch import __version__
from msbatch.config import Settings, to_toml
from msbatch.errors import MsbatchError
from msbatch.files import make_dir, write_json, write_text
from msbatch.layout import PACKAGE, RunDir, list_runs
from msbatch.plan import Plan, load_plan, save_plan


def create_or_reuse(plan: Plan, settings: Settings, always_new: bool = False) -> RunDir:
    """Give the newest run of the same identity, extended by new backbones, or make one.

    Parameters
    ----------
    plan : Plan
        Freshly drawn; its signature is the identity.
    settings : Settings
        Kept in the run, resolved.
    always_new : bool
        Make a new run even where one of the same identity exists.

    Returns
    -------
    RunDir
        Its plan has every backbone of `plan` and the resources of `plan`; tasks that existed keep their number.
    """
    found = None if always_new else _find(plan.signature, settings.paths.runs)
    run = found or RunDir(_new_folder(settings.paths.runs, plan.signature))
    merged = plan
    if found is not None:
        old = load_plan(found.plan)
        resources = {"compute": plan.compute, "weights_dir": plan.weights_dir, "store": plan.store}
        merged = old.with_backbones(plan.backbones).model_copy(update=resources)
        if merged == old:
            return run
    write_text(run.settings, to_toml(settings))
    write_json(run.environment, describe_environment(merged))
    save_plan(run.plan, merged)
    return run


def describe_environment(plan: Plan) -> dict[str, Any]:
    """Give the versions and hashes that a result depends on, as JSON values."""
    packages = {dist.metadata["Name"]: dist.version for dist in distributions()}
    return {
        "msbatch": __version__,
        "commit": _git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "store_sha256": plan.store.sha256,
        "signature": plan.signature,
        "packages": dict(sorted(packages.items())),
    }


def _find(signature: str, runs: Path) -> RunDir | None:
    for run in reversed(list_runs(runs)):
        with suppress(MsbatchError):  # another run's damaged plan is no obstacle to this one
            if load_plan(run.plan).signature == signature:
                return run
    return None


def _new_folder(runs: Path, signature: str) -> Path:
    name = f"{datetime.datetime.now(datetime.UTC).date()}-{signature[:8]}"
    make_dir(runs)
    number = 1
    while True:
        folder = runs / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(mode=0o700)
            return folder
        except FileExistsError:
            number += 1


def _git_commit() -> str | None:
    if not (PACKAGE.parent / ".git").exists():
        return None
    command = ["git", "-C", str(PACKAGE.parent), "describe", "--always", "--dirty", "--abbrev=40"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
