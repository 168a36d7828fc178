"""Random changes to training cells: the one module that imports albumentations."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # its import asks the network for a newer release otherwise

import albumentations as A  # noqa: N812
import cv2

cv2.setNumThreads(0)


class Augmenter:
    """The augmentation policy: orientation, small geometry, mild blur, light and stain.

    There is no elastic warping: shape is signal.

    Parameters
    ----------
    policy : mapping
        The fields of `AugmentSettings`.
    seed : sequence of int
        With the position of a sample it decides every random choice, so the result depends neither on
        the number of loader workers nor on what was drawn before.
    """

    def __init__(self, policy: dict[str, Any], seed: Sequence[int]) -> None:
        self._stream = np.random.Philox(np.random.SeedSequence(seed))
        self._start = self._stream.state  # counter 0: every position is so many long strides away from it
        self._draws = random.Random()  # noqa: S311
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # an argument it does not know only warns
            self._transform = A.Compose(_transforms(policy))
        self._transform.set_random_state(np.random.Generator(self._stream), self._draws)

    def __call__(self, image: NDArray[np.uint8], position: int) -> NDArray[np.uint8]:
        """Change one image, uint8 of shape (S, S, 3), into another of the same shape."""
        self._go_to(position)
        changed: NDArray[np.uint8] = self._transform(image=image)["image"]
        return changed

    def _go_to(self, position: int) -> None:
        # albumentations would seed every transform by itself: slowly, and all with the same numbers.
        self._start["state"]["counter"][1] = position
        self._stream.state = self._start
        self._draws.seed(self._stream.random_raw())


def changes(policy: dict[str, Any]) -> list[str]:
    """Name the fields of a policy, given as those of `AugmentSettings`, that change anything."""
    return [name for name, value in policy.items() if value]


def _transforms(policy: dict[str, Any]) -> list[Any]:
    scale, light, stain = policy["scale"], policy["brightness"], policy["stain"]
    geometry = A.Affine(
        rotate=(-policy["rotate_deg"], policy["rotate_deg"]),
        scale=(1 - scale, 1 + scale),
        border_mode=cv2.BORDER_REPLICATE,
        p=1,
    )
    return [
        A.D4(p=1 if policy["orientation"] else 0),
        geometry,
        A.GaussianBlur(blur_limit=(3, 3), p=policy["blur"]),
        A.RandomBrightnessContrast(brightness_limit=light, contrast_limit=light, p=1),
        A.ColorJitter(
            brightness=(1, 1), contrast=(1, 1), saturation=(1 - stain, 1 + stain), hue=(-stain / 4, stain / 4), p=1
        ),
    ]
