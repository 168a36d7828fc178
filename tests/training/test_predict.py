"""Scores of a validation set."""

import numpy as np
import pytest
import torch
from torch import nn

from msbatch.training.data import Cells
from msbatch.training.ddp import World
from msbatch.training.precision import Precision
from msbatch.training.predict import balanced_accuracy, balanced_loss, predict

CPU = torch.device("cpu")


def cells(labels: list[int], patients: list[int]) -> Cells:
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 8, 8, 3), np.uint8)
    return Cells(images, np.array(labels, np.uint8), np.array(patients))


def test_a_patient_with_many_cells_weighs_no_more_than_one_with_few() -> None:
    logits = np.array([2.0, -1.0, 0.5])
    few = cells([1, 1, 0], [0, 1, 2])
    many = cells([1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 1, 2])
    assert balanced_loss(np.array([2.0] * 4 + [-1.0, 0.5]), many) == pytest.approx(balanced_loss(logits, few))


def test_even_odds_lose_one_bit() -> None:
    assert balanced_loss(np.zeros(3), cells([0, 0, 1], [0, 0, 1])) == pytest.approx(np.log(2))


def test_accuracy_is_the_mean_over_classes() -> None:
    assert balanced_accuracy(np.array([1.0, 1.0, 1.0, -1.0]), cells([1, 1, 1, 0], [0, 0, 0, 1])) == 1
    assert balanced_accuracy(np.array([1.0, 1.0, 1.0, 1.0]), cells([1, 1, 1, 0], [0, 0, 0, 1])) == 0.5


class Corner(nn.Module):
    """Gives the red value of the upper left pixel."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, 0, 0, 0].float()


def test_every_cell_gets_its_own_logit() -> None:
    data = cells([0, 1] * 50, list(range(100)))
    logits = predict(Corner(), data, World(0, 1, CPU), Precision("fp32", CPU))
    assert np.array_equal(logits, data.take(range(100))[:, 0, 0, 0])


def test_tta_is_the_mean_over_the_eight_views() -> None:
    data = cells([0, 1], [0, 1])
    corners = data.take(range(2))[:, [0, 0, -1, -1], [0, -1, 0, -1], 0].mean(axis=1)
    logits = predict(Corner(), data, World(0, 1, CPU), Precision("fp32", CPU), tta=True)
    assert logits == pytest.approx(corners)
