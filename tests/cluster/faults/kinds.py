"""The kinds of faults, and what must come of each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import running
import submitting
from study import Study

When = Literal["before", "submit", "held", "task", "alone"]
CONTAINERS = ("sif", "sandbox")


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes
    ----------
    strike : callable
        Given the study, a task and a step, does it; it ends when the fault is over.
    when : str
        ``before`` submitting (it must be refused), instead of an ordinary ``submit``, to one ``held`` task before
        it starts, to one running ``task``, or ``alone`` because it hits more than one task.
    outcome : str
        ``healed``, or ``rerun`` where the task must be named and run again; empty: either.
    words : str
        What the reason must contain, where the task is named.
    restarts : bool
        Whether the struck task must have been started again by itself.
    options, variant : tuple of str
        Of the submission, and of the cluster.
    disk : str
        The folder of the study, ``scratch`` or ``runs``, that lies on a small disk of its own.
    runtimes : tuple of str
        It is injected once in each.
    """

    name: str
    strike: Callable[[Study, int, int], None]
    when: When
    outcome: str = "healed"
    words: str = ""
    restarts: bool = False
    options: tuple[str, ...] = ()
    variant: tuple[str, ...] = ()
    disk: str = ""
    runtimes: tuple[str, ...] = CONTAINERS


KINDS = (
    Kind("bad partition", submitting.bad_partition, "before", runtimes=("sandbox",)),
    Kind("bad account", submitting.bad_account, "before", runtimes=("sandbox",)),
    Kind("bad QOS", submitting.bad_qos, "before", runtimes=("sandbox",)),
    Kind("no Slurm", submitting.no_slurm, "before", runtimes=("sandbox",)),
    Kind("runs not writable", submitting.unwritable_runs, "before", runtimes=("sandbox",)),
    Kind("image cut off before", submitting.wrong_image, "before", runtimes=("sif",)),
    Kind("two submits at once", submitting.two_submits, "submit", runtimes=("sandbox",)),
    Kind("submit killed", submitting.submit_killed, "submit", runtimes=("sandbox",)),
    Kind("controller killed in submit", submitting.controller_killed_while_submitting, "submit", runtimes=("sandbox",)),
    Kind("submit inside a job", submitting.submitted_inside_a_job, "submit", runtimes=("sandbox",)),
    Kind("image missing", running.image_missing, "held", "rerun", "image is missing"),
    Kind("image cut off", running.image_truncated, "held", "rerun", "cut off"),
    Kind("store missing", running.store_missing, "held", "rerun", "cohort.h5"),
    Kind("scratch full", running.scratch_full, "held", "", "scratch|space|disk", disk="scratch"),
    Kind("sandbox purged", running.sandbox_purged, "held", runtimes=("sandbox",)),
    Kind("out of memory", running.out_of_memory, "held", "rerun", "out of memory"),
    Kind("scancel", running.cancelled, "task", "rerun", "cancelled"),
    Kind("rank killed", running.rank_killed, "task", "rerun", "was killed"),
    Kind("launcher killed", running.launcher_killed, "task", "rerun", "launcher"),
    Kind("requeue", running.requeued, "task", restarts=True),
    Kind("checkpoint corrupted", running.newest_checkpoint_corrupted, "task", restarts=True),
    Kind("time limit lowered", running.limit_lowered, "task", restarts=True),
    Kind("hung", running.hung, "task", restarts=True, options=("--hang", "3")),
    Kind("squashfuse killed", running.squashfuse_killed, "task", "", "^(?!unknown)", runtimes=("sif",)),
    Kind("time limit", running.time_limit, "alone", restarts=True, options=("--time", "3")),
    Kind("preempted, grace", running.preempted, "alone", restarts=True),
    Kind("preempted, grace, signal", running.preempted, "alone", restarts=True, variant=("--preempt-signal",)),
    Kind("preempted, no grace", running.preempted, "alone", restarts=True, options=("--partition", "nograce")),
    Kind("node daemon killed", running.node_lost, "alone", restarts=True),
    Kind("controller killed", running.controller_killed, "alone", runtimes=("sandbox",)),
    Kind("accounting killed", running.accounting_killed, "alone", runtimes=("sandbox",)),
    Kind(
        "scancel, no accounting",
        running.cancelled,
        "alone",
        "rerun",
        "cancelled",
        variant=("--no-accounting",),
        runtimes=("sandbox",),
    ),
    Kind(
        "disk full",
        running.disk_full,
        "alone",
        "rerun",
        "disk|space",
        disk="runs",
        runtimes=("sandbox",),
    ),
)
