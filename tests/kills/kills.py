"""SIGKILL at random moments to whatever writes: nothing is unreadable or lost, and going on comes to the same bytes.

``python tests/kills/kills.py [--kills 240] [--seed 1]`` ends in one line:
kills: N kills, N unreadable, N lost, N different.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

HERE = Path(__file__).resolve().parent
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"  # a process with threads cannot be forked
sys.path[:0] = [str(HERE.parent.parent), str(HERE)]

from acts import Act, Grounds, make_acts  # noqa: E402

MOST_IN_A_ROW = 3
KINDS = ("unreadable", "lost", "different")


def main() -> int:
    """Kill, look, go on, compare; the exit code is 0 only if nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=240)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--only", nargs="+", metavar="ACT", help="pack, checkpoint, training, prediction, reduce, report"
    )
    given = parser.parse_args()
    logging.disable()  # that a checkpoint was half-written is as it should be
    with tempfile.TemporaryDirectory(prefix="msbatch-kills-") as folder:
        counts = campaign(Path(folder), given.kills, given.seed, given.only)
    print(last_line(counts))
    return 1 if any(counts[kind] for kind in KINDS) else 0


def last_line(counts: Counter[str]) -> str:
    """Say how many kills there were, and what was found."""
    return f"kills: {counts['kills']} kills, " + ", ".join(f"{counts[kind]} {kind}" for kind in KINDS)


def campaign(folder: Path, kills: int, seed: int, only: list[str] | None = None) -> Counter[str]:
    """Share the kills out among all acts; each violation is printed where it is found."""
    acts = [act for act in make_acts(Grounds(folder / "grounds", in_child)) if act.name in (only or [act.name])]
    counts: Counter[str] = Counter()
    for number, act in enumerate(acts):
        own = Counter[str]()
        wanted = kills // len(acts) + (number < kills % len(acts))
        for trial in trials(act, folder / act.name, random.Random(f"{seed}/{act.name}")):
            own.update(trial)
            if own["kills"] >= wanted:
                break
        print(f"{act.name}: {', '.join(f'{own[key]} {key}' for key in ('kills', *KINDS))}", flush=True)
        counts.update(own)
    return counts


def trials(act: Act, folder: Path, lot: random.Random) -> Iterator[Counter[str]]:
    """Yield what came of one folder after another, each struck once or more, then brought to its end."""
    calm = folder / "calm"
    act.prepare(calm)
    started = time.monotonic()
    assert in_child(lambda: act.run(calm, lambda _: None)) == 0, f"{act.name} fails undisturbed"
    lasts, wanted = time.monotonic() - started, act.result(calm)
    for number in range(10_000):
        own = folder / f"trial-{number}"
        act.prepare(own)
        counts = Counter[str]()
        for _ in range(lot.randint(1, MOST_IN_A_ROW)):
            counts["kills"] += strike(act, own, lot, lasts)
            counts.update(told(act, own, problem) for problem in act.judge(own))
        if in_child(lambda: act.run(own, lambda _: None)) or act.result(own) != wanted:  # noqa: B023
            counts.update([told(act, own, f"different: {differences(act.result(own), wanted)}")])
        shutil.rmtree(own)
        yield counts


def strike(act: Act, folder: Path, lot: random.Random, lasts: float) -> bool:
    """Kill an act at a random moment, half of the time only once it writes; False where it was quicker."""
    with child(lambda: act.run(folder, act.note(folder))) as pid:
        ends = time.monotonic() + 3 * lasts + 10
        wait = lot.uniform(0, lasts)
        if lot.random() < 0.5 and act.writes:
            while not is_there(folder, act.writes) and not ended(pid) and time.monotonic() < ends:
                time.sleep(0.0005)
            wait = lot.uniform(0, act.window_s)
        time.sleep(wait)
        os.kill(pid, signal.SIGKILL)
        return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def is_there(folder: Path, pattern: str) -> bool:
    """Say whether there is such a file in a folder that is being written to."""
    with suppress(FileNotFoundError):
        return any(folder.rglob(pattern))
    return False


def told(act: Act, folder: Path, problem: str) -> str:
    """Print a violation and give its kind."""
    print(f"{act.name}, {folder.name}: {problem}", flush=True)
    return problem.partition(":")[0]


def differences(found: dict[str, bytes], wanted: dict[str, bytes]) -> str:
    """Name the files that differ."""
    return ", ".join(sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))) or "it failed"


def in_child(work: Callable[[], None]) -> int:
    """Do something in a process of its own, undisturbed, and give its exit code."""
    with child(work) as pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def ended(pid: int) -> bool:
    """Say whether a child has ended; it stays to be waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


@contextmanager
def child(work: Callable[[], None]) -> Iterator[int]:
    """Start a process that has everything imported already."""
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            work()
            code = 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    yield pid


if __name__ == "__main__":
    raise SystemExit(main())
