"""Why a task failed, told from what it left behind."""

import pytest

from msbatch.cluster.reasons import Evidence, explain

LOST = "slurmstepd: error: *** JOB 12 ON v1 CANCELLED AT 2026-11-24T10:00:00"
NO_DEV = "[launch] on v1\nFATAL:   an earlier one\nINFO: x\nFATAL:   container creation failed: no /dev\nbye"

TOLD = [
    ("The loss became nan by step 40.\nLower training.lr or use precision fp32.", "non-finite loss"),
    ("The plan asks for 2 GPU(s), this machine shows 0.\nCheck the driver.", "no GPU"),
    ("There are no pretrained weights for swin: looked for w/swin.pth.\nFetch them.", "missing weights"),
    ("step-40.pt could not be written: the disk is full.\nFree some space.", "disk full"),
    ("the disk is full: [Errno 28] No space left on device: 'x'\nSubmit again to resume it.", "disk full"),
    ("it was started 4 times at step 40 without progress; see its log", "no progress"),
    ("out of memory: CUDA out of memory. Tried to allocate 2 GiB.\nSubmit again to resume it.", "out of GPU memory"),
    ("process 1 was killed (SIGKILL), probably out of memory\nSubmit again to resume it.", "out of memory"),
    ("another process of the task, or its node, was lost: Broken pipe\nSubmit again to resume it.", "node lost"),
    ("timm knows no backbone named resnet51.\nLook a name up with timm.list_models().", "error"),
]


@pytest.mark.parametrize(("told", "category"), TOLD)
def test_a_tasks_own_words_are_passed_on(told: str, category: str) -> None:
    reason = explain(Evidence(told=told, exit_code=1, slurm="FAILED"))
    assert reason.category == category
    assert reason.said == told.splitlines()[0]
    assert "Submit again" not in reason.hint


@pytest.mark.parametrize(
    ("evidence", "category", "said"),
    [
        (Evidence(slurm="OUT_OF_MEMORY", exit_code=137), "out of memory", "Slurm ended it"),
        (Evidence(log="slurmstepd: error: Detected 1 oom_kill event in StepId=12.batch."), "out of memory", "Slurm"),
        (Evidence(log="Detected 2 oom-kill event(s) in StepId=12.batch."), "out of memory", "Slurm ended it"),
        (Evidence(log="slurmstepd: error: Exceeded job memory limit"), "out of memory", "Slurm ended it"),
        (Evidence(log="StepId=1.0 exceeded memory limit (9 > 8), being killed"), "out of memory", "Slurm ended it"),
        (Evidence(exit_code=137), "out of memory", "probably out of memory"),
        (Evidence(cause="hung", exit_code=137), "hung", "no step"),
        (Evidence(slurm="TIMEOUT"), "time limit", "the time limit"),
        (Evidence(slurm="DEADLINE"), "time limit", "deadline"),
        (Evidence(log=f"{LOST} DUE TO TIME LIMIT ***"), "time limit", "the time limit"),
        (Evidence(cause="time limit, and Slurm did not requeue it", exit_code=75), "time limit", "not requeued"),
        (Evidence(slurm="NODE_FAIL"), "node lost", "its node was lost"),
        (Evidence(slurm="BOOT_FAIL"), "node lost", "did not boot"),
        (Evidence(log=f"{LOST} DUE TO NODE FAILURE, SEE SLURMCTLD LOG"), "node lost", "its node was lost"),
        (Evidence(), "node lost", "probably node lost"),
        (Evidence(slurm="PREEMPTED", cause="terminated"), "preempted", "another job"),
        (Evidence(log=f"{LOST} DUE TO PREEMPTION ***"), "preempted", "another job"),
        (Evidence(cause="preempted, and Slurm did not requeue it", exit_code=75), "preempted", "not requeued"),
        (Evidence(slurm="CANCELLED by 1000 0:15", cause="terminated", exit_code=75), "cancelled", "cancelled"),
        (Evidence(cause="terminated", exit_code=75), "cancelled", "cancelled"),
        (Evidence(log=f"{LOST} ***"), "cancelled", "cancelled"),
        (Evidence(began=False), "cancelled", "probably cancelled"),
        (Evidence(log=f"{LOST} DUE TO JOB REQUEUE ***", exit_code=2), "unknown", "exit code 2"),
        (Evidence(cause="the image is missing: /i.sif", exit_code=1), "image missing", "/i.sif"),
        (Evidence(cause="neither apptainer nor singularity is on this node: x"), "no container program", "neither"),
        (Evidence(cause="scratch cannot be written: /local", exit_code=1), "disk full", "/local"),
        (Evidence(exit_code=255, log=NO_DEV), "container not started", "start: container creation failed: no /dev"),
        (Evidence(exit_code=1, told="weights differ", log=NO_DEV), "error", "weights differ"),
        (Evidence(exit_code=0), "unknown", "without predictions"),
        (Evidence(exit_code=135, slurm="FAILED 7:0"), "unknown", "exit code 135 (SIGBUS)"),
        (Evidence(slurm="FAILED 0:9"), "killed", "its launcher was killed"),
    ],
)
def test_a_silent_task_is_explained_by_what_is_left(evidence: Evidence, category: str, said: str) -> None:
    reason = explain(evidence)
    assert reason.category == category
    assert said in reason.said


def test_slurm_knows_better_than_a_task_that_can_only_guess() -> None:
    guess = "process 1 was killed (SIGKILL), probably out of memory"
    assert explain(Evidence(told=guess, slurm="OUT_OF_MEMORY", mem_gb=8)).said.endswith("at its limit of 8 GB")
    assert explain(Evidence(told=guess, exit_code=1)).category == "out of memory"
    assert explain(Evidence(told=guess, slurm="TIMEOUT", time_min=60)).category == "time limit"
    assert explain(Evidence(told=guess, slurm="CANCELLED by 1000 0:15")).category == "cancelled"
    assert explain(Evidence(told=guess, slurm="NODE_FAIL")).category == "node lost"
    assert explain(Evidence(told="Connection reset by peer", slurm="NODE_FAIL")).category == "node lost"
    nan = "The loss became nan by step 40."
    assert explain(Evidence(told=nan, slurm="OUT_OF_MEMORY")).category == "non-finite loss"


def test_the_remedy_doubles_what_was_too_little() -> None:
    given = {"mem_gb": 12.5, "time_min": 90}
    assert explain(Evidence(slurm="OUT_OF_MEMORY", **given)).options == "--mem 25"
    assert explain(Evidence(slurm="TIMEOUT", **given)).options == "--time 180"
    assert explain(Evidence(slurm="NODE_FAIL", **given)).options == ""
    assert explain(Evidence(slurm="TIMEOUT")).options == ""


def test_a_tasks_own_hint_goes_over_the_general_one() -> None:
    told = "There are no pretrained weights for swin.\nFetch them with: msbatch weights get swin --dir w."
    assert explain(Evidence(told=told)).hint == "Fetch them with: msbatch weights get swin --dir w."
    assert "lower training.lr" in explain(Evidence(told="The loss became nan by step 4.")).hint
