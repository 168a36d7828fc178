"""Packing while the machine fails: killed, out of disk, and bounded in memory."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from disks import read_only
from PIL import Image
from runs import make_store

from msbatch.cohort.pack import PackOptions, pack
from msbatch.cohort.synth import draw_cohort
from msbatch.errors import MsbatchError
from msbatch.files import sha256
from msbatch.store import Store

KILLS = 10
MakeTable = Callable[..., Path]

PACK = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from msbatch.cohort.pack import PackOptions, pack
    from msbatch.errors import MsbatchError

    if __name__ == "__main__":
        folder, output, workers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
        print("go", flush=True)
        try:
            pack(folder / "images", folder / "cohort.csv", output, PackOptions(workers=workers, overwrite=True))
        except MsbatchError as error:
            sys.exit(str(error))
    """
)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw a cohort large enough that a pack takes a moment."""
    folder = tmp_path_factory.mktemp("drawn")
    draw_cohort(folder, patients=4, cells=24)
    (folder / "pack.py").write_text(PACK)
    return folder


def start(drawn: Path, output: Path, workers: int = 1, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(drawn / "pack.py"), str(drawn), str(output), str(workers)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def wait_until_imported(process: subprocess.Popen[str]) -> float:
    assert process.stdout is not None
    assert process.stdout.readline() == "go\n"
    return time.monotonic()


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


@pytest.mark.slow
def test_a_pack_that_is_killed_leaves_nothing_that_looks_whole(drawn: Path, tmp_path: Path) -> None:
    clean = tmp_path / "clean"
    process = start(drawn, clean / "c.h5")
    imported = wait_until_imported(process)
    assert finish(process)[0] == 0
    packing = time.monotonic() - imported
    wanted = (clean / "c.h5").read_bytes()
    killed, lot = tmp_path / "killed", random.Random(0)
    interrupted = 0
    for attempt in range(KILLS):
        process = start(drawn, killed / "c.h5", workers=1 + (attempt == 0))
        wait_until_imported(process)
        time.sleep(lot.uniform(0, packing))
        process.send_signal(signal.SIGKILL)
        code, _ = finish(process)
        interrupted += code == -signal.SIGKILL
        if killed.exists() and "c.h5" in visible(killed):
            assert (killed / "c.h5").read_bytes() == wanted
            shutil.rmtree(killed)
        elif killed.exists():
            assert visible(killed) == []
    assert interrupted >= KILLS // 2
    assert finish(start(drawn, killed / "c.h5"))[0] == 0
    assert (killed / "c.h5").read_bytes() == wanted
    assert sorted(path.name for path in killed.iterdir()) == ["c.h5", "c.h5.sha256"]  # leftovers are gone as well


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def check_refused(drawn: Path, output: Path, reason: str, **options: object) -> None:
    older = make_store(output, {"A": [0], "B": [1]}).read_bytes()
    code, errors = finish(start(drawn, output, **options))
    assert code == 1
    assert reason in errors
    assert len(errors.strip().splitlines()) == 2
    assert output.read_bytes() == older
    assert [path.name for path in output.parent.iterdir()] == [output.name]


def test_a_full_disk_is_one_line_and_leaves_nothing(drawn: Path, full_disk: Path) -> None:
    check_refused(drawn, full_disk / "c.h5", "No space left on device")


@pytest.fixture(scope="module")
def store_bytes(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> int:
    output = tmp_path_factory.mktemp("whole") / "c.h5"
    pack(drawn / "images", drawn / "cohort.csv", output)
    return output.stat().st_size


@pytest.mark.parametrize(("part", "less"), [(0.1, 0), (0.5, 0), (1, 100_000), (1, 4000), (1, 1)])
def test_a_limit_on_file_size_is_one_line_and_leaves_nothing(
    drawn: Path, tmp_path: Path, store_bytes: int, part: float, less: int
) -> None:
    def limit() -> None:
        most = int(part * store_bytes) - less
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    folder = tmp_path / "limited"
    folder.mkdir()
    check_refused(drawn, folder / "c.h5", "File too large", preexec_fn=limit)


def test_a_read_only_folder_is_one_line(drawn: Path, tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    refusal = "cannot be written: (Permission denied|Read-only file system)"
    with read_only(folder), pytest.raises(MsbatchError, match=refusal):
        pack(drawn / "images", drawn / "cohort.csv", folder / "c.h5")


def test_a_file_in_the_place_of_the_folder_is_one_line(drawn: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MsbatchError, match="cannot be written"):
        pack(drawn / "images", drawn / "cohort.csv", tmp_path / "file" / "c.h5")


def test_a_store_that_appears_meanwhile_is_not_replaced(cohort: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "c.h5"

    @contextmanager
    def another_pack(label: str, _total: int, _unit: str) -> Iterator[Callable[[int], None]]:
        yield lambda _n: None
        if label == "packing":
            output.write_bytes(b"of another pack")

    with pytest.raises(MsbatchError, match="exists already"):
        pack(*cohort, output, PackOptions(size_px=24), another_pack)
    assert output.read_bytes() == b"of another pack"


def test_of_two_packs_at_once_the_later_wins_and_the_other_says_so(cohort: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "stores" / "c.h5"
    options = PackOptions(size_px=24)

    @contextmanager
    def another_pack(label: str, _total: int, _unit: str) -> Iterator[Callable[[int], None]]:
        yield lambda _n: None
        if label == "packing":
            pack(*cohort, output, options)

    with pytest.raises(MsbatchError, match=r"Another pack of .* was started meanwhile"):
        pack(*cohort, output, options, another_pack)
    assert sorted(path.name for path in output.parent.iterdir()) == ["c.h5", "c.h5.sha256"]
    assert sha256(output) in (output.parent / "c.h5.sha256").read_text()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_cohort(tmp_path: Path, make_table: MakeTable, peak_code: str) -> None:
    """Pack 2 x 80 canvases of 512 px (126 MB) in a process that may hold far less beyond its imports."""
    rng = np.random.default_rng(0)
    for patient in "AB":
        (tmp_path / "images" / patient).mkdir(parents=True)
        for cell in range(80):
            pixels = rng.integers(0, 256, (24, 24, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / patient / f"{cell}.png")
    table = make_table(("patient", "label"), ("A", "ms"), ("B", "control"))
    code = f"""
        from pathlib import Path
        from msbatch.cohort.pack import PackOptions, pack
        {peak_code}
        images = Path({str(tmp_path / "images")!r})
        before = peak()
        pack(images, Path({str(table)!r}), Path({str(tmp_path / "c.h5")!r}), PackOptions(size_px=512))
        print(peak() - before)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 40_000  # KiB
    with Store(tmp_path / "c.h5") as store:
        assert store.images("A").nbytes == 80 * 512 * 512 * 3
