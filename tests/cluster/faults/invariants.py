"""What must hold of every study when it has come to its end, and of the cluster when all have."""

import csv
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from grounds import Grounds, Process
from shared import Rows, SharedStudy
from study import is_leftover

from msbatch.layout import RunDir, list_runs
from msbatch.plan import load_plan
from msbatch.store import Store

SAME = ("results/*.csv", "results/verdict.json", "tasks/*/*/predictions.csv")
OURS = re.compile(r"/msbatch (status|logs) |/jobs/launch\.sh ")
LONG_S = 120.0


# --- a study ---------------------------------------------------------------------------------------------


def of_study(study: SharedStudy, undisturbed: RunDir) -> list[str]:
    """Say what does not hold of a study that has come to its end; each in a line."""
    (run, *more) = list_runs(study.folder / "runs")
    found = [f"a second run: {other.root}" for other in more]
    found += [f"cells of {name} that are not predicted once: {cells}" for name, cells in not_once(run)]
    found += [f"differs from the undisturbed study: {name}" for name in differences(run, undisturbed)]
    found += [f"a submission is not settled: {entry.name}" for entry in study.ledger if entry.open]
    found += [f"left behind: {path}" for path in leftovers(study.folder, run)]
    found += [f"others may read {path}" for path in run.root.rglob("*") if _is_open(path)]
    return found


def of_processes(study: SharedStudy, wait_s: float = 60) -> list[str]:
    """Name the processes of a study that do not end although nothing of it is queued."""
    end = time.monotonic() + wait_s
    while (found := study.processes()) and time.monotonic() < end:
        time.sleep(1)
    return [f"process {process.pid} still runs: {process.command[:120]}" for process in found]


def not_once(run: RunDir) -> list[tuple[str, list[tuple[str, str]]]]:
    """Give for every backbone the first cells that are not predicted, or more than once, if there are any."""
    plan = load_plan(run.plan)
    with Store(Path(plan.store.path)) as store:
        wanted = Counter((name, str(cell)) for name in store.patients for cell in range(store.cells(name)))
    found = []
    for backbone in plan.backbones:
        paths = [run.task(task.arm, task.fold).predictions for task in plan.tasks if task.arm == backbone]
        tables = [csv.DictReader(path.read_text().splitlines()) for path in paths if path.is_file()]
        rows = Counter((row["patient"], row["cell"]) for table in tables for row in table)
        if rows != wanted:
            found.append((backbone, sorted((rows - wanted) + (wanted - rows))[:5]))
    return found


def differences(run: RunDir, undisturbed: RunDir) -> list[str]:
    """Name the tables and predictions that are not, byte for byte, those of the undisturbed study."""
    mine, other = (
        {path.relative_to(one.root): path for glob in SAME for path in one.root.glob(glob)}
        for one in (run, undisturbed)
    )
    both = sorted(mine.keys() | other.keys())
    return [str(name) for name in both if not (name in mine and name in other and _same(mine[name], other[name]))]


def leftovers(folder: Path, run: RunDir) -> list[Path]:
    """Name locks, temporary files, and runs that were begun and given up."""
    broken_off = [path for path in (folder / "runs").iterdir() if path.is_dir() and path != run.root]
    return broken_off + [path for path in folder.rglob("*") if is_leftover(path)]


def queued_twice(studies: Iterable[SharedStudy], queue: Rows) -> list[str]:
    """Name the tasks of which Slurm holds more than one job or element, whatever its state."""
    found = []
    for study in studies:
        with suppress(OSError):  # it has come to its end meanwhile
            found += _twice(study, queue)
    return found


def _twice(study: SharedStudy, queue: Rows) -> list[str]:
    held = Counter(task for entry in study.ledger for number, task in entry.elements.items() if number in queue)
    return [f"{study.folder}: task {task} is queued {times} times" for task, times in held.items() if times > 1]


def _same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def _is_open(path: Path) -> bool:
    return not path.is_symlink() and path.stat().st_mode & 0o077 != 0


# --- the cluster -----------------------------------------------------------------------------------------


def of_cluster(grounds: Grounds, wait_s: float = 60) -> list[str]:
    """Say what is left of all studies together: jobs, processes, files on the nodes' own disk."""
    end = time.monotonic() + wait_s
    while (found := _left(grounds)) and time.monotonic() < end:
        time.sleep(2)
    return found


def _left(grounds: Grounds) -> list[str]:
    found = [f"Slurm still holds {number}: {row}" for number, row in grounds.queue().items()]
    found += [f"process {process.pid} still runs: {process.command[:120]}" for process in grounds.processes()]
    scratch = grounds.work / "scratch"
    return found + [f"left behind: {path}" for path in scratch.glob("*") if not re.fullmatch(r"msbatch-\d+", path.name)]


@dataclass(frozen=True)
class Sample:
    """What a process takes at a moment."""

    at: float
    rss_kib: int
    descriptors: int


class Growth:
    """Memory and descriptors of those processes of msbatch that live long."""

    def __init__(self) -> None:
        self._samples: dict[tuple[int, str], list[Sample]] = defaultdict(list)

    def sample(self, processes: Iterable[Process]) -> None:
        """Measure all of them once."""
        for process in processes:
            if OURS.search(process.command):
                with suppress(OSError, StopIteration):
                    self.add(process.pid, process.command, _measure(process.pid))

    def add(self, pid: int, command: str, sample: Sample) -> None:
        """Take one measurement down."""
        self._samples[pid, command].append(sample)

    @property
    def watched(self) -> int:
        """How many processes have lived long enough to be judged."""
        return len(self._long())

    def violations(self) -> list[str]:
        """Name those that take more towards the end of their life than in its middle."""
        found = []
        for (pid, command), samples in self._long().items():
            third = len(samples) // 3
            (rss, files), (last_rss, last_files) = _least(samples[third : 2 * third]), _least(samples[2 * third :])
            if last_rss > 1.05 * rss + 2048 or last_files > files:
                grown = f"{rss} -> {last_rss} KiB, {files} -> {last_files} descriptors"
                found.append(f"process {pid} grew, {grown}: {command[:120]}")
        return found

    def _long(self) -> dict[tuple[int, str], list[Sample]]:
        return {key: own for key, own in self._samples.items() if own[-1].at - own[0].at > LONG_S and len(own) > 8}


def _measure(pid: int) -> Sample:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    rss = next(line for line in status if line.startswith("VmRSS:"))
    return Sample(time.monotonic(), int(rss.split()[1]), len([*Path(f"/proc/{pid}/fd").iterdir()]))


def _least(samples: list[Sample]) -> tuple[int, int]:
    """Give the least that was taken: what is free again after each round does not count."""
    return min(one.rss_kib for one in samples), min(one.descriptors for one in samples)
