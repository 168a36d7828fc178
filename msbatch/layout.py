"""Every path of a run, owned by one place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from msbatch.errors import MsbatchError

RUNS = Path("runs")
SETTINGS = Path("msbatch.toml")
PACKAGE = Path(__file__).resolve().parent
LAUNCH_CONF = "launch.conf"


@dataclass(frozen=True)
class TaskDir:
    """The folder of one task: one arm, one fold."""

    root: Path

    @property
    def state(self) -> Path:
        """How far the task is, as JSON."""
        return self.root / "state.json"

    @property
    def attempts(self) -> Path:
        """One file per attempt; the highest number owns the task."""
        return self.root / "attempts"

    @property
    def checkpoints(self) -> Path:
        """The newest checkpoints and their hashes."""
        return self.root / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        """Event files of this task."""
        return self.root / "tensorboard"

    @property
    def predictions(self) -> Path:
        """One row per held-out cell."""
        return self.root / "predictions.csv"

    @property
    def manifest(self) -> Path:
        """What the predictions belong to, and their hash."""
        return self.root / "predictions.json"

    @property
    def weights(self) -> Path:
        """The weights that made the predictions."""
        return self.root / "weights.safetensors"

    @property
    def embedding(self) -> Path:
        """What a frozen backbone sees in each held-out cell."""
        return self.root / "embedding.npy"

    @property
    def embedding_manifest(self) -> Path:
        """What the embedding belongs to, and its hash."""
        return self.root / "embedding.json"

    @property
    def done(self) -> bool:
        """Whether the task has made what it was for: predictions, or an embedding."""
        pairs = ((self.predictions, self.manifest), (self.embedding, self.embedding_manifest))
        return any(file.is_file() and manifest.is_file() for file, manifest in pairs)

    @property
    def trace(self) -> Path:
        """A few steps as the profiler saw them."""
        return self.root / "trace.json.gz"

    @property
    def earlier(self) -> Path:
        """What a task made before it was run once more."""
        return self.root / "earlier"

    @property
    def log(self) -> Path:
        """What the task printed, over all attempts."""
        return self.root / "log"


@dataclass(frozen=True)
class LaunchFiles:
    """What lies of one start of a task; jobs/launch.sh and the task speak to each other through these files.

    Attributes
    ----------
    prefix : Path
        What their names begin with: ``launches/<job>.<restart>`` in the folder of a submission.
    """

    prefix: Path

    @property
    def number(self) -> str:
        """Slurm's number of the job or element."""
        return self.prefix.name.rpartition(".")[0]

    @property
    def submission(self) -> str:
        """Name of the submission's folder, wherever the run lies now."""
        return self.prefix.parent.parent.name

    @property
    def start(self) -> Path:
        """Written when the launcher begins: its node."""
        return self._file("start")

    @property
    def stop(self) -> Path:
        """Asks the task to stop, and says why."""
        return self._file("stop")

    @property
    def beat(self) -> Path:
        """Touched by the task while it goes on."""
        return self._file("beat")

    @property
    def end(self) -> Path:
        """How the start ended, as JSON."""
        return self._file("end")

    @property
    def join(self) -> Path:
        """Where the task's nodes meet, as JSON."""
        return self._file("join")

    @property
    def cause(self) -> Path:
        """What a node says that cannot go on, where the task does not say it itself."""
        return self._file("cause")

    def _file(self, kind: str) -> Path:
        return self.prefix.with_name(f"{self.prefix.name}.{kind}")


@dataclass(frozen=True)
class JobDir:
    """The folder of one submission to Slurm; what submitit and Slurm write lies in it as well."""

    root: Path

    @property
    def conf(self) -> Path:
        """What the launcher on the node has to know."""
        return self.root / LAUNCH_CONF

    @property
    def launches(self) -> Path:
        """The files of every start."""
        return self.root / "launches"

    def launch(self, number: str, restart: int) -> LaunchFiles:
        """Give the files of one start of a job or element."""
        return LaunchFiles(self.launches / f"{number}.{restart}")


@dataclass(frozen=True)
class RunDir:
    """The folder of one run: a plan and all that came of it."""

    root: Path

    @property
    def plan(self) -> Path:
        """The frozen plan, as JSON."""
        return self.root / "plan.json"

    @property
    def settings(self) -> Path:
        """The resolved settings, as TOML."""
        return self.root / "settings.toml"

    @property
    def environment(self) -> Path:
        """Versions of packages, Python and the project, as JSON."""
        return self.root / "environment.json"

    @property
    def submissions(self) -> Path:
        """One JSON line per submission."""
        return self.root / "submissions.jsonl"

    @property
    def code(self) -> Path:
        """The package and its job scripts as they were at each submission, one folder per version."""
        return self.root / "code"

    @property
    def jobs(self) -> Path:
        """One folder per submission, and per time that tasks ran on this machine."""
        return self.root / "jobs"

    @property
    def by_hand(self) -> JobDir:
        """The folder for people who call sbatch themselves."""
        return JobDir(self.jobs / "by-hand")

    @property
    def on_cluster(self) -> bool:
        """Whether anything of the run was made ready for Slurm."""
        return any(self.jobs.glob(f"*/{LAUNCH_CONF}"))

    @property
    def submit_lock(self) -> Path:
        """Held while tasks are submitted."""
        return self.root / "submit.lock"

    @property
    def local_lock(self) -> Path:
        """Held while tasks run on this machine."""
        return self.root / "local.lock"

    @property
    def reduce_lock(self) -> Path:
        """Held while tables are written."""
        return self.root / "reduce.lock"

    @property
    def compiled(self) -> Path:
        """What torch.compile made, for all tasks; it can be deleted."""
        return self.root / "compiled"

    @property
    def tasks(self) -> Path:
        """One folder per arm, in it one per fold."""
        return self.root / "tasks"

    @property
    def results(self) -> Path:
        """Tables, recomputed from predictions."""
        return self.root / "results"

    @property
    def boards(self) -> Path:
        """One TensorBoard run per backbone that sums its folds up."""
        return self.results / "tensorboard"

    @property
    def logdir(self) -> Path:
        """What TensorBoard shows: links to the event files of summaries and folds."""
        return self.root / "tensorboard"

    def frozen(self, digest: str) -> Path:
        """Give the folder of one version of the code, named by its hash."""
        return self.code / digest[:12]

    def task(self, arm: str, fold: int) -> TaskDir:
        """Give the folder of one task; a slash or colon in a backbone's name is no part of a path."""
        return TaskDir(self.tasks / folder_name(arm) / f"fold-{fold:02d}")


def checkpoint_hash(checkpoint: Path) -> Path:
    """Where the SHA-256 of a checkpoint stands; without it the checkpoint does not count."""
    return checkpoint.with_suffix(".sha256")


def folder_name(arm: str) -> str:
    """Turn the name of an arm into one path component."""
    return arm.replace("/", "_").replace(":", "_")


def find_run(run: Path | None, runs: Path = RUNS) -> RunDir:
    """Give the named run, or else the newest one under `runs`.

    Raises
    ------
    MsbatchError
        If there is no such run.
    """
    if run is not None:
        named = RunDir(run)
        if named.tasks.is_dir() and not named.plan.is_file():
            raise MsbatchError(f"{named.plan} is gone.", "Bring it back from a backup: it says what the folds are.")
        if not named.plan.is_file():
            raise MsbatchError(f"{run} is not a run: it has no plan.json.", f"Runs are folders under {runs}/.")
        return named
    found = list_runs(runs)
    if not found:
        raise MsbatchError(f"There is no run under {runs}/.", "Make one with: msbatch plan cohort.h5")
    return found[-1]


def list_runs(runs: Path = RUNS) -> list[RunDir]:
    """List the runs under a folder, oldest first."""
    plans = sorted(runs.glob("*/plan.json"), key=lambda path: (path.stat().st_mtime_ns, path.parent.name))
    return [RunDir(path.parent) for path in plans]


def data_dir(name: str) -> Path:
    """Find a folder that ships beside the package: `jobs`, `slurm` or `containers`.

    A wheel carries them inside the package; a checkout and a run's frozen code have them next to it.
    """
    inside = PACKAGE / "_data" / name
    return inside if inside.is_dir() else PACKAGE.parent / name
