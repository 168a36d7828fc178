"""What the doctor finds, on a machine whose Slurm and Apptainer are stand-ins."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Run
from fake_slurm import FakeSlurm
from sif_files import LABELS, write_sif

from msbatch import driver
from msbatch.cluster import node

APPTAINER = """#!/bin/bash
case $1 in
--version) echo "apptainer version 1.4.5" ;;
buildcfg) [ $# = 2 ] && echo {here}/libexec || echo "APPTAINER_CONF_FILE={here}/apptainer.conf" ;;
inspect) cat {here}/labels.json ;;
esac
"""
SETTINGS = """
[plan]
backbones = ["swin"]
[cluster]
scratch = "{here}"
"""


class Machine:
    """A machine on which everything is as it should be."""

    def __init__(self, here: Path, cohort: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
        self.here = here
        self.slurm = slurm
        self.monkeypatch = monkeypatch
        self.program = slurm.folder / "apptainer"
        self.program.write_text(APPTAINER.format(here=here))
        self.program.chmod(0o755)
        helpers = here / "libexec" / "apptainer" / "bin"
        helpers.mkdir(parents=True)
        for name in ("squashfuse_ll", "unsquashfs"):
            (helpers / name).touch()
        (slurm.folder / "cat").symlink_to(str(shutil.which("cat")))
        monkeypatch.setenv("PATH", str(slurm.folder))
        for name, text in (("FUSE", ""), ("NAMESPACES", "9000\n")):
            (here / name).write_text(text)
            monkeypatch.setattr(node, name, here / name)
        monkeypatch.setattr(node, "SWITCHES", {here / "SWITCH": "0"})
        monkeypatch.setattr(driver, "VERSION_FILE", here / "no driver")
        self.label()
        for name in ("cohort.h5", "cohort.h5.sha256"):
            shutil.copy(cohort / name, here)
        (here / "weights").mkdir()
        (here / "weights" / "swin_tiny_patch4_window7_224.safetensors").touch()
        self.set("")

    def set(self, further: str) -> None:
        """Write the settings; `further` goes into [cluster], and may begin other tables."""
        (self.here / "msbatch.toml").write_text(SETTINGS.format(here=self.here) + further)

    def label(self, **labels: str) -> None:
        """Write the image and its labels."""
        changed = {**LABELS, **{f"msbatch.{name}": value for name, value in labels.items()}}
        write_sif(self.here / "msbatch.sif", changed)
        (self.here / "labels.json").write_text(json.dumps({"data": {"attributes": {"labels": changed}}}))

    def lack(self, path: Path) -> None:
        path.unlink()


@pytest.fixture
def machine(tmp_path: Path, cohort_folder: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.chdir(tmp_path)
    return Machine(tmp_path, cohort_folder, slurm, monkeypatch)


def examined(cli: Run, *options: str) -> tuple[int, dict[str, dict[str, object]]]:
    code, out, _ = cli("doctor", "--json", *options)
    return code, {check["name"]: check for check in json.loads(out)}


@pytest.mark.usefixtures("machine")
def test_a_machine_in_order_is_told_line_by_line(cli: Run) -> None:
    code, out, _ = cli("doctor")
    assert code == 0
    lines = out.splitlines()
    assert not [line for line in lines if line.startswith("FAIL")]
    for said in (
        "ok    Slurm          slurm 22.05.8 answers",
        "ok    accounting     Slurm keeps accounts of jobs",
        "ok    task's job     accepted",
        "ok    container      apptainer version 1.4.5",
        "ok    its mode       rootless, in user namespaces",
        "ok    weights        swin_tiny_patch4_window7_224.safetensors in weights",
        "ok    store          cohort.h5, 4 patients, whole",
    ):
        assert said in lines


Spoil = Callable[[Machine], object]

BLOCKING: list[tuple[str, str, str, Spoil]] = [
    ("Slurm", "Unable to contact", "", lambda m: m.slurm.refuses("squeue", "Unable to contact slurm controller")),
    (
        "task's job",
        "invalid partition specified: gpuu",
        "cluster.partition (--partition)",
        lambda m: m.slurm.refuses("sbatch --test-only", "sbatch: error: invalid partition specified: gpuu"),
    ),
    ("container", "no apptainer or singularity", "--runtime none", lambda m: m.lack(m.program)),
    ("its mode", "user namespaces are switched off", "setuid", lambda m: (m.here / "NAMESPACES").write_text("0\n")),
    ("its mode", "kept from ordinary users", "setuid", lambda m: (m.here / "SWITCH").write_text("0\n")),
    ("image", "There is no image", "msbatch container build", lambda m: m.lack(m.here / "msbatch.sif")),
    ("image", "its Python is 3.9", "msbatch container build", lambda m: m.label(python="3.9.1")),
    ("weights", "swin_tiny", "weights get", lambda m: shutil.rmtree(m.here / "weights")),
    ("store", "does not exist", "msbatch pack", lambda m: m.lack(m.here / "cohort.h5")),
    ("store", "its hash differs", "Pack the images", lambda m: (m.here / "cohort.h5.sha256").write_text("0 x\n")),
    ("runs", "cannot be written", "", lambda m: (m.here / "runs").symlink_to("/proc")),
]


@pytest.mark.parametrize(("name", "said", "hint", "spoil"), BLOCKING, ids=lambda value: str(value)[:20])
def test_what_stops_a_submission_is_named_with_what_to_do(
    cli: Run, machine: Machine, name: str, said: str, hint: str, spoil: Spoil
) -> None:
    spoil(machine)
    code, checks = examined(cli)
    assert code == 1
    assert not checks[name]["ok"]
    assert said in str(checks[name]["said"])
    assert hint in str(checks[name]["hint"])
    others = [check for check in checks.values() if check["name"] not in (name, "reducer's job")]
    assert not [check for check in others if check["blocks"] and not check["ok"]]


NO_ACCOUNTS = "accounting_storage/none"
NOTES: list[tuple[str, str, Spoil]] = [
    ("accounting", "keeps no accounts", lambda m: m.slurm.configures(AccountingStorageType=NO_ACCOUNTS)),
    ("mounting", "FUSE cannot be read", lambda m: m.lack(m.here / "FUSE")),
    ("unpacking", "no unsquashfs", lambda m: m.lack(m.here / "libexec" / "apptainer" / "bin" / "unsquashfs")),
    ("scratch", "known on the nodes only", lambda m: m.monkeypatch.setenv("MSBATCH_DOCTOR_SCRATCH", "$NOWHERE/x")),
    ("scratch", "cannot be written", lambda m: m.monkeypatch.setenv("MSBATCH_DOCTOR_SCRATCH", "/proc")),
]


@pytest.mark.parametrize(("name", "said", "spoil"), NOTES, ids=lambda value: str(value)[:20])
def test_what_only_makes_things_worse_is_a_note(cli: Run, machine: Machine, name: str, said: str, spoil: Spoil) -> None:
    spoil(machine)
    code, checks = examined(cli)
    assert code == 0
    assert not checks[name]["ok"]
    assert said in str(checks[name]["said"])
    assert f"note  {name}" in cli("doctor")[1]


def test_without_slurm_the_way_without_it_is_shown_and_slurm_is_not_asked_further(cli: Run, machine: Machine) -> None:
    shutil.rmtree(machine.slurm.folder)
    machine.monkeypatch.setenv("PATH", "/nowhere")
    code, checks = examined(cli)
    assert code == 1
    assert "submit --local" in str(checks["Slurm"]["hint"])
    assert "task's job" not in checks


def test_a_setuid_program_needs_no_namespaces(cli: Run, machine: Machine) -> None:
    owned_by_root = next(path for path in map(Path, ("/usr/bin/su", "/bin/mount")) if path.stat().st_mode & 0o4000)
    (machine.here / "libexec" / "apptainer" / "bin" / "starter-suid").symlink_to(owned_by_root)
    (machine.here / "NAMESPACES").write_text("0\n")
    code, checks = examined(cli)
    assert code == 0
    assert "setuid" in str(checks["its mode"]["said"])
    (machine.here / "apptainer.conf").write_text("# settings\nallow setuid = no\n")
    assert examined(cli)[0] == 1


def test_a_program_from_a_module_is_to_be_loaded(cli: Run, machine: Machine) -> None:
    machine.program.unlink()
    machine.set('modules = ["apptainer/1.4"]\n')
    assert examined(cli)[1]["container"]["hint"] == "First: module load apptainer/1.4"


def test_without_a_container_none_is_looked_for_but_torch(cli: Run, machine: Machine) -> None:
    machine.program.unlink()
    code, checks = examined(cli, "--runtime", "none")
    assert code == 0
    assert {"container", "its mode", "image"}.isdisjoint(checks)
    assert "has torch" in str(checks["Python"]["said"])


def test_gpus_are_looked_at_where_tasks_want_some(cli: Run, machine: Machine) -> None:
    assert "GPUs" not in examined(cli)[1]
    machine.set('[compute]\ndevice = "cuda"\n')
    assert "srun --gres=gpu:1 msbatch doctor" in str(examined(cli)[1]["GPUs"]["hint"])
    module = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Tue Feb  1 00:00:00 UTC 2022\n"
    machine.monkeypatch.setattr(driver, "VERSION_FILE", machine.here / "driver")
    driver.VERSION_FILE.write_text(module.format("470.57.02"))
    check = examined(cli)[1]["GPUs"]
    assert "CUDA 12.8" in str(check["said"])
    assert "--torch-wheels" in str(check["hint"])
    driver.VERSION_FILE.write_text(module.format("535.104.05"))
    assert examined(cli)[1]["GPUs"]["ok"]


def test_an_open_umask_is_a_note(cli: Run, machine: Machine) -> None:
    before = os.umask(0)
    try:
        check = examined(cli)[1]["umask"]
    finally:
        os.umask(before)
    assert not check["ok"]
    assert "0000" in str(check["said"])
    assert machine.here.is_dir()
