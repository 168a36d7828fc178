"""Why a task has no predictions, as far as the files of its run tell; what Slurm knows is for ``msbatch status``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msbatch.errors import MsbatchError
from msbatch.files import read_json
from msbatch.layout import JobDir, LaunchFiles, RunDir, TaskDir
from msbatch.state import TaskState, read_attempts, read_state


def why_missing(run: RunDir, folder: TaskDir) -> str:
    """Say in a sentence why a task without predictions has none.

    A state is the last that a task wrote: of one that was killed it says for ever that it runs. Where a launcher
    watched the task, its word of the end counts, and where there is none, nothing is said of how it ended.
    """
    try:
        state = read_state(folder)
    except MsbatchError as damaged:
        return damaged.problem.replace(f"{run.root}/", "")
    attempts = read_attempts(folder)
    last = attempts[-1] if attempts else None
    told = _first_line(state.reason) if last and state.attempt == last.number else ""
    if last is None and run.on_cluster:
        return "No predictions; no attempt at it is on record: msbatch status says more."
    if last is None or last.files is None or (state.phase == "failed" and told):
        return f"No predictions; the task is {_phase(state)}."
    if state.phase == "done":
        return "No predictions; the task had some, which were set aside or removed: msbatch status says more."
    return f"No predictions; {_end(run, last.files, told)}."


def _phase(state: TaskState) -> str:
    reason = _first_line(state.reason)
    return f"{state.phase}: {reason}" if reason else state.phase


def _end(run: RunDir, files: LaunchFiles, told: str) -> str:
    """Say how the last attempt ended: in the words of the task, or else of its launcher."""
    end = _read_end(run, files)
    if end is None:
        return "its last attempt left no word of an end: msbatch status says more"
    words = told or _first_line(str(end.get("cause", "")))
    requeued = ", and was requeued" if end.get("requeued") else ""
    return f"its last attempt ended with exit code {end['exit']}{f' ({words})' if words else ''}{requeued}"


def _read_end(run: RunDir, files: LaunchFiles) -> Mapping[str, Any] | None:
    """Read the launcher's word, wherever the run lies now."""
    here = LaunchFiles(JobDir(run.jobs / files.submission).launches / files.prefix.name)
    try:
        end = read_json(here.end)
    except MsbatchError:
        return None
    return end if isinstance(end, dict) and "exit" in end else None


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].rstrip(".")
