"""Site profiles: what they ask sbatch for, and what the launcher is told."""

import shlex
import subprocess
import tomllib
from contextlib import nullcontext
from pathlib import Path

import pytest
from runs import make_plan

from msbatch.cluster.sites import check_binds, launch_conf, reducer_parameters, sbatch_options, task_parameters
from msbatch.config import ClusterSettings, ComputeSettings, Settings
from msbatch.errors import MsbatchError
from msbatch.layout import RunDir, data_dir
from msbatch.settings_file import load_settings, to_toml

PATIENTS = {f"P{number}": [number % 2] for number in range(4)}
GPU = ComputeSettings(device="cuda", processes=2, threads=2, workers=3)


def options(site: ClusterSettings, compute: ComputeSettings = GPU) -> list[str]:
    return sbatch_options(task_parameters(site, compute))


@pytest.mark.parametrize("path", sorted(data_dir("slurm").glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_profile_is_valid_by_name_and_by_path(path: Path, tmp_path: Path) -> None:
    by_path = load_settings(tmp_path / "none.toml", {"cluster": {"site": path}}).cluster
    by_name = load_settings(tmp_path / "none.toml", {"cluster": {"site": Path(path.stem)}}).cluster
    assert by_path.model_dump(exclude={"site"}) == by_name.model_dump(exclude={"site"})
    assert task_parameters(by_path, GPU)["use_srun"] is False


def test_the_generic_profile_speaks_of_every_key() -> None:
    text = (data_dir("slurm") / "generic.toml").read_text()
    for key in ClusterSettings.model_fields:
        assert f"\n{key} = " in text or f"\n# {key} = " in text or key == "site", key
    set_there = tomllib.loads(text)
    defaults = ClusterSettings().model_dump(mode="json", include=set(set_there))
    assert set_there == {key: list(value) if isinstance(value, tuple) else value for key, value in defaults.items()}


def test_site_settings_lie_under_msbatch_toml_and_flags(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text('partition = "a"\naccount = "a"\nqos = "a"\n')
    settings = tmp_path / "msbatch.toml"
    settings.write_text(f'[cluster]\nsite = "{site}"\naccount = "b"\nqos = "b"\n')
    found = load_settings(settings, {"cluster": {"qos": "c", "constraint": None}}).cluster
    assert (found.partition, found.account, found.qos, found.constraint) == ("a", "b", "c", None)


def test_a_site_counts_after_init_and_a_flag_for_another_site_over_the_file(tmp_path: Path) -> None:
    settings, site = tmp_path / "msbatch.toml", tmp_path / "site.toml"
    settings.write_text(to_toml(Settings(), left_out=["cluster"]))
    site.write_text("time_min = 60\nscratch = '/local'\n")
    assert load_settings(settings, {"cluster": {"site": site}}).cluster.time_min == 60
    settings.write_text("[cluster]\ntime_min = 120\nqos = 'b'\n")
    found = load_settings(settings, {"cluster": {"site": site, "scratch": "/fast"}}).cluster
    assert (found.time_min, found.scratch, found.qos) == (60, "/fast", "b")


def test_a_limit_without_time_before_the_warning_is_refused_with_its_flags(tmp_path: Path) -> None:
    with pytest.raises(MsbatchError, match=r"5 min \(--time\).*180 s \(--signal-lead\)") as caught:
        load_settings(tmp_path / "none.toml", {"cluster": {"time_min": 5}})
    assert len(str(caught.value)) < 200


def test_a_wrong_key_is_blamed_on_the_site_file(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text('partitoin = "a"\n')
    with pytest.raises(MsbatchError, match=r"site\.toml: there is no setting cluster\.partitoin") as caught:
        load_settings(tmp_path / "none.toml", {"cluster": {"site": site}})
    assert "partition" in caught.value.hint


def test_gpus_are_asked_for_in_the_way_of_the_site() -> None:
    assert "--gres=gpu:2" in options(ClusterSettings())
    assert "--gres=gpu:a100:2" in options(ClusterSettings(gpu_type="a100"))
    assert "--gpus-per-node=a100:2" in options(ClusterSettings(gpus="gpus-per-node", gpu_type="a100"))
    spread = GPU.model_copy(update={"processes": 4, "nodes": 2})
    assert {"--gres=gpu:2", "--nodes=2", "--ntasks-per-node=1"} <= set(options(ClusterSettings(), spread))
    assert not any("gpu" in option for option in options(ClusterSettings(), ComputeSettings()))


def test_cores_follow_from_processes_unless_given() -> None:
    assert "--cpus-per-task=10" in options(ClusterSettings())
    assert "--cpus-per-task=4" in options(ClusterSettings(cpus=4))


def test_what_is_not_set_is_not_asked_for() -> None:
    assert not {"--partition", "--account", "--qos", "--constraint", "--wckey"} & {
        option.partition("=")[0] for option in options(ClusterSettings())
    }


def test_only_the_launcher_is_warned_and_slurm_may_requeue() -> None:
    assert {"--signal=B:USR2@60", "--requeue"} <= set(options(ClusterSettings(signal_lead_s=60)))


def test_further_options_go_in_and_what_is_none_is_refused() -> None:
    found = options(ClusterSettings(extra=("--exclude=n7", "#SBATCH --exclusive")))
    assert {"--exclude=n7", "--exclusive"} <= set(found)
    with pytest.raises(MsbatchError, match="no option of sbatch"):
        options(ClusterSettings(extra=("exclude n7",)))


def test_the_reducer_asks_for_one_core_and_no_gpu() -> None:
    site = ClusterSettings(partition="gpu", reducer_partition="cpu", reducer_time_min=7, reducer_mem_gb=2)
    found = sbatch_options(reducer_parameters(site))
    assert {"--partition=cpu", "--time=7", "--mem=2048M", "--cpus-per-task=1"} <= set(found)
    assert not any("gpu:" in option for option in found)


def test_bash_reads_back_what_the_launcher_is_told(tmp_path: Path) -> None:
    awkward = tmp_path / "a folder with 'quotes' and $(words)"
    site = ClusterSettings(modules=("a/1", "b c"), binds=("/x y:/z:ro",), scratch="$HERE/scratch", hang_min=0.5)
    conf = tmp_path / "launch.conf"
    conf.write_text(launch_conf(site, {"RUN": awkward, "IMAGE": None}, gpus=True))
    show = 'source "$0"; printf "%s\\n" "$RUN" "$IMAGE" "$SCRATCH" "$GPUS" "$HANG_S" "${MODULES[@]}" "${BINDS[@]}"'
    command = f"HERE=/node bash -uc {shlex.quote(show)} {shlex.quote(str(conf))}"
    told = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout.splitlines()
    assert told == [str(awkward), "", "/node/scratch", "1", "30", "a/1", "b c", "/x y:/z:ro"]


def test_scratch_cannot_run_anything() -> None:
    with pytest.raises(MsbatchError, match="no plain path"):
        launch_conf(ClusterSettings(scratch="/x/$(reboot)"), {}, gpus=False)


def test_a_path_that_a_container_program_would_take_apart_is_refused(tmp_path: Path) -> None:
    plan, run, site = make_plan(PATIENTS), RunDir(tmp_path / "run"), ClusterSettings(image=Path("/a.sif"))
    check_binds(site, run, plan)
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "a.pth").symlink_to(tmp_path / "cache: b.pth")
    cached = tmp_path / "cached"
    cached.mkdir()
    (cached / "b.pth").symlink_to("../snap,shot/b.pth")
    (tmp_path / "snap,shot").mkdir()
    (tmp_path / "snap,shot" / "b.pth").symlink_to(tmp_path / "blob")
    store = plan.store.model_copy(update={"path": "/data/MS, 2024/cohort.h5"})
    for said, path, own, drawn in (
        ("run: one", RunDir(tmp_path / "run: one"), site, plan),
        ("MS, 2024", run, site, plan.model_copy(update={"store": store})),
        ("cache: b", run, site, plan.model_copy(update={"weights_dir": str(weights)})),
        ("snap,shot", run, site, plan.model_copy(update={"weights_dir": str(cached)})),
        ("b,c.sif", run, ClusterSettings(image=Path("/b,c.sif")), plan),
    ):
        with pytest.raises(MsbatchError, match=f"{said}.*a comma or a colon in its name") as refused:
            check_binds(own, path, drawn)
        assert "--runtime none" in refused.value.hint
        check_binds(own.model_copy(update={"runtime": "none"}), path, drawn)


@pytest.mark.parametrize(
    ("bind", "fits"),
    [
        ("/data", True),
        ("/data:/data:ro", True),
        ("/a.sif:/data:ro,image-src=/x", True),
        ("/data,/x:/data", False),
        ("/data:/da:ta:ro", False),
    ],
)
def test_a_bind_is_read_as_the_container_program_reads_it(bind: str, fits: bool, tmp_path: Path) -> None:
    site, plan = ClusterSettings(image=Path("/a.sif"), binds=(bind,)), make_plan(PATIENTS)
    with nullcontext() if fits else pytest.raises(MsbatchError, match="is not SOURCE:TARGET:ro"):
        check_binds(site, RunDir(tmp_path), plan)
