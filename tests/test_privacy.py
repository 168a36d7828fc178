"""A name that is planted wherever names may stand, and where it is found after a whole study; what else others see.

Under a key nowhere; without one in plan, predictions and results alone, which only their owner can read.
"""

import csv
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import QUICK, Run
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from sightings import needles, seen_in_files, watched_processes
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from msbatch.cohort.synth import draw_cohort
from msbatch.layout import RunDir, list_runs

CANARY = f"Canary{secrets.token_hex(4)}"  # of its own, as tests may run beside others on one machine
NAME = CANARY.encode()

PACK = ("pack", f"{CANARY}_images", "--table", f"{CANARY}.csv", "-o", "study/cohort.h5", "--size", "48")


@dataclass(frozen=True)
class Study:
    """A whole study, and what processes showed of themselves while it ran.

    Attributes
    ----------
    folder : Path
        What belongs to the study: store, settings, run.
    said : str
        What its commands printed, but for `msbatch pack`.
    shown : list of bytes
        Arguments and environments of processes.
    """

    folder: Path
    said: str
    shown: list[bytes]

    @property
    def run(self) -> RunDir:
        """Its run."""
        return list_runs(self.folder / "runs")[-1]


def plant(folder: Path) -> None:
    """Draw four patients; the name stands in identifiers, folders, files, tags of every format, and columns."""
    drawn = draw_cohort(folder / "drawn", patients=4, cells=4, seed=3)
    with drawn.open(newline="") as table:
        patients = list(csv.DictReader(table))
    rows = []
    for patient in patients:
        for number, source in enumerate(sorted((drawn.parent / "images" / patient["patient"]).glob("*.png"))):
            suffix = (".png", ".tif", ".jpg", ".bmp")[number]
            path = Path(f"{CANARY}-{patient['patient']}") / f"{number} {CANARY}{suffix}"
            save_with_tags(source, folder / f"{CANARY}_images" / path)
            own = {"path": path, "patient": f"{CANARY}-{patient['patient']}", "name": f"{CANARY} {patient['patient']}"}
            rows.append({**patient, **own, "slide": f"{CANARY} {number}"})
    with (folder / f"{CANARY}.csv").open("w", newline="") as table:
        writer = csv.DictWriter(table, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    shutil.rmtree(drawn.parent)


def save_with_tags(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    image = Image.open(source)
    exif = image.getexif()
    exif[0x010E] = exif[0x013B] = exif[0x9286] = CANARY
    text = PngInfo()
    text.add_text("Patient", CANARY)
    options = {".png": {"pnginfo": text, "exif": exif}, ".tif": {"description": CANARY, "exif": exif}, ".bmp": {}}
    image.save(target, **options.get(target.suffix, {"exif": exif, "comment": CANARY}))
    assert NAME in target.read_bytes() or target.suffix == ".bmp"


def command(folder: Path, umask: int, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "msbatch", *words]
    return subprocess.run(
        line, cwd=folder, umask=umask, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give the environment in which processes say it when they try to leave this machine, and cannot."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc to compile tests/offline.c with")
    folder = tmp_path_factory.mktemp("offline")
    source = Path(__file__).with_name("offline.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", folder / "offline.so", source, "-ldl"], check=True)
    return {"LD_PRELOAD": str(folder / "offline.so"), "OFFLINE_LOG": str(folder / "log")}


def study(folder: Path, umask: int, environment: dict[str, str], steps: Sequence[str], *key: str) -> Study:
    plant(folder)
    (folder / "study").mkdir()
    packed = command(folder, umask, environment, *PACK, *key)
    assert "Packed 4 patients, 16 cells" in packed.stdout, packed.stdout + packed.stderr
    own = folder / "study"
    (own / "msbatch.toml").write_text(QUICK)
    said = ""
    with watched_processes() as shown:
        for words in steps:
            done = command(own, umask, environment, *words.split())
            assert done.returncode == (3 if "--folds" in words else 0), done.stdout + done.stderr
            said += done.stdout + done.stderr
    return Study(own, said, shown)


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory, offline: dict[str, str]) -> Study:
    """Run a study under a key, with a umask that keeps nothing from anybody, on a machine without a network."""
    folder = tmp_path_factory.mktemp("hidden")
    assert command(folder, 0, {}, "key", "new", "key").returncode == 0
    steps = ("submit --local --folds 0 --processes 2", "probe", "report --allow-partial", "inspect", "status")
    return study(folder, 0, offline, steps, "--pseudonymise", "key", "--lookup", "who.csv")


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Run a study without a key."""
    return study(tmp_path_factory.mktemp("named"), 0o022, {}, ("submit --local --folds 0", "report --allow-partial"))


@pytest.mark.parametrize("text", ["x{}y", "xy{}z", "xyz{}q"])
def test_the_search_itself_finds_a_name_however_it_is_written(tmp_path: Path, text: str) -> None:
    import base64

    around = text.format(CANARY).encode()
    (tmp_path / "a").write_bytes(base64.b64encode(around))
    (tmp_path / "b").write_bytes(around.upper())
    (tmp_path / "c").write_bytes(around.decode().encode("utf-16-le"))
    (tmp_path / f"d {CANARY}").mkdir()
    (tmp_path / "e").write_bytes(base64.b64encode(b"Canarywatz, not it"))
    assert {path.name[0] for path in seen_in_files(tmp_path, NAME)} == {"a", "b", "c", "d"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_under_a_key_the_name_is_nowhere(hidden: Study) -> None:
    files = [path for path in hidden.folder.rglob("*") if path.is_file()]
    assert {"cohort.h5", "plan.json", "predictions.csv", "embedding.npy", "report.html", "log"} <= {
        f.name for f in files
    }
    assert any(path.suffix == ".pkl" for path in files)
    assert any("tfevents" in path.name for path in files)
    assert seen_in_files(hidden.folder, NAME) == set()
    assert CANARY.casefold() not in hidden.said.casefold()
    assert re.search(r"P-[A-Z2-7]{10}", hidden.said), "patients are spoken of"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_key_is_in_no_file_no_argument_and_no_environment(hidden: Study) -> None:
    digits = (hidden.folder.parent / "key").read_bytes().strip()
    secret = bytes.fromhex(digits.decode())
    assert seen_in_files(hidden.folder, digits, secret) == set()
    wanted = needles(NAME) | needles(digits) | {secret}
    assert any(b"fold.py" in shown for shown in hidden.shown), "tasks were seen"
    assert [shown for shown in hidden.shown if any(needle in shown.lower() for needle in wanted)] == []
    assert str(digits)[2:-1] not in hidden.said


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_private_table_lies_where_it_was_asked_for_and_leads_back(hidden: Study) -> None:
    lookup = hidden.folder.parent / "who.csv"
    assert lookup.stat().st_mode & 0o777 == 0o600
    with lookup.open(newline="") as table:
        owners = {row["pseudonym"]: row["identifier"] for row in csv.DictReader(table)}
    assert sorted(owners.values()) == [f"{CANARY}-P{number:02d}" for number in range(4)]
    plan = json.loads(hidden.run.plan.read_text())
    assert {fold["held_out"] for fold in plan["folds"]} == set(owners)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_without_a_key_the_name_is_in_store_plan_predictions_and_results_alone(named: Study) -> None:
    run = named.run.root.relative_to(named.folder)
    found = seen_in_files(named.folder, NAME)
    may = {"cohort.h5", "plan.json", "predictions.csv", "predictions.json"}
    others = {path for path in found if path.name not in may and not path.is_relative_to(run / "results")}
    assert others == set()
    assert {Path("cohort.h5"), run / "plan.json", run / "results" / "report.html"} <= found
    wanted = needles(NAME)
    assert [shown for shown in named.shown if any(needle in shown.lower() for needle in wanted)] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("which", ["hidden", "named"])  # under a umask of 000 and of 022
def test_every_file_and_folder_is_the_owners_alone(which: str, request: pytest.FixtureRequest) -> None:
    found: Study = request.getfixturevalue(which)
    run = found.run.root
    written = [run.parent, *run.parent.rglob("*"), *found.folder.glob("cohort.h5*")]
    modes = {(path.is_dir(), path.stat().st_mode & 0o7777) for path in written if not path.is_symlink()}
    assert modes == {(True, 0o700), (False, 0o600)}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_event_files_hold_no_image_of_a_cell(named: Study) -> None:
    tasks = list(named.run.tasks.rglob("*tfevents*"))
    assert tasks
    kinds = {
        value.metadata.plugin_data.plugin_name
        for path in tasks
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
    }
    assert "images" not in kinds
    assert "scalars" in kinds


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_process_of_a_study_tries_to_leave_the_machine(hidden: Study, offline: dict[str, str]) -> None:
    log = Path(offline["OFFLINE_LOG"])
    assert hidden.run.results.is_dir()
    assert not log.exists(), log.read_text()
    probe = "import socket; socket.create_connection(('192.0.2.1', 80), 1)"
    done = subprocess.run(
        [sys.executable, "-c", probe], env={**os.environ, **offline}, check=False, capture_output=True
    )
    assert done.returncode
    assert "connect" in log.read_text(), "the search itself finds one that does"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    plant(tmp_path)
    (tmp_path / "study").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_pseudonyms_are_the_default_where_the_settings_name_a_key(cli: Run, here: Path) -> None:
    cli("key", "new", "key")
    (here / "msbatch.toml").write_text('[pack]\npseudonymise = "key"\n')
    assert cli(*PACK)[0] == 0
    assert NAME not in (here / "study" / "cohort.h5").read_bytes()
    code, _, error = cli(*PACK, "--overwrite", "--no-pseudonymise")
    assert code == 1
    assert "study/cohort.h5 holds pseudonyms" in error
    (here / "study" / "cohort.h5").unlink()
    assert cli(*PACK, "--no-pseudonymise")[0] == 0
    assert NAME in (here / "study" / "cohort.h5").read_bytes()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--lookup", "who.csv"), "--lookup goes with --pseudonymise"),
        (("--pseudonymise", "key", "--no-pseudonymise"), "do not go together"),
    ],
)
def test_options_that_contradict_each_other_are_wrong_usage(
    cli: Run, here: Path, options: tuple[str, ...], said: str
) -> None:
    code, _, error = cli(*PACK, *options)
    assert code == 2
    assert said in error
    assert not list((here / "study").iterdir())


@pytest.mark.usefixtures("here")
def test_a_key_that_others_can_read_packs_nothing(cli: Run, here: Path) -> None:
    cli("key", "new", "key")
    (here / "key").chmod(0o644)
    code, _, error = cli(*PACK, "--pseudonymise", "key")
    assert code == 1
    assert error == "Error: The key key can be read or written by others.\nClose it with: chmod 600 key\n"
    assert not list((here / "study").iterdir())


@pytest.mark.usefixtures("slurm")
@pytest.mark.parametrize("key", [True, False])
def test_names_on_a_cluster_are_spoken_of_once_per_run(
    cli: Run, here: Path, monkeypatch: pytest.MonkeyPatch, key: bool
) -> None:
    cli("key", "new", "key")
    cli(*PACK, *(("--pseudonymise", "key") if key else ()))
    monkeypatch.chdir(here / "study")
    (here / "study" / "msbatch.toml").write_text(QUICK)
    said = [cli("submit", "--yes", "--runtime", "none", "--folds", fold)[1] for fold in "012"]
    assert all("Submitted 1 tasks" in each for each in said)
    lines = [line for each in said for line in each.splitlines() if "Patients are named" in line]
    assert len(lines) == (0 if key else 1)
    assert all("--pseudonymise" in line for line in lines)
    assert key or lines[0] in said[0]


@pytest.fixture
def tensorboard(cli: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, list[str]]]:
    """Start `msbatch tensorboard` on a run without results; give its port and the lines that it printed."""
    cli(*PACK)
    monkeypatch.chdir(here / "study")
    cli("plan", "--no-pretrained", "--backbones", "test_vit")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = [sys.executable, "-m", "msbatch", "tensorboard", "--port", str(port)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            yield port, [server.stdout.readline() for _ in range(4)]
        finally:
            server.kill()


@pytest.mark.slow
def test_tensorboard_listens_on_loopback_alone_and_says_what_that_means(tensorboard: tuple[int, list[str]]) -> None:
    port, said = tensorboard
    assert f"ssh -L {port}:127.0.0.1:{port} " in said[0]
    assert f"@{socket.gethostname()}" in said[0]
    assert "no authentication" in said[3]
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not listening(port):
        time.sleep(0.2)
    assert listening(port) == {"0100007F"}


def listening(port: int) -> set[str]:
    """Give the addresses that something listens on at a port, as the kernel writes them."""
    found = set()
    for table in ("tcp", "tcp6"):
        with suppress(FileNotFoundError):
            lines = [line.split() for line in Path("/proc/net", table).read_text().splitlines()[1:]]
            found |= {
                own.partition(":")[0]
                for _, own, _, state, *_ in lines
                if state == "0A" and own.endswith(f":{port:04X}")
            }
    return found


@pytest.mark.usefixtures("here")
def test_tensorboard_names_a_port_that_is_taken(cli: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli(*PACK)
    monkeypatch.chdir(here / "study")
    assert cli("plan")[0] == 0
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = command(here / "study", 0o077, {}, "tensorboard", "--port", str(taken.getsockname()[1]))
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 2)
    assert "--port" in done.stderr


def test_tensorboard_takes_no_other_host(cli: Run) -> None:
    assert cli("tensorboard", "--host", "0.0.0.0")[0] == 2  # noqa: S104
