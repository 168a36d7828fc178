"""The image is compared with this side before anything is queued; the outside world here is a stand-in builder."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from sif_files import LABELS, install_stand_in, write_sif

from msbatch.cluster import container
from msbatch.cluster.build import Recipe, build, definition
from msbatch.errors import MsbatchError
from msbatch.files import sha256


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a whole image that agrees with this side, and a program that reads its labels."""
    install_stand_in(tmp_path / "bin", monkeypatch)
    path = tmp_path / "msbatch.sif"
    write_sif(path, LABELS)
    return path


def change(image: Path, **labels: str) -> None:
    write_sif(image, {**LABELS, **{f"msbatch.{name}": value for name, value in labels.items()}})


def test_an_image_that_fits_is_described(image: Path) -> None:
    facts = container.check(image, "apptainer")
    assert (facts.path, facts.bytes, facts.sha256) == (image, image.stat().st_size, sha256(image))
    assert (facts.python, facts.submitit) == (platform.python_version(), version("submitit"))
    assert (facts.torch, facts.cuda, facts.outside_lock) == ("2.10.0+cu128", "12.8", False)
    assert facts.lock_sha256 == sha256(container.lock_file())


def test_what_was_hashed_once_is_remembered_until_the_file_changes(image: Path) -> None:
    first = container.check(image, "apptainer").sha256
    record = container.record_file(image)
    known = json.loads(record.read_text())
    record.write_text(json.dumps({**known, "sha256": "0" * 64}))
    assert container.check(image, "apptainer").sha256 == "0" * 64  # taken from the record
    record.write_text(json.dumps(known))
    os.utime(image, ns=(1, 1))  # copied: the same bytes at another time
    assert container.check(image, "apptainer").sha256 == first


def test_other_bytes_of_the_same_length_are_found(image: Path) -> None:
    container.check(image, "apptainer")
    whole = image.read_bytes()
    seen = image.stat()
    image.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(MsbatchError, match="its bytes differ"):
        container.check(image, "apptainer")
    os.utime(image, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    with pytest.raises(MsbatchError, match="its bytes differ"):
        container.check(image, "apptainer", full=True)


@pytest.mark.parametrize(
    ("label", "value", "said"),
    [
        ("lock_sha256", "0" * 64, "its requirements.lock is 000000000000, here it is"),
        ("python", "3.9.18", "its Python is 3.9, here it is 3."),
        ("submitit", "1.4.0", "its submitit is 1.4.0, here it is"),
    ],
)
def test_an_image_that_does_not_fit_is_refused(image: Path, label: str, value: str, said: str) -> None:
    change(image, **{label: value})
    with pytest.raises(MsbatchError) as refused:
        container.check(image, "apptainer")
    assert said in refused.value.problem
    assert refused.value.hint.startswith(f"Build it with: msbatch container build {image}")
    assert ("--base python:3." in refused.value.hint) == (label == "python")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), "There is no image"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "is cut off"),
        (lambda path: path.write_bytes(path.read_bytes()[:50]), "is not a container image"),
        (lambda path: path.write_bytes(b""), "is not a container image"),
        (lambda path: path.write_text("<html>404</html>" * 20), "is not a container image"),
        (lambda path: write_sif(path, {"org.label": "another"}), "was not built from msbatch's own definition"),
        (lambda path: write_sif(path, None), "apptainer cannot read"),
    ],
)
def test_what_is_no_whole_image_is_refused(image: Path, damage: Any, said: str) -> None:
    damage(image)
    with pytest.raises(MsbatchError) as refused:
        container.check(image, "apptainer")
    assert said in refused.value.problem
    assert refused.value.hint
    assert len(str(refused.value).splitlines()) == 2


def test_an_image_without_a_list_of_what_it_holds_says_so(image: Path) -> None:
    with pytest.raises(MsbatchError, match=r"does not say what it holds: cat: .* No such file") as refused:
        container.read_contents(image, "apptainer")
    assert refused.value.hint.startswith(f"Build it with: msbatch container build {image}")


def test_an_image_shorter_than_its_record_is_refused(image: Path) -> None:
    container.check(image, "apptainer")
    with image.open("ab") as handle:
        handle.write(b"more")
    with pytest.raises(MsbatchError, match="were built"):
        container.check(image, "apptainer")


def test_either_program_will_do_and_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MsbatchError, match="no apptainer or singularity") as refused:
        container.program()
    assert "--runtime none" in refused.value.hint
    for name in ("singularity", "apptainer"):
        (tmp_path / name).touch(mode=0o755)
        assert container.program() == name
    assert container.program("singularity") == "singularity"


def test_a_build_is_recorded_with_the_digest_of_its_base(image: Path, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "torch-2.10.0-py3-none-any.whl").touch()
    said: list[str] = []
    facts = build(image, Recipe(wheels=wheels, base="python:3.11-slim"), "apptainer", said.append)
    record = json.loads(container.record_file(image).read_text())
    assert record["sha256"] == facts.sha256 == sha256(image)
    assert (record["base"], record["base_digest"]) == ("python:3.11-slim", f"sha256:{'ab' * 32}")
    assert record["bootstrap"] == "docker"
    assert f"--bind {wheels}:/mnt" in said[0]
    assert "--build-arg FROM=python:3.11-slim" in said[0]
    assert "debug" not in " ".join(said[1:]).lower()
    assert not list(tmp_path.glob(".*"))


def test_an_image_built_anew_is_not_held_against_the_record_of_the_old_one(image: Path) -> None:
    container.check(image, "apptainer")
    record = json.loads(container.record_file(image).read_text())
    container.record_file(image).write_text(json.dumps({**record, "bytes": record["bytes"] + 7}))
    facts = build(image, Recipe(), "apptainer", lambda _: None)
    assert container.check(image, "apptainer") == facts


def test_a_base_given_as_a_path_is_found(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rootfs").mkdir()
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    build(image, Recipe(bootstrap="localimage", base="rootfs"), "apptainer", said.append)
    assert f"--build-arg BOOTSTRAP=localimage --build-arg FROM={tmp_path / 'rootfs'}" in said[0]


def test_a_build_that_fails_keeps_the_old_image(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = image.read_bytes()
    monkeypatch.setenv("STAND_IN_FAILS", "no space left on device")
    with pytest.raises(MsbatchError, match="could not be built: FATAL: no space left on device"):
        build(image, Recipe(), "apptainer", lambda _: None)
    assert image.read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_a_folder_without_wheels_is_refused(image: Path, tmp_path: Path) -> None:
    with pytest.raises(MsbatchError, match="holds no wheels"):
        build(image, Recipe(torch_wheels=tmp_path), "apptainer", lambda _: None)


def test_the_definition_pins_its_base_and_holds_nothing_of_msbatch() -> None:
    text = definition().read_text()
    assert "FROM=python:3.11." in text
    assert "-slim-bookworm" in text
    assert "pip install msbatch" not in text
