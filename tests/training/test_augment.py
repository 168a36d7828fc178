"""Random changes to training cells."""

import numpy as np
import pytest

from msbatch.config import AugmentSettings
from msbatch.training.augment import Augmenter

NOTHING = {"orientation": False, "rotate_deg": 0, "scale": 0, "blur": 0, "brightness": 0, "stain": 0}


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


def test_seed_and_position_decide_everything(image: np.ndarray) -> None:
    policy = AugmentSettings().model_dump()
    first, second = Augmenter(policy, (1, 2)), Augmenter(policy, (1, 2))
    second(image, 99)
    assert np.array_equal(first(image, 5), second(image, 5))
    assert not np.array_equal(first(image, 5), first(image, 6))
    assert not np.array_equal(first(image, 5), Augmenter(policy, (1, 3))(image, 5))


def test_shape_and_type_stay(image: np.ndarray) -> None:
    changed = Augmenter(AugmentSettings().model_dump(), (0,))(image, 0)
    assert changed.shape == image.shape
    assert changed.dtype == np.uint8


def test_a_policy_of_nothing_changes_nothing(image: np.ndarray) -> None:
    augment = Augmenter(NOTHING, (0,))
    for position in range(5):
        assert np.abs(augment(image, position).astype(int) - image).max() <= 1


def test_orientation_alone_gives_the_eight_views(image: np.ndarray) -> None:
    augment = Augmenter({**NOTHING, "orientation": True}, (0,))
    turns = [np.rot90(image, k) for k in range(4)]
    views = [*turns, *(turn[:, ::-1] for turn in turns)]
    seen = set()
    for position in range(100):
        changed = augment(image, position).astype(int)
        near = [i for i, view in enumerate(views) if np.abs(changed - view).max() <= 1]
        assert len(near) == 1
        seen |= set(near)
    assert seen == set(range(8))
