"""Which arithmetic a task uses."""

import pytest
import torch

from msbatch.errors import MsbatchError
from msbatch.training.precision import Precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(("name", "dtype"), [("auto", torch.float32), ("fp32", torch.float32), ("fp64", torch.float64)])
def test_the_cpu_computes_in_full_precision_by_default(name: str, dtype: torch.dtype) -> None:
    precision = Precision(name, CPU)
    weights = torch.ones(2, 2, dtype=dtype)
    with precision.autocast():
        assert (weights @ weights).dtype == dtype
    assert precision.dtype == dtype


def test_bf16_lowers_the_forward_pass_and_keeps_the_weights() -> None:
    precision = Precision("bf16", CPU)
    weights = torch.ones(2, 2)
    with precision.autocast():
        assert (weights @ weights).dtype == torch.bfloat16
    assert precision.dtype == torch.float32


def test_fp16_on_the_cpu_is_refused() -> None:
    with pytest.raises(MsbatchError, match="fp16 training needs a GPU"):
        Precision("fp16", CPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
@pytest.mark.parametrize("name", ["auto", "bf16", "fp16", "fp32"])
def test_a_step_on_the_gpu_lowers_the_loss(name: str) -> None:
    device = torch.device("cuda", 0)
    precision = Precision(name, device)
    model = torch.nn.Linear(4, 1).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    losses = []
    for _ in range(5):
        with precision.autocast():
            loss = (model(torch.ones(8, 4, device=device)).float() - 3).square().mean()
        losses.append(loss.item())
        precision.step(loss, model, optimiser, clip_norm=1.0)
    assert losses[-1] < losses[0]
