"""A compiled network trains as the same network does that is not compiled."""

import re
from typing import Any

import numpy as np
import pytest
from tasks import finish, folder
from test_task import predictions

TOLERANCE = 1e-2  # of the largest logit, in fp32 after 20 steps: sums are taken in another order


@pytest.mark.slow
def test_a_compiled_network_predicts_the_same_and_leaves_its_cache_in_the_run(make_run: Any) -> None:
    recipe = {"steps": 20, "drop_rate": 0.2, "drop_path": 0.2, "ema_decay": 0.0, "lr": 3e-3}
    plain, compiled = make_run("plain", **recipe), make_run("compiled", compute={"compile": True}, **recipe)
    finish(plain)
    output = finish(compiled)
    assert "cannot be compiled" not in output
    assert any(path.suffix == ".so" for path in compiled.compiled.rglob("*"))
    one, other = predictions(plain).logits, predictions(compiled).logits
    assert np.abs(one - other).max() < TOLERANCE * np.abs(one).max()


@pytest.mark.slow
def test_without_a_compiler_the_network_trains_as_it_is(make_run: Any) -> None:
    plain, failing = make_run("plain"), make_run("failing", compute={"compile": True})
    finish(plain)
    output = finish(failing, CXX="/nonexistent")
    assert re.search(r"The network cannot be compiled, so it trains as it is: .*/nonexistent", output)
    assert folder(plain).predictions.read_bytes() == folder(failing).predictions.read_bytes()
