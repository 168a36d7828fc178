"""Whether a study can be submitted from here: one small check after the other, each with what to do."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from msbatch.access import umask
from msbatch.cluster import node, slurm
from msbatch.cluster.runtime import LOOKS, Look
from msbatch.cluster.sites import reducer_parameters, sbatch_options, task_parameters
from msbatch.config import Settings, full_name, network_name
from msbatch.errors import MsbatchError
from msbatch.files import hash_beside
from msbatch.pretrained import find_weights
from msbatch.store import Store, packed_sha256
from msbatch.trial import try_store

ASK_SLURM = ("accounting", "task's job", "reducer's job")  # and it need not be said of each that it does not answer


@dataclass(frozen=True)
class Check:
    """What one look at the surroundings gave.

    Attributes
    ----------
    name : str
        What was looked at.
    ok : bool
        Whether it is as it should be.
    said : str
        What was found.
    hint : str
        What to do; may be empty.
    blocks : bool
        Whether nothing can be submitted while it is not ok.
    """

    name: str
    ok: bool
    said: str
    hint: str
    blocks: bool


def examine(settings: Settings) -> Iterator[Check]:
    """Make every check that these settings call for, in turn."""
    skipped: tuple[str, ...] = ()
    for name, (blocks, look) in CHECKS.items():
        check = _check(name, blocks, look, settings) if name not in skipped else None
        if check is not None:
            yield check
            skipped = ASK_SLURM if name == "Slurm" and not check.ok else skipped


def _check(name: str, blocks: bool, look: Callable[[Settings], str], settings: Settings) -> Check | None:
    try:
        said = look(settings)
    except MsbatchError as error:
        return Check(name, False, error.problem, error.hint, blocks)
    except OSError as error:
        return Check(name, False, str(error), "", blocks)
    return Check(name, True, said, "", blocks) if said else None


def _slurm(settings: Settings) -> str:  # noqa: ARG001
    if not slurm.available():
        raise MsbatchError(
            "There is no Slurm on this machine (no sbatch found).", "Run studies here with: msbatch submit --local"
        )
    slurm.queued()
    return f"{slurm.call('sbatch', '--version').strip()} answers"


def _accounting(settings: Settings) -> str:  # noqa: ARG001
    if not slurm.has_accounting():
        raise MsbatchError(
            "Slurm keeps no accounts here: some reasons of failures stay guesses.", "Nothing has to be done."
        )
    return "Slurm keeps accounts of jobs"


def _task(settings: Settings) -> str:
    return _accepted(sbatch_options(task_parameters(settings.cluster, settings.compute)))


def _reducer(settings: Settings) -> str:
    return _accepted(sbatch_options(reducer_parameters(settings.cluster)))


def _accepted(options: list[str]) -> str:
    estimate = re.sub(r"^Job \d+ to start", "would start", slurm.test_only(options))
    return f"accepted, {estimate}" if estimate.startswith("would") else "accepted"


def _weights(settings: Settings) -> str:
    if not settings.weights.pretrained:
        return "not needed: networks start from scratch"
    found = [find_weights(settings.weights.dir, network_name(full_name(name))).name for name in settings.plan.backbones]
    return f"{', '.join(found)} in {settings.weights.dir}"


def _store(settings: Settings) -> str:
    path = settings.paths.store
    try_store(path)
    with Store(path) as store:
        patients = len(store.patients)
    packed_sha256(path)
    whole = "whole" if hash_beside(path).is_file() else "no hash lies beside it"
    return f"{path}, {patients} patients, {whole}"


def _umask(settings: Settings) -> str:  # noqa: ARG001
    mask = umask()
    if mask is None:
        return ""
    if mask & 0o022 != 0o022:
        raise MsbatchError(
            f"{mask:04o}: others may change what your programs write.", "Put `umask 077` into ~/.profile."
        )
    return f"{mask:04o}; msbatch writes for its owner only in any case"


def _runs(settings: Settings) -> str:
    folder = settings.paths.runs.absolute()
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    node.try_writing(existing)
    return f"{settings.paths.runs} can be written, {node.gigabytes(shutil.disk_usage(existing).free)} free"


CHECKS: dict[str, Look] = {
    "Slurm": (True, _slurm),
    "accounting": (False, _accounting),
    "task's job": (True, _task),
    "reducer's job": (True, _reducer),
    **LOOKS,
    "weights": (True, _weights),
    "store": (True, _store),
    "umask": (False, _umask),
    "runs": (True, _runs),
}
