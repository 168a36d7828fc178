"""How a plan becomes a run's folder: a new one, or the one that has its identity already."""

from __future__ import annotations

import os
import stat
from datetime import date
from itertools import count
from pathlib import Path

from msbatch.access import check_group, dir_mode, let_list, share, write_as
from msbatch.config import PlanSettings, Settings, is_frozen
from msbatch.environment import describe_environment
from msbatch.errors import MsbatchError
from msbatch.files import make_dir, remove_temporary, write_json, write_text
from msbatch.layout import RunDir, list_runs
from msbatch.lock import run_lock
from msbatch.plan import Plan, load_plan, save_plan
from msbatch.settings_file import to_toml

LOCK_WAIT_S = 60
BEFORE_THE_PLAN = ("environment.json", "settings.toml")


def create_or_reuse(plan: Plan, settings: Settings, new: bool = False) -> RunDir:
    """Save a plan in the newest run of the same signature, or in a new one.

    A run that exists keeps its folds and the index of its tasks; it gains the backbones, seeds and permuted
    labels that it lacks, and takes over what is no part of its identity: resources, and where store and weights are.

    Parameters
    ----------
    plan : Plan
        Freshly drawn.
    settings : Settings
        The settings it was drawn from; `paths.runs` says where runs are.
    new : bool
        Make a new run whatever exists.
    """
    group = None if settings.paths.share is None else check_group(settings.paths.share)
    runs = make_dir(settings.paths.runs, group)
    if group is not None:
        let_list(runs, group)  # of other runs it shows no more than their dates
    with run_lock(runs / "plan.lock", LOCK_WAIT_S):
        run, plan = preview(plan, settings, new)
        _open_folder(run, settings.paths.share)
        if not run.plan.is_file():
            write_json(run.environment, describe_environment(plan.store.sha256))
        remove_temporary(run.root)  # of killed writers: whoever plans holds the lock
        resolved = settings.model_copy(update={"plan": _plan_settings(settings.plan, plan)})
        write_text(run.settings, to_toml(resolved))
        save_plan(run.plan, plan)
    return run


def preview(plan: Plan, settings: Settings, new: bool = False) -> tuple[RunDir, Plan]:
    """Say which run `create_or_reuse` would give, and with which plan, without writing anything."""
    run = None if new else find_by_signature(settings.paths.runs, plan.signature)
    if run is None:
        return RunDir(_free_folder(settings.paths.runs, plan.signature)), plan
    return run, _extended(load_plan(run.plan), plan)


def find_by_signature(runs: Path, signature: str) -> RunDir | None:
    """Find the newest run that has a signature; plans that cannot be read are passed over."""
    return next((run for run in reversed(list_runs(runs)) if _signature(run) == signature), None)


def _open_folder(run: RunDir, group: str | None) -> None:
    make_dir(run.root)
    if group is not None:
        share(run.root, group)
    elif not run.plan.is_file():
        run.root.chmod(dir_mode())  # whoever gave it up may have meant it for a group
    write_as(run.root)


def _signature(run: RunDir) -> str:
    try:
        return load_plan(run.plan).signature
    except MsbatchError:
        return ""


def _extended(old: Plan, drawn: Plan) -> Plan:
    resources = {"compute": drawn.compute, "weights_dir": drawn.weights_dir, "store": drawn.store}
    if any(is_frozen(backbone) for backbone in drawn.backbones):
        resources["probe"] = drawn.probe
    extended = old.with_backbones(drawn.backbones).with_seeds(drawn.seeds).with_relabellings(drawn.relabellings)
    return extended.model_copy(update=resources)


def _plan_settings(settings: PlanSettings, plan: Plan) -> PlanSettings:
    of_the_run = {"seeds": plan.seeds, "permute_labels": len(plan.relabellings)}
    return settings.model_copy(update={"backbones": tuple(plan.backbones), **of_the_run})


def _free_folder(runs: Path, signature: str) -> Path:
    begun = sorted(folder for folder in runs.glob(f"*-{signature[:8]}*") if _was_given_up(folder))
    if begun:
        return begun[0]
    name = f"{date.today().isoformat()}-{signature[:8]}"
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(runs / free for free in names if not (runs / free).exists())


def _was_given_up(folder: Path) -> bool:
    """Whether this user made a run's folder, and was killed before there was anything to lose."""
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
        return False
    return all(path.name.startswith(".") or path.name in BEFORE_THE_PLAN for path in folder.iterdir())
