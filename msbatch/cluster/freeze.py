"""The code of a run, copied at submission, so that a checkout edited later changes nothing."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from msbatch.access import file_mode
from msbatch.files import make_dir, sha256, sha256_json
from msbatch.layout import PACKAGE, RunDir, data_dir


def freeze_code(run: RunDir) -> str:
    """Copy the package and its job scripts into the run, unless this version is there already.

    Each version has a folder of its own, `run.frozen(digest)`, which is never changed: tasks that were
    submitted with an older one go on with it.

    Returns
    -------
    str
        SHA-256 over the names and contents of all files.
    """
    for leftover in run.code.glob(".tmp.*"):
        shutil.rmtree(leftover)
    sources = _sources()
    digest = sha256_json({name: sha256(path) for name, path in sources.items()})
    target = run.frozen(digest)
    if target.is_dir() and code_digest(target) == digest:
        return digest
    fresh = run.code / f".tmp.{uuid.uuid4().hex}"
    for name, path in sources.items():
        make_dir((fresh / name).parent)
        shutil.copyfile(path, fresh / name)
        (fresh / name).chmod(file_mode())
    copied = code_digest(fresh)  # of what the run has, even if the checkout was edited meanwhile
    shutil.rmtree(run.frozen(copied), ignore_errors=True)
    fresh.replace(run.frozen(copied))
    return copied


def code_digest(folder: Path) -> str:
    """SHA-256 over a frozen version of the code."""
    return sha256_json({name: sha256(path) for name, path in _files(folder, folder, ".py", ".sh").items()})


def _sources() -> dict[str, Path]:
    jobs = data_dir("jobs")
    package = {name: path for name, path in _files(PACKAGE, PACKAGE.parent, ".py").items() if "/_data/" not in name}
    return {**package, **_files(jobs, jobs.parent, ".py", ".sh")}


def _files(folder: Path, root: Path, *suffixes: str) -> dict[str, Path]:
    found = (path for path in sorted(folder.rglob("*")) if path.suffix in suffixes)
    return {path.relative_to(root).as_posix(): path for path in found}
