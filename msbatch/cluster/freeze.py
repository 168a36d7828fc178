"""The code of a run, copied at submission, so that a checkout edited later changes nothing."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from msbatch.files import PRIVATE_DIR, sha256, sha256_json
from msbatch.layout import PACKAGE, RunDir, data_dir


def freeze_code(run: RunDir) -> str:
    """Copy the package and its job scripts into the run, unless the same code is there already.

    Returns
    -------
    str
        SHA-256 over the names and contents of all files.
    """
    for leftover in run.root.glob(".code.tmp.*"):
        shutil.rmtree(leftover)
    sources = _sources()
    digest = sha256_json({name: sha256(path) for name, path in sources.items()})
    if run.code.is_dir() and code_digest(run) == digest:
        return digest
    fresh = run.root / f".code.tmp.{uuid.uuid4().hex}"
    for name, path in sources.items():
        target = fresh / name
        target.parent.mkdir(mode=PRIVATE_DIR, parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    shutil.rmtree(run.code, ignore_errors=True)
    fresh.replace(run.code)
    return digest


def code_digest(run: RunDir) -> str:
    """SHA-256 over the code that a run holds."""
    return sha256_json({name: sha256(path) for name, path in _python_files(run.code, run.code).items()})


def _sources() -> dict[str, Path]:
    jobs = data_dir("jobs")
    package = {name: path for name, path in _python_files(PACKAGE, PACKAGE.parent).items() if "/_data/" not in name}
    return {**package, **_python_files(jobs, jobs.parent)}


def _python_files(folder: Path, root: Path) -> dict[str, Path]:
    return {path.relative_to(root).as_posix(): path for path in sorted(folder.rglob("*.py"))}
