"""Why a task failed, in words: the traces that a failure leaves, and the rules that read them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from signal import Signals

MEMORY = "out of memory"
GPU_MEMORY = "out of GPU memory"
TIME = "time limit"
LOSS = "non-finite loss"
NO_GPU = "no GPU"
WEIGHTS = "missing weights"
DISK = "disk full"
IMAGE = "image missing"
CONTAINER = "no container program"
NOT_STARTED = "container not started"
NODE = "node lost"
CANCELLED = "cancelled"
PREEMPTED = "preempted"
HUNG = "hung"
KILLED = "killed"
STUCK = "no progress"
OTHER = "error"
UNKNOWN = "unknown"

GENERIC_HINT = "Submit again"
SEE_LOG = "the log tells more: msbatch logs"


@dataclass(frozen=True)
class Evidence:
    """What one start of a task left behind; whatever is not known is empty.

    Attributes
    ----------
    told : str
        What the task itself wrote down as its reason; a second line says what to do.
    cause : str
        Why the launcher says it ended.
    exit_code : int or None
        The task's, as the launcher saw it.
    slurm : str
        State of the job in Slurm's accounting, and its exit code with the signal, such as FAILED 0:9.
    log : str
        What Slurm wrote into the job's log.
    began : bool
        Whether the launcher started at all.
    mem_gb, time_min : float or None
        What the job was given.
    """

    told: str = ""
    cause: str = ""
    exit_code: int | None = None
    slurm: str = ""
    log: str = ""
    began: bool = True
    mem_gb: float | None = None
    time_min: int | None = None


@dataclass(frozen=True)
class Reason:
    """Why a task failed.

    Attributes
    ----------
    category : str
        One of a few words, to group by.
    said : str
        The reason in a line.
    hint : str
        What to do before it is run again; may be empty.
    options : str
        What to give ``msbatch rerun`` besides the tasks.
    """

    category: str
    said: str
    hint: str = ""
    options: str = ""


@dataclass(frozen=True)
class Rule:
    """A category, the trace to look at, what to find in it, and how to say so.

    In `said`, {0} is the pattern's group, or the trace's first line where it has none.
    """

    category: str
    trace: str
    pattern: str
    said: str = "{0}"


# The first rule that fits counts: what a task says of itself, where that is specific, before what Slurm says of
# it, before what can only be guessed from the way it ended.
RULES = (
    Rule(LOSS, "told", r"loss became|non-finite"),
    Rule(NO_GPU, "told", r"GPU\(s\)|no CUDA|NVIDIA driver|CUDA driver"),
    Rule(WEIGHTS, "told", r"no pretrained weights"),
    Rule(DISK, "told", r"disk is full|No space left|quota exceeded"),
    Rule(STUCK, "told", r"without progress"),
    Rule(GPU_MEMORY, "told", r"CUDA.*out of memory|out of memory.*CUDA"),
    Rule(MEMORY, "slurm", r"OUT_OF_MEMORY", "out of memory: Slurm ended it at its limit{limit}"),
    Rule(
        MEMORY, "log", r"exceeded (?:job )?memory limit|oom.kill", "out of memory: Slurm ended it at its limit{limit}"
    ),
    Rule(MEMORY, "told", r"^(?!.*probably).*out of memory"),
    Rule(IMAGE, "cause", r"image is"),
    Rule(CONTAINER, "cause", r"neither apptainer"),
    Rule(DISK, "cause", r"scratch|No space left|disk is full"),
    Rule(HUNG, "cause", r"hung", "it made no step for long, and was stopped"),
    Rule(TIME, "slurm", r"TIMEOUT", "the time limit{time} came before it could stop by itself"),
    Rule(TIME, "slurm", r"DEADLINE", "the deadline of its job passed"),
    Rule(NODE, "slurm", r"NODE_FAIL", "its node was lost"),
    Rule(NODE, "slurm", r"BOOT_FAIL", "its node did not boot"),
    Rule(PREEMPTED, "slurm", r"PREEMPTED", "another job took its place, and Slurm did not requeue it"),
    Rule(CANCELLED, "slurm", r"CANCELLED", "cancelled"),
    Rule(TIME, "log", r"DUE TO TIME LIMIT", "the time limit{time} came before it could stop by itself"),
    Rule(PREEMPTED, "log", r"DUE TO PREEMPTION", "another job took its place, and Slurm did not requeue it"),
    Rule(NODE, "log", r"NODE FAILURE", "its node was lost"),
    Rule(MEMORY, "told", r"probably out of memory"),
    Rule(NODE, "told", r"its node, was lost"),
    Rule(OTHER, "told", r"."),
    Rule(CANCELLED, "cause", r"terminated", "cancelled"),
    Rule(CANCELLED, "log", r"CANCELLED AT (?!.*DUE TO)", "cancelled"),
    Rule(TIME, "cause", r"time limit", "the time limit{time} came, and it was not requeued"),
    Rule(PREEMPTED, "cause", r"preempted", "another job took its place, and it was not requeued"),
    Rule(OTHER, "cause", r"."),
    Rule(MEMORY, "exit", r"^137\b", "probably out of memory: it was killed (exit code 137)"),
    Rule(NOT_STARTED, "log", r"(?s:.*)^FATAL:\s+(.*)", "the container did not start: {0}"),
    Rule(UNKNOWN, "exit", r"^0$", "unknown: it ended as if all were well, without predictions"),
    Rule(UNKNOWN, "exit", r".", "unknown: it ended with exit code {0}"),
    Rule(KILLED, "slurm", r"FAILED 0:9", "its launcher was killed (SIGKILL)"),
    Rule(OTHER, "slurm", r"^FAILED", "its launcher failed"),
    Rule(NODE, "began", r"yes", "probably node lost: its launcher ended without a word"),
    Rule(CANCELLED, "began", r"no", "probably cancelled: Slurm let go of it before it began"),
)

HINTS = {
    MEMORY: "give it more memory",
    GPU_MEMORY: "take a GPU with more memory (--gpu-type), or a smaller training.batch_size in a new run",
    TIME: "give it more time; it goes on from its checkpoint",
    LOSS: "lower training.lr or use --precision fp32, in a new run",
    NO_GPU: "check the node with: msbatch doctor, on that node",
    WEIGHTS: "fetch them with: msbatch weights get",
    DISK: "free some space, or set another cluster.scratch",
    IMAGE: "make it again with: msbatch container build",
    CONTAINER: "set cluster.modules (--modules) to what provides it",
    NOT_STARTED: "check the node with: msbatch doctor, on that node",
    HUNG: "if it is slow rather than stuck, allow it longer: --hang",
    STUCK: SEE_LOG,
    OTHER: SEE_LOG,
    UNKNOWN: SEE_LOG,
}


def explain(evidence: Evidence) -> Reason:
    """Find the reason of a failure: the first rule that fits."""
    rule, match = next((rule, match) for rule in RULES if (match := _find(rule, evidence)))
    lines = match.string.splitlines()
    own_hint = lines[1] if rule.trace == "told" and len(lines) > 1 and not lines[1].startswith(GENERIC_HINT) else ""
    said = rule.said.format(
        match[1] if match.re.groups else lines[0],
        limit=_of(evidence.mem_gb, "GB"),
        time=_of(evidence.time_min, "minutes"),
    )
    return Reason(rule.category, said, own_hint or HINTS.get(rule.category, ""), _options(rule.category, evidence))


def _find(rule: Rule, evidence: Evidence) -> re.Match[str] | None:
    return re.search(rule.pattern, _trace(evidence, rule.trace), re.IGNORECASE | re.MULTILINE)


def _trace(evidence: Evidence, name: str) -> str:
    if name == "exit":
        return "" if evidence.exit_code is None else _exit(evidence.exit_code)
    if name == "began":
        return "yes" if evidence.began else "no"
    return str(getattr(evidence, name))


def _exit(code: int) -> str:
    """Write an exit code, with the signal that it stands for."""
    names = {signal.value: signal.name for signal in Signals}
    return f"{code} ({names[code - 128]})" if code - 128 in names else str(code)


def _of(amount: float | None, unit: str) -> str:
    return "" if amount is None else f" of {round(amount, 2):g} {unit}"


def _options(category: str, evidence: Evidence) -> str:
    if category == MEMORY and evidence.mem_gb:
        return f"--mem {round(2 * evidence.mem_gb, 2):g}"
    if category == TIME and evidence.time_min:
        return f"--time {2 * evidence.time_min}"
    return ""
