"""An hour of studies on one real cluster, several at a time, while they and the cluster are disturbed at random.

As root: make soak. After that time nothing is disturbed any more, and every study is brought to its end.
"""

import argparse
import re
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path

import invariants
from acts import CLUSTER_ACTS, STUDY_ACTS, Script, draw_script, draw_weather
from campaign import code_hash, say
from shared import SharedGrounds, SharedStudy
from undisturbed import run_undisturbed

from msbatch.layout import list_runs

SAMPLE_EVERY_S = 3.0
# Of a command itself: what it shows of a task may hold one of Python's, whose container went from under it.
OWN_TRACEBACK = re.compile(r'^  File ".*/msbatch/cli/', re.MULTILINE)


class Soak:
    """Studies, what disturbs them, and what was found out about them.

    Parameters
    ----------
    base : Path
        Holds the undisturbed study.
    minutes : float
        For so long new studies and faults are drawn.
    """

    def __init__(self, grounds: SharedGrounds, base: Path, seed: int, minutes: float) -> None:
        self.grounds = grounds
        self.seed = seed
        self.faults: Counter[str] = Counter()
        self.studies = 0
        self.recoveries = 0
        self.violations: list[str] = []
        self._base = base
        self._minutes = minutes
        self._numbers = count()
        self._over, self._ended = threading.Event(), threading.Event()
        self._active: list[SharedStudy] = []
        self.growth = invariants.Growth()
        self._lock = threading.Lock()

    def run(self, at_once: int) -> None:
        """Let studies be disturbed until the time is up, and bring all of them to their end."""
        threading.Timer(self._minutes * 60, self._over.set).start()
        helpers = [threading.Thread(target=self._guarded, args=(own,)) for own in (self._disturb_cluster, self._watch)]
        for helper in helpers:
            helper.start()
        with ThreadPoolExecutor(at_once) as pool:
            standing = pool.submit(self._stand_still)
            list(pool.map(lambda _: self._work(), range(at_once - 1)))
            standing.result()
        self._ended.set()
        for helper in helpers:
            helper.join()
        for violation in (*invariants.of_cluster(self.grounds), *self.growth.violations()):
            self._violated(violation, self.grounds.folder)

    @property
    def line(self) -> str:
        return f"soak: {self.studies} studies, {self.faults.total()} faults, {len(self.violations)} violations"

    # --- studies -----------------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._over.is_set():
            script = draw_script(self.seed, next(self._numbers))
            study = SharedStudy(self.grounds, script.name, script.runtime, self._base, list(script.tasks))
            self._live(study, lambda study=study, script=script: self._disturb(study, script))

    def _live(self, study: SharedStudy, disturb: Callable[[], None]) -> None:
        """Disturb a study, bring it to its end, and say what does not hold of it."""
        began = time.monotonic()
        try:
            self._active.append(study)
            study.prepare()
            disturb()
            study.heal()
            self._look_at(study)
        except Exception as error:  # whatever it was, this study did not come to its end
            study.violations.append(f"{type(error).__name__}: {' '.join(str(error).split())[:400]}")
        finally:
            self._active.remove(study)
        self._close(study, time.monotonic() - began)

    def _disturb(self, study: SharedStudy, script: Script) -> None:
        for act in script.acts:
            if self._over.wait(act.pause_s):
                break
            kind = STUDY_ACTS[act.name]
            study.note(f"-- {act.name}")
            try:
                kind.do(study, act)
            except Exception as error:  # there was nothing to strike any more, or the controller was away
                study.note(f"   passed over: {' '.join(str(error).split())[:200]}")
            else:
                self._count(act.name, kind.fault)

    def _look_at(self, study: SharedStudy) -> None:
        undisturbed = list_runs(self._base / "local" / "runs")[-1]
        if (study.status()["reducer"] or {}).get("phase") == "done":
            study.violations += invariants.differences(study.run, undisturbed)
        said = study.insist(*study.submission).stdout
        if "Nothing to submit" not in said:
            study.heal()
        study.insist("report")
        study.insist("verify")
        study.violations += [*invariants.of_study(study, undisturbed), *invariants.of_processes(study)]

    def _close(self, study: SharedStudy, seconds: float) -> None:
        files = study.folder.glob("runs/*/jobs/*/launches/*.start")
        starts = len([path for path in files if not path.match("*.0.start")])
        with self._lock:
            self.studies += 1
            self.recoveries += starts + study.again
        say(f"{study.folder.name}  {study.runtime:8} {seconds:4.0f} s  {starts} restarts, {study.again} run again")
        for violation in study.violations:
            self._violated(violation, study.folder)
        if not study.violations:
            shutil.rmtree(study.folder)

    def _stand_still(self) -> None:
        """Keep one study from going on until the time is up, so that what waits for it lives that long."""
        study = SharedStudy(self.grounds, "study-still", "sif", self._base, [0])
        study.options = ("--time", str(round(2 * self._minutes) + 60), "--hang", "1000")
        self._live(study, lambda: self._hold(study))

    def _hold(self, study: SharedStudy) -> None:
        study.insist(*study.submission)
        fold = f"exec msbatch logs --fold {study.tasks[0]} -f >logs.out 2>&1"
        waiting = [
            self.grounds.begin("bash", "-c", words, cwd=study.folder)
            for words in ("exec msbatch status --watch >watch.out 2>&1", fold)
        ]
        while not self._over.wait(1):
            _send(study, signal.SIGSTOP)
        _send(study, signal.SIGCONT)
        study.heal()
        for process in waiting:
            process.communicate(timeout=120)
        for said in ("watch.out", "logs.out"):
            if OWN_TRACEBACK.search((study.folder / said).read_text()):
                study.violations.append(f"{said} holds a traceback")

    # --- what goes on beside them --------------------------------------------------------------------

    def _disturb_cluster(self) -> None:
        for act in draw_weather(self.seed):
            if self._over.wait(act.pause_s):
                break
            say(f"the cluster: {act.name}")
            with suppress(AssertionError, OSError):  # the controller was away, or the daemon
                CLUSTER_ACTS[act.name](self.grounds, act)
                self._count(act.name, True)
            self._restore()
        self._restore()

    def _restore(self) -> None:
        for _ in range(3):
            with suppress(AssertionError):
                return self.grounds.start()
        return self.grounds.start()

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_EVERY_S):
            self.growth.sample(self.grounds.processes())
            queue = self.grounds.queue()
            for violation in invariants.queued_twice([*self._active], queue):
                self._violated(violation, self.grounds.folder)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # a soak that does not disturb, or does not look, says nothing
            self._violated(f"the soak itself: {type(error).__name__}: {error}", self.grounds.folder)

    def _count(self, name: str, fault: bool) -> None:
        with self._lock:
            self.faults.update([name] if fault else [])

    def _violated(self, violation: str, where: Path) -> None:
        with self._lock:
            self.violations.append(violation)
        say(f"VIOLATION  {violation}  (look at {where})")


def _send(study: SharedStudy, number: signal.Signals) -> None:
    for process in study.processes():
        if "spawn_main" in process.command:
            process.send(number)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seed", type=int, default=1, help="decides studies, and what is done to them and to the cluster"
    )
    parser.add_argument("--minutes", type=float, default=60, help="nothing is disturbed later than this")
    parser.add_argument("--at-once", type=int, default=4, help="studies at once; one of them stands still")
    parser.add_argument("--cluster", type=Path, default=Path("/tmp/msbatch-cluster"))  # noqa: S108
    parser.add_argument("--folder", type=Path, default=Path("/tmp/msbatch-soak"))  # noqa: S108
    given = parser.parse_args(words)
    base = given.folder / code_hash()
    base.mkdir(parents=True, exist_ok=True)
    grounds = SharedGrounds(given.cluster)
    grounds.up(None)
    grounds.clear()
    run_undisturbed(base, grounds)
    soak = Soak(grounds, base, given.seed, given.minutes)
    soak.run(given.at_once)
    for name, times in sorted(soak.faults.items()):
        print(f"{times:4} {name}")
    print(f"{soak.recoveries} recoveries: tasks that Slurm started again, or that were run again")
    print(f"{soak.growth.watched} processes lived long enough to be seen to grow")
    print(soak.line)
    return int(bool(soak.violations))


if __name__ == "__main__":
    sys.exit(main())
