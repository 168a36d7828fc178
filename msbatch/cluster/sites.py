"""What a site's settings mean for sbatch and for the launcher on the node."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msbatch.config import ClusterSettings, ComputeSettings
from msbatch.errors import MsbatchError
from msbatch.layout import RunDir
from msbatch.plan import Plan

SAFE_SCRATCH = re.compile(r"[\w./${}-]+")


def task_parameters(site: ClusterSettings, compute: ComputeSettings) -> dict[str, Any]:
    """Give submitit's parameters of an array of tasks.

    Raises
    ------
    MsbatchError
        If one of the further options is not an option of sbatch.
    """
    own = compute.processes // compute.nodes
    cores = site.cpus or own * (compute.threads + compute.workers)
    parameters = {
        **_common(site, site.partition, site.time_min, site.mem_gb),
        "nodes": compute.nodes,
        "ntasks_per_node": 1,
        "cpus_per_task": cores,
        "array_parallelism": site.array_parallelism,
    }
    return {**parameters, **_gpus(site, own if compute.device == "cuda" else 0)}


def reducer_parameters(site: ClusterSettings) -> dict[str, Any]:
    """Give submitit's parameters of the reducer job: one core, no GPU."""
    partition = site.reducer_partition or site.partition
    parameters = _common(site, partition, site.reducer_time_min, site.reducer_mem_gb)
    return {**parameters, "nodes": 1, "ntasks_per_node": 1, "cpus_per_task": 1}


def sbatch_options(parameters: Mapping[str, Any]) -> list[str]:
    """Write the resources among submitit's parameters as options of sbatch, to ask Slurm about them."""
    further: Mapping[str, Any] = parameters["additional_parameters"]
    plain = {key: value for key, value in parameters.items() if isinstance(value, str | int) and value is not False}
    named = {**plain, **further}
    for ours in ("array_parallelism", "use_srun", "stderr_to_stdout", "job_name"):
        named.pop(ours, None)
    return [f"--{k.replace('_', '-')}" if v is True else f"--{k.replace('_', '-')}={v}" for k, v in named.items()]


def launch_conf(site: ClusterSettings, paths: Mapping[str, Path | str | None], gpus: bool, watched: bool = True) -> str:
    """Write what the launcher on the node has to know, as assignments that bash reads.

    Parameters
    ----------
    paths : mapping
        RUN, CODE, STORE and WEIGHTS, and of the image IMAGE, IMAGE_BYTES and IMAGE_SHA256.
    gpus : bool
        Whether tasks use GPUs.
    watched : bool
        Whether the launcher kills a task that is silent, and requeues one that it stopped; the reducer is neither.

    Raises
    ------
    MsbatchError
        If the scratch folder's name holds anything that a shell would run.
    """
    if not SAFE_SCRATCH.fullmatch(site.scratch):
        raise MsbatchError(
            f"cluster.scratch is no plain path: {site.scratch!r}.", "Variables such as $TMPDIR may be used."
        )
    values = {
        **paths,
        "RUNTIME": site.runtime,
        "PROGRAM": site.program,
        "PYTHON": sys.executable,
        "GPUS": int(gpus),
        "TIME_MIN": site.time_min if watched else site.reducer_time_min,
        "LEAD_S": site.signal_lead_s,
        "HANG_S": max(1, round(site.hang_min * 60)) if watched else 0,
        "REQUEUE": "yes" if watched else "no",
    }
    lines = [f"{name}={shlex.quote('' if value is None else str(value))}" for name, value in values.items()]
    lines += [f'SCRATCH="{site.scratch}"', f"MODULES=({_words(site.modules)})", f"BINDS=({_words(site.binds)})"]
    return "\n".join(lines) + "\n"


def check_binds(site: ClusterSettings, run: RunDir, plan: Plan) -> None:
    """Refuse paths that a container program would take apart: it reads a comma and a colon as its own.

    Raises
    ------
    MsbatchError
        If tasks run in a container, and something that they must see there has such a name.
    """
    if site.runtime == "none":
        return
    weights = Path(plan.weights_dir)
    for path in (run.root.resolve(), Path(plan.store.path), weights, *_linked(weights), site.image.resolve()):
        if re.search("[,:]", str(path)):
            raise MsbatchError(
                f"No container can be given {path}: there is a comma or a colon in its name.",
                "Rename that folder or file, or run tasks without a container: --runtime none",
            )
    for bind in site.binds:
        paths, options = bind.split(":")[:2], bind.split(":")[2:]
        if len(options) > 1 or any("," in path for path in paths):
            raise MsbatchError(
                f"cluster.binds: {bind!r} is not SOURCE:TARGET:ro.", "No path may have a comma or a colon in its name."
            )


def _linked(weights: Path) -> Iterator[Path]:
    """Give what the launcher binds for links among the weights: each file, and where its link points."""
    for path in weights.glob("*"):
        if path.is_symlink():
            yield path.resolve()
            hop = Path(os.path.normpath(weights / path.readlink()))
            if not hop.is_relative_to(weights):  # else it is there with the folder
                yield hop


def _common(site: ClusterSettings, partition: str | None, time_min: int, mem_gb: float) -> dict[str, Any]:
    return {
        "partition": partition,
        "account": site.account,
        "qos": site.qos,
        "constraint": site.constraint,
        "time": time_min,
        "mem": f"{round(mem_gb * 1024)}M",
        "wckey": None,
        "use_srun": False,
        # B: the launcher alone is warned; a signal to the task itself would kill its container's file system.
        "additional_parameters": {"signal": f"B:USR2@{site.signal_lead_s}", "requeue": True, **_extra(site.extra)},
    }


def _gpus(site: ClusterSettings, number: int) -> dict[str, Any]:
    if not number:
        return {}
    kind = [site.gpu_type] if site.gpu_type else []
    if site.gpus == "gres":
        return {"gres": ":".join(["gpu", *kind, str(number)])}
    return {"gpus_per_node": ":".join([*kind, str(number)])}


def _extra(lines: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for line in lines:
        words = line.removeprefix("#SBATCH").strip()
        if not words.startswith("--"):
            raise MsbatchError(
                f"cluster.extra: {line!r} is no option of sbatch.", "Write it as --name=value or --name."
            )
        name, equals, value = words[2:].partition("=")
        found[name] = value if equals else True
    return found


def _words(words: Sequence[str]) -> str:
    return " ".join(shlex.quote(word) for word in words)
