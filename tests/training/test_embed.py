"""Frozen tasks: what a backbone sees is what timm's own network gives, whoever computes it, and computed once."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from conftest import MakeRun
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tasks import end, folder, start

from msbatch.embeddings import check_embedding
from msbatch.layout import RunDir
from msbatch.plan import load_plan
from msbatch.store import Store

FROZEN = "test_vit.frozen"


def embedded(run: RunDir) -> NDArray[np.float32]:
    code, output = end(start(run))
    assert code == 0, output
    values: NDArray[np.float32] = np.load(folder(run).embedding)
    return values


def save_weights(weights: Path, scale: float = 1.0) -> None:
    torch.manual_seed(11)
    state = timm.create_model("test_vit").state_dict()
    weights.mkdir(exist_ok=True)
    save_file({name: scale * value for name, value in state.items()}, weights / "test_vit.safetensors")


def pretrained(run: RunDir) -> RunDir:
    plan = load_plan(run.plan)
    run.plan.write_text(plan.model_copy(update={"settings": {**plan.settings, "pretrained": True}}).model_dump_json())
    return run


def test_cells_are_seen_as_the_pretrained_network_of_timm_sees_them(make_run: MakeRun, tmp_path: Path) -> None:
    save_weights(tmp_path / "weights")
    run = pretrained(make_run("run", FROZEN, input_px=None))
    found = embedded(run)
    plan = load_plan(run.plan)
    with Store(Path(plan.store.path)) as store:
        images = torch.from_numpy(store.images(plan.folds[0].held_out)).permute(0, 3, 1, 2) / 255
    network = timm.create_model("test_vit", num_classes=0, img_size=160).eval()
    state = load_file(tmp_path / "weights" / "test_vit.safetensors")
    network.load_state_dict({name: value for name, value in state.items() if not name.startswith("head.")})
    seen = torch.nn.functional.interpolate(images * 255, size=160, mode="bilinear", antialias=True) / 255
    config = network.pretrained_cfg
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        wanted = network((seen - mean) / std).numpy()
    assert found.shape == (8, network.num_features)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("processes", [2, 9])
def test_several_processes_see_the_same(make_run: MakeRun, tmp_path: Path, processes: int) -> None:
    alone = embedded(make_run("alone", FROZEN))
    assert check_embedding(folder(RunDir(tmp_path / "alone")))[0].precision == "fp32", "whatever the device"
    shutil.rmtree(tmp_path / "alone")
    compute = {"processes": processes}  # of 9 one has no cell; 7 cannot be shared evenly, but nothing is trained
    together = embedded(make_run("together", FROZEN, compute, batch_size=7))
    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-5)


def test_what_another_run_has_of_the_same_store_and_weights_is_taken_over(make_run: MakeRun) -> None:
    first, again = make_run("first", FROZEN), make_run("again", FROZEN, steps=7)
    before = embedded(first)
    code, output = end(start(again))
    assert code == 0, output
    assert "Embedded before" in output
    assert np.array_equal(np.load(folder(again).embedding), before)


def test_what_was_made_with_other_weights_is_not_taken_over(make_run: MakeRun, tmp_path: Path) -> None:
    save_weights(tmp_path / "weights")
    before = embedded(pretrained(make_run("first", FROZEN)))
    save_weights(tmp_path / "weights", scale=0.9)
    after = embedded(pretrained(make_run("again", FROZEN)))
    assert not np.allclose(before, after)


def test_a_damaged_one_is_not_taken_over(make_run: MakeRun) -> None:
    first = make_run("first", FROZEN)
    before = embedded(first)
    np.save(folder(first).embedding, np.zeros_like(before))
    assert np.array_equal(embedded(make_run("again", FROZEN)), before)


def test_a_network_that_gives_no_numbers_fails_and_says_so(make_run: MakeRun, tmp_path: Path) -> None:
    save_weights(tmp_path / "weights", scale=float("inf"))
    run = pretrained(make_run("run", FROZEN))
    code, output = end(start(run))
    assert code == 1
    assert "test_vit gives numbers that are not finite" in output
    assert not folder(run).done
