"""A small study beside others on one cluster: its jobs among theirs, its commands, and how it is brought to its end."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from grounds import Grounds, Process
from slurm_cluster import Done
from study import TASKS, Study, StudyError

from msbatch.cluster.ledger import Submission, read_ledger
from msbatch.layout import list_runs

SILENT = ("does not answer", "stopped answering", "gave no answer")  # Slurm, in the words of msbatch
ROUNDS = 6
CODES = {0, 1, 3, 130}  # done, an error in words, folds are missing, interrupted

Rows = dict[str, tuple[str, str, str]]


class SharedGrounds(Grounds):
    """A cluster whose controller is away at times: whoever asks for its queue waits for it."""

    def __init__(self, folder: Path) -> None:
        port = folder / "port"
        super().__init__(folder, int(port.read_text()) if port.is_file() else 17000)

    def queue(self, *chosen: str) -> Rows:
        end = time.monotonic() + 240
        while True:
            done = self.root("squeue", "--noheader", "--array", "--format", "%i|%T|%r|%N", *chosen, check=False)
            if done.returncode == 0:
                rows = [line.strip().split("|") for line in done.stdout.splitlines()]
                return {row[0]: (row[1], row[2], row[3]) for row in rows if len(row) == 4}
            if time.monotonic() > end:
                raise StudyError(f"the controller did not come back: {done.stderr.strip()}")
            time.sleep(1)


class SharedStudy(Study):
    """A study that shares its cluster, and its node's scratch, with others.

    Attributes
    ----------
    violations : list of str
        What its commands did that they must never do.
    again : int
        Tasks that had to be run again.
    """

    grounds: SharedGrounds

    def __init__(self, grounds: SharedGrounds, name: str, runtime: str, base: Path, tasks: list[int]) -> None:
        super().__init__(grounds, name, runtime, base, tasks)
        self.scratch = grounds.work / "scratch"
        self.violations: list[str] = []
        self.again = 0

    def prepare(self) -> None:
        """Make its folder, with the tasks in it that it does not run itself."""
        self.make()
        if len(self.tasks) < TASKS:
            self.take_over_the_rest()

    def note(self, words: str) -> None:
        """Write down what was done to it, for whoever looks later."""
        with (self.folder / "acts.log").open("a") as out:
            out.write(f"{time.strftime('%H:%M:%S')}  {words}\n")

    # --- its commands ------------------------------------------------------------------------------

    def begin(self, *words: str) -> "subprocess.Popen[str]":
        return self.grounds.begin("msbatch", *words, cwd=self.folder)

    def end(self, process: "subprocess.Popen[str]", kill_after_s: float = 600, number: int = signal.SIGKILL) -> Done:
        """Wait for a command, or kill it after a while; it says what went wrong in words, however it ends."""
        allowed = CODES
        try:
            out, error = process.communicate(timeout=kill_after_s)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            allowed = CODES | {-number}
            out, error = process.communicate()
        words = " ".join(map(str, process.args[1:]))  # type: ignore[index,union-attr]
        self.note(f"msbatch {words}: {process.returncode} {error.strip()}")
        if "Traceback" in out + error or process.returncode not in allowed:
            self.violations.append(f"msbatch {words} ended with {process.returncode}: {error.strip()[-200:]}")
        return Done(process.args, process.returncode, out, error)

    def msbatch(self, *words: str, **_: str) -> Done:
        return self.end(self.begin(*words))

    def insist(self, *words: str) -> Done:
        """Run a command that must succeed once Slurm answers; folds may be missing."""
        for _ in range(12):
            done = self.msbatch(*words)
            if done.returncode in (0, 3):
                return done
            if not any(sign in done.stderr for sign in SILENT):
                break
            time.sleep(10)
        raise StudyError(f"msbatch {' '.join(words)} ended with {done.returncode}: {done.stderr.strip()[-300:]}")

    # --- its jobs ----------------------------------------------------------------------------------

    @property
    def ledger(self) -> list[Submission]:
        return read_ledger(self.run) if list_runs(self.folder / "runs") else []

    def jobs(self) -> Rows:
        """Give what Slurm holds of this study, also where the ledger does not know the number yet."""
        names = [entry.name for entry in self.ledger]
        return self.grounds.queue("--name", ",".join(names)) if names else {}

    def finish(self, seconds: float = 1200) -> None:
        self.wait(lambda: self.hurry() or self._let_go() or not self.jobs(), "the end of the study", seconds)

    def _let_go(self) -> None:
        """Release what Slurm holds back because a node did not start it, as its user must."""
        for number, (_, reason, _) in self.jobs().items():
            if reason.endswith("requeued held"):
                self.note(f"scontrol release {number}: {reason}")
                self.grounds.root("scontrol", "release", number, check=False)

    def wait(self, ready: Callable[[], object], what: str, seconds: float = 240) -> None:
        end = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > end:
                raise StudyError(f"waited {seconds:.0f} s in vain for: {what}")
            time.sleep(1)

    def choose(self, preferred: tuple[int, ...]) -> int:
        """Give the first of some tasks that runs, or else that is queued.

        Raises
        ------
        StudyError
            If Slurm holds no task of this study.
        """
        rows = self.jobs()
        states = {
            task: rows[number][0] for entry in self.ledger for number, task in entry.elements.items() if number in rows
        }
        for wanted in ("RUNNING", "PENDING"):
            for task in preferred:
                if states.get(task) == wanted:
                    return task
        raise StudyError("no task is queued or running")

    def processes(self) -> list[Process]:
        """List the processes that work for this study."""
        own = f"{self.folder}/"
        return [one for one in self.grounds.processes() if own in " ".join((one.command, *one.environment.values()))]

    # --- its end -----------------------------------------------------------------------------------

    def heal(self) -> None:
        """Do what a person does until all is done: wait, ask for the status, run again what failed.

        Raises
        ------
        StudyError
            If that does not end, or a command fails although Slurm answers.
        """
        if not list_runs(self.folder / "runs"):  # no command came so far
            self.insist(*self.submission)
        for _ in range(ROUNDS):
            self.finish()
            status = self._settled()
            phases = {task["phase"] for task in status["tasks"]}
            if phases == {"done"}:
                break
            self._go_on(status, phases)
        else:
            raise StudyError(f"after {ROUNDS} rounds tasks are {sorted(phases)}")

    def _settled(self) -> dict:  # type: ignore[type-arg]
        found: dict = {}  # type: ignore[type-arg]

        def asked() -> bool:
            found.update(self.status())
            return not found["silent"]

        self.wait(asked, "an answer of Slurm to msbatch status", 240)
        return found

    def _go_on(self, status: dict, phases: set[str]) -> None:  # type: ignore[type-arg]
        failed = [task for task in status["tasks"] if task["phase"] == "failed"]
        silent = [task["index"] for task in failed if not task["reason"]]
        if silent:
            raise StudyError(f"tasks {silent} failed without a reason")
        self.note(f"status: {[(task['index'], task['phase'], task['reason']) for task in status['tasks']]}")
        self.again += len(failed)
        if failed:
            self.insist("rerun", "--failed", "--yes")
        if "waiting" in phases:
            self.insist(*self.submission)
        if not failed and "waiting" not in phases:
            time.sleep(5)  # Slurm has just let go of it
