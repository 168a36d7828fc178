"""Weights as local files, and fetching them from a hub."""

import hashlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import safetensors.torch
import torch

from msbatch.errors import MsbatchError
from msbatch.pretrained import find_weights
from msbatch.training.weights import check, list_weights, load_weights

DATA = safetensors.torch.save({"w": torch.arange(4.0)})


class Hub(BaseHTTPRequestHandler):
    """Serves one file the way the hub does."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        if self.answer():
            self.wfile.write(DATA)

    def answer(self) -> bool:
        known = self.path == "/timm/test_vit.r160_in1k/resolve/main/model.safetensors"
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(DATA)) if known else "0")
        self.send_header("ETag", f'"{hashlib.sha256(DATA).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        return known

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def fetch(name: str, folder: Path, hub: str) -> subprocess.CompletedProcess[str]:
    code = f"from pathlib import Path; from msbatch.training.weights import get; get({name!r}, Path({str(folder)!r}))"
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HUB_DISABLE_TELEMETRY": "1", "no_proxy": "127.0.0.1"}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def test_get_writes_the_file_and_its_manifest(hub: str, tmp_path: Path) -> None:
    done = fetch("test_vit", tmp_path, hub)
    assert done.returncode == 0, done.stderr
    assert torch.equal(load_weights(find_weights(tmp_path, "test_vit")).state["w"], torch.arange(4.0))
    assert check(tmp_path) == [{"file": "test_vit.safetensors", "status": "ok"}]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "test_vit.safetensors"]


def test_a_name_the_hub_lacks_leaves_nothing_behind(hub: str, tmp_path: Path) -> None:
    done = fetch("test_resnet", tmp_path, hub)
    assert "could not be fetched" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_name_timm_lacks_is_refused(tmp_path: Path) -> None:
    done = fetch("swan", tmp_path, "http://127.0.0.1:9")
    assert "timm knows no pretrained weights for swan" in done.stderr


def test_a_changed_file_is_not_loaded(hub: str, tmp_path: Path) -> None:
    fetch("test_vit", tmp_path, hub)
    path = tmp_path / "test_vit.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert check(tmp_path) == [{"file": path.name, "status": "changed"}]
    with pytest.raises(MsbatchError, match="differs from"):
        load_weights(path)


def test_files_of_the_users_own_are_listed_and_loaded(tmp_path: Path) -> None:
    (tmp_path / "mine.safetensors").write_bytes(DATA)
    (tmp_path / "notes.txt").write_text("not weights")
    assert [(entry["backbone"], entry["listed"]) for entry in list_weights(tmp_path)] == [("mine", False)]
    assert check(tmp_path) == [{"file": "mine.safetensors", "status": "unlisted"}]
    weights = load_weights(tmp_path / "mine.safetensors")
    assert (set(weights.state), weights.sha256) == ({"w"}, hashlib.sha256(DATA).hexdigest())


@pytest.mark.parametrize(
    "manifest", ['{"mine.safetensors": {}}', '{"mine.safetensors": {"sha256": 1}}', '"x"', "null", "[]"]
)
def test_a_manifest_of_another_shape_is_named(manifest: str, tmp_path: Path) -> None:
    (tmp_path / "mine.safetensors").write_bytes(DATA)
    (tmp_path / "manifest.json").write_text(manifest)
    for read in (check, list_weights, lambda folder: load_weights(folder / "mine.safetensors")):
        with pytest.raises(MsbatchError, match=r"manifest\.json does not give each file its sha256"):
            read(tmp_path)


def test_weights_that_would_run_code_are_refused(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Bomb()))
    torch.save({"w": Bomb()}, tmp_path / "evil2.pth")
    for name in ("evil", "evil2"):
        with pytest.raises(MsbatchError, match="cannot be read as weights"):
            load_weights(tmp_path / f"{name}.pth")
    assert not (tmp_path / "ran").exists()


ABSURD = (2**63).to_bytes(8, "little")  # length of the header that safetensors begin with


@pytest.mark.parametrize("content", [b"", b"\x80", b"\x80\x02]q\x00e.", b"PK\x03\x04", b"(" * 10_000])
def test_a_pickle_that_ends_early_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.pth"
    path.write_bytes(content)
    with pytest.raises(MsbatchError, match=r"broken\.pth cannot be read"):
        load_weights(path)


@pytest.mark.parametrize("content", [b"", b"<html>", DATA[:-5], ABSURD, ABSURD + DATA[8:], b"\xff" * 8 + DATA[8:]])
def test_a_damaged_file_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(MsbatchError, match=r"broken\.safetensors cannot be read"):
        load_weights(path)
