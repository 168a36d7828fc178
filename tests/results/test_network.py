"""The small fixed network: the same numbers for the same cell, whatever stands beside it."""

import subprocess
import sys

import numpy as np
import pytest

from msbatch.results import network
from msbatch.results.network import embed


def noise(count: int, side: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3)).astype(np.uint8)


@pytest.mark.parametrize("side", [16, 63, 128, 150])
def test_every_cell_gets_96_finite_numbers(side: int) -> None:
    found = embed(noise(3, side))
    assert found.shape == (3, 96)
    assert found.dtype == np.float64
    assert np.isfinite(found).all()


def test_plain_images_give_finite_numbers_too() -> None:
    for level in (0, 255):
        assert np.isfinite(embed(np.full((2, 32, 32, 3), level, np.uint8))).all()


def test_another_process_gives_the_same_numbers() -> None:
    code = (
        "import numpy as np; from msbatch.results.network import embed;"
        "print(embed(np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)).tobytes().hex())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == embed(noise(2, 32)).tobytes().hex()


def test_a_cell_does_not_depend_on_those_beside_it() -> None:
    images = noise(130, 24)
    together = embed(images)
    alone = np.concatenate([embed(images[number : number + 1]) for number in (0, 63, 64, 129)])
    np.testing.assert_allclose(together[[0, 63, 64, 129]], alone, rtol=1e-9, atol=1e-9)
    order = np.random.default_rng(1).permutation(130)
    np.testing.assert_allclose(embed(images[order]), together[order], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_how_many_are_embedded_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    images = noise(20, 24)
    before = embed(images)
    monkeypatch.setattr(network, "_BLOCK", block)
    np.testing.assert_allclose(embed(images), before, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("factor", [2, 3])
def test_a_cell_stored_larger_is_the_same_cell(factor: int) -> None:
    images = noise(4, 64)
    larger = images.repeat(factor, axis=1).repeat(factor, axis=2)
    np.testing.assert_allclose(embed(larger), embed(images), rtol=1e-9, atol=1e-9)


def test_pixels_are_averaged_and_not_left_out() -> None:
    """Every second pixel alone would see a plain image in a fine chequerboard."""
    board = np.indices((128, 128)).sum(axis=0) % 2 * np.uint8(200)
    found = embed(np.stack([board] * 3, axis=-1)[None].astype(np.uint8))
    np.testing.assert_allclose(found, embed(np.full((1, 64, 64, 3), 100, np.uint8)), rtol=1e-9, atol=1e-9)


def test_colour_and_texture_are_both_seen() -> None:
    plain = np.full((1, 32, 32, 3), 150, np.uint8)
    red = plain + np.array([40, 0, 0], np.uint8)
    grain = np.clip(plain + np.random.default_rng(0).normal(0, 20, (1, 32, 32, 1)), 0, 255).astype(np.uint8)
    for other in (red, grain):
        assert np.abs(embed(other) - embed(plain)).max() > 0.5
