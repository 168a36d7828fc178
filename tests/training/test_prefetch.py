"""Batches arrive on the device as they were."""

import pytest
import torch

from msbatch.training.prefetch import to_device

DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")]
    ),
]


@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize("count", [0, 1, 5])
def test_every_batch_arrives_once_and_in_order(name: str, count: int) -> None:
    device = torch.device(name, 0) if name == "cuda" else torch.device(name)
    sent = [(torch.full((64, 128, 128, 3), number, dtype=torch.uint8), torch.ones(64)) for number in range(count)]
    seen = []
    for images, labels in to_device(iter(sent), device):
        assert images.device == labels.device == device
        seen.append((images.float() * labels[:, None, None, None]).amax((1, 2, 3)).unique().tolist())
    assert seen == [[number] for number in range(count)]
