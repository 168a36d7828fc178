"""Whether a store or a run is as it was written: what is damaged or gone, and the command that makes it anew."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from msbatch import checksums
from msbatch.embeddings import EmbeddingError, check_embedding
from msbatch.errors import DiskError, MsbatchError, explained, failing_disk_named
from msbatch.files import hash_beside, read_json, sha256
from msbatch.layout import RunDir, TaskDir, checkpoint_hash
from msbatch.lock import is_left_behind
from msbatch.plan import Plan, Task, load_plan
from msbatch.predictions import read_of_task, weights_hash
from msbatch.remedies import do_again, resume
from msbatch.settings_file import load_settings
from msbatch.state import read_state
from msbatch.store import Store, verify_store
from msbatch.trial import try_store

State = Literal["ok", "damaged", "missing", "unread", "note"]
Part = Callable[[], Iterator["Finding"]]

BAD: tuple[State, ...] = ("damaged", "missing", "unread")

NAMED_BY_SIGNATURE = re.compile(r"\d{4}-\d\d-\d\d-([0-9a-f]{8})(-\d+)?")  # as `msbatch.runs` names runs
PLAN_ANEW = "msbatch plan STORE, with the settings of the run: it draws the same folds again"
LOCKS = ("*.lock", "*.lock.stale.*", "*.lock.now.*")
HALF_WRITTEN = (".*.tmp", ".*.tmp.*", "*.save_tmp")


@dataclass(frozen=True)
class Finding:
    """What was found of one file.

    Attributes
    ----------
    path : Path
        The file.
    state : {"ok", "damaged", "missing", "unread", "note"}
        Unread is what the disk does not give, whole or not. A note is of nothing that could change a result.
    problem : str
        In a sentence that names the file; empty where all is well.
    remedy : str
        The command that makes it anew, or what else to do; empty where nothing is needed, or nothing can be done.
    """

    path: Path
    state: State = "ok"
    problem: str = ""
    remedy: str = ""

    @property
    def bad(self) -> bool:
        """Whether something is not as it was written, or nobody can say."""
        return self.state in BAD


def look(part: Part) -> list[Finding] | None:
    """Make one check; None where all was not well, which a writer that moves files meanwhile can feign."""
    found = last_look(part)
    return None if any(finding.bad for finding in found) else found


def last_look(part: Part) -> list[Finding]:
    """Make one check that counts, be it as it may."""
    found: list[Finding] = []
    try:
        for finding in part():
            found.append(finding)  # noqa: PERF402 (what was found before an error counts too)
    except FileNotFoundError as error:
        found.append(Finding(Path(error.filename), "missing", f"{error.filename} is gone."))
    except (OSError, DiskError) as error:
        if error.filename is None:
            raise
        found.append(_unread(error))
    return found


def check_store(path: Path) -> Iterator[Finding]:
    """Check a store against the hash beside it, its format, and every value but the images.

    Yields
    ------
    Finding
        The bytes of images are covered by the hash alone.
    """
    again = _pack_anew(path)
    if not path.is_file():
        yield Finding(path, "missing", f"{path} does not exist.", again)
        return
    values = _judged(path, partial(_read_values, path), again)
    yield values
    if values.state != "unread":
        yield _hash_beside(path, again)


def open_plan(run: RunDir) -> tuple[Plan | None, Finding]:
    """Read a run's plan, None where that cannot be done, and check that it is the one the run was named by."""
    try:
        plan = load_plan(run.plan)
    except DiskError as error:
        return None, _unread(error)
    except MsbatchError as error:
        return None, Finding(run.plan, "damaged", error.problem, PLAN_ANEW)
    named = NAMED_BY_SIGNATURE.fullmatch(run.root.resolve().name)
    if named and not plan.signature.startswith(named[1]):
        return plan, Finding(run.plan, "damaged", f"{run.plan} is not the plan that the run was named by.", PLAN_ANEW)
    return plan, Finding(run.plan)


def parts(run: RunDir, plan: Plan) -> list[Part]:
    """Give the checks of a run, but that of its plan; each yields what it finds and changes nothing."""
    signature = plan.signature
    tasks = [partial(_check_task, run, plan, task, signature) for task in plan.tasks]
    beside = [partial(_check_records, run), partial(_check_store_of, plan)]
    return [*beside, *tasks, partial(_check_results, run), partial(_check_leftovers, run)]


def _pack_anew(path: Path) -> str:
    overwrite = " --overwrite" if path.exists() else ""
    return (
        f"msbatch pack IMAGES --table TABLE -o {shlex.quote(str(path))}{overwrite}, with its key and options as before"
    )


def _judged(path: Path, read: Callable[[], Any], remedy: str) -> Finding:
    try:
        read()
    except DiskError as error:
        return _unread(error)
    except MsbatchError as error:
        return Finding(path, "damaged" if path.exists() else "missing", error.problem, remedy)
    return Finding(path)


def _unread(error: OSError | DiskError) -> Finding:
    told = error if isinstance(error, DiskError) else explained(error)
    return Finding(Path(str(error.filename)), "unread", told.problem, told.hint)


def _compared(path: Path, digest: str, problem: str, remedy: str) -> Finding:
    try:
        found = sha256(path)
    except DiskError as error:
        return _unread(error)
    return Finding(path) if found == digest else Finding(path, "damaged", problem, remedy)


def _recorded(path: Path) -> str:
    """Read the hash that a file of one line begins with."""
    with failing_disk_named(path):
        return "".join(path.read_text(errors="replace").split()[:1])


def _hash_beside(path: Path, again: str) -> Finding:
    beside = hash_beside(path)
    if not beside.is_file():
        return Finding(beside, "note", f"{beside} does not exist: the store's bytes cannot be checked.")
    problem = f"{path} does not have the hash that stands in {beside.name}."
    return _compared(path, _recorded(beside), problem, again)


def _read_values(path: Path) -> None:
    try_store(path)
    with Store(path) as store:
        _ = store.classes, store.settings, store.feature_names
        for patient in store.patients:
            for read in (store.labels, store.extents, store.features, store.attributes):
                read(patient)


def _check_records(run: RunDir) -> Iterator[Finding]:
    for path, read in ((run.settings, load_settings), (run.environment, read_json)):
        if path.is_file():
            yield _judged(path, partial(read, path), "")
        else:
            yield Finding(path, "note", f"{path} is not there; no table needs it.")
    if run.on_cluster and not run.submissions.is_file():
        problem = f"{run.submissions} is gone: nobody knows what Slurm was given."
        yield Finding(run.submissions, "missing", problem, "bring it back from a backup")


def _check_store_of(plan: Plan) -> Iterator[Finding]:
    path = Path(plan.store.path)
    yield _judged(path, partial(verify_store, path, plan.store.sha256), _pack_anew(path))


def _check_task(run: RunDir, plan: Plan, task: Task, signature: str) -> Iterator[Finding]:
    folder = run.task(task.arm, task.fold)
    state = _judged(folder.state, partial(read_state, folder), f"rm {shlex.quote(str(folder.state))}")
    yield state
    yield from _check_checkpoints(run, folder)
    if not folder.done:
        told_done = not state.bad and read_state(folder).phase == "done"
        yield _unfinished(run, task, told_done)
    elif task.frozen:
        yield _check_embedding(run, plan, task)
    else:
        again = do_again(run, task, str(run.root))
        predictions = _judged(folder.predictions, partial(read_of_task, run, plan, task, signature), again)
        yield predictions
        if not predictions.bad:
            yield _check_weights(folder, again)


def _unfinished(run: RunDir, task: Task, told_done: bool) -> Finding:
    folder, resumed = run.task(task.arm, task.fold), resume(run, str(run.root))
    if not told_done:
        return Finding(folder.root, "note", f"{folder.root} is not done yet.", resumed)
    made = (folder.embedding, folder.embedding_manifest) if task.frozen else (folder.predictions, folder.manifest)
    gone = next(path for path in made if not path.is_file())
    return Finding(gone, "missing", f"{gone} is gone.", resumed)


def _check_checkpoints(run: RunDir, folder: TaskDir) -> Iterator[Finding]:
    if folder.done and folder.checkpoints.is_dir() and any(folder.checkpoints.iterdir()):
        problem = f"{folder.checkpoints} is of a task that is done, and was killed just then; nothing needs it."
        yield Finding(folder.checkpoints, "note", problem, f"rm -r {shlex.quote(str(folder.checkpoints))}")
        return
    for path in sorted(folder.checkpoints.glob("step-*.pt")):
        with suppress(FileNotFoundError):  # a task at work removes its older ones
            yield _checkpoint(path, resume(run, str(run.root)))


def _checkpoint(path: Path, resumed: str) -> Finding:
    beside = checkpoint_hash(path)
    if not beside.is_file():
        return Finding(path, "note", f"{path} has no hash, as its writer was killed; it is passed over.", resumed)
    problem = f"{path} is damaged; the one before it serves, or the start."
    return _compared(path, _recorded(beside), problem, resumed)


def _check_embedding(run: RunDir, plan: Plan, task: Task) -> Finding:
    folder = run.task(task.arm, task.fold)

    def read() -> None:
        origin, _ = check_embedding(folder)
        if (origin.store, origin.fold, origin.network) != (plan.store.sha256, task.fold, task.network):
            raise EmbeddingError(f"{folder.embedding} is of another store, fold or network.")

    return _judged(folder.embedding, read, do_again(run, task, str(run.root)))


def _check_weights(folder: TaskDir, again: str) -> Finding:
    recorded = weights_hash(folder)
    if not folder.weights.is_file():
        return Finding(folder.weights, "note", f"{folder.weights} is not there; no table needs it.")
    if recorded is None:
        return Finding(folder.weights, "note", f"The hash of {folder.weights} was not recorded.")
    return _compared(folder.weights, recorded, f"{folder.weights} was changed after it was written.", again)


def _check_results(run: RunDir) -> Iterator[Finding]:
    folder, reduced = run.results, f"msbatch reduce {shlex.quote(str(run.root))}"
    reported = f"msbatch report {shlex.quote(str(run.root))}"
    try:
        sums = checksums.read_sums(folder)
    except DiskError:
        raise
    except MsbatchError as error:
        yield Finding(folder / checksums.NAME, "damaged", error.problem, reduced)
        return
    for name, digest in sums.items():
        yield _check_sum(folder / name, digest, reported if _is_of_report(name) else reduced)
    others = [name for name in _names(folder) if name not in sums]
    if others and not sums:
        yield Finding(folder, "note", f"No hash of what is in {folder} was recorded.", reduced)
    elif any(_is_of_report(name) for name in others):
        page = folder / "report.html"
        yield Finding(page, "note", f"{page} and its figures are older than the tables, and not checked.", reported)
    for name in others if sums else ():
        if not _is_of_report(name):
            yield Finding(folder / name, "note", f"{folder / name} is not of the reducer, and not checked.")


def _check_sum(path: Path, digest: str, again: str) -> Finding:
    if not path.is_file():
        return Finding(path, "missing", f"{path} is gone.", again)
    return _compared(path, digest, f"{path} does not have the hash that stands in {checksums.NAME}.", again)


def _is_of_report(name: str) -> bool:
    return name.startswith(("report.html", "figures/"))


def _names(folder: Path) -> list[str]:
    """List the files in a folder and below, without hidden ones and the hashes."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("."))
    return [path.relative_to(folder).as_posix() for path in files if path.name != checksums.NAME]


def _check_leftovers(run: RunDir) -> Iterator[Finding]:
    for path in sorted(path for pattern in LOCKS for path in run.root.glob(pattern)):
        if is_left_behind(path):
            yield Finding(path, "note", f"{path} is of a process that is gone; the next command removes it.")
        else:
            yield Finding(path, "note", f"{path} is held: what is being written now may look unfinished.")
    for path in sorted(path for pattern in HALF_WRITTEN for path in run.root.rglob(pattern)):
        yield Finding(path, "note", f"{path} is half-written: its writer is at work or was killed.", "")
