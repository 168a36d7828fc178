"""What the manifest of predictions says of the weights that training started from."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tasks import end, finish, folder, start, wait_for_a_round
from test_embed import pretrained, save_weights

from msbatch.files import sha256
from msbatch.layout import RunDir, checkpoint_hash
from msbatch.training.task import run_task


def manifest(run: RunDir) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(folder(run).manifest.read_text())
    return content


def forget_the_start(run: RunDir) -> None:
    """Make checkpoints those of a version that did not record which weights training started from."""
    for path in folder(run).checkpoints.glob("*.pt"):
        content = torch.load(path)
        del content["pretrained"]
        torch.save(content, path)
        checkpoint_hash(path).write_text(sha256(path) + "\n")


def test_the_weights_that_training_started_from_are_recorded(make_run: Any, tmp_path: Path) -> None:
    save_weights(tmp_path / "weights")
    tuned, scratch = pretrained(make_run("tuned", head_steps=2)), make_run("scratch")
    for run in (tuned, scratch):
        run_task(run, 0)
    assert manifest(tuned)["pretrained_sha256"] == sha256(tmp_path / "weights" / "test_vit.safetensors")
    assert manifest(scratch)["pretrained_sha256"] is None


@pytest.mark.parametrize("older", [False, True])
def test_a_resumed_task_records_the_weights_of_its_first_start(make_run: Any, tmp_path: Path, older: bool) -> None:
    save_weights(tmp_path / "weights")
    first = sha256(tmp_path / "weights" / "test_vit.safetensors")
    run = pretrained(make_run("run", steps=400, patience=10_000))
    process = start(run)
    wait_for_a_round(run, process)
    os.killpg(process.pid, signal.SIGKILL)
    end(process)
    save_weights(tmp_path / "weights", scale=0.9)
    if older:
        forget_the_start(run)
    assert "Resuming from step" in finish(run)
    assert manifest(run).get("pretrained_sha256", "not recorded") == ("not recorded" if older else first)
