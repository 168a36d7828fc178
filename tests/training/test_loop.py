"""Phases, learning rates and what stops training."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msbatch.config import Settings
from msbatch.training.loop import Phase, phases


@given(st.integers(0, 50), st.integers(1, 200), st.floats(0, 1))
def test_the_rate_rises_to_its_peak_and_falls_to_nothing(start: int, length: int, warmup: float) -> None:
    phase = Phase("all", start, start + length, 1.0, 1.0)
    rates = [phase.lr_at(step, warmup) for step in range(start, start + length)]
    assert all(0 <= rate <= 1 for rate in rates)
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_a_pretrained_backbone_trains_its_head_first() -> None:
    head, full = phases(Settings().scientific())
    assert (head.name, full.name) == ("head", "all")
    assert head.stop == full.start
    assert full.layer_decay < 1


def test_a_backbone_from_scratch_has_no_head_phase_and_no_layer_decay() -> None:
    (only,) = phases({**Settings().scientific(), "pretrained": False})
    assert (only.name, only.start, only.layer_decay) == ("all", 0, 1.0)


@pytest.mark.parametrize("head_steps", [0, 7])
def test_the_recipe_is_as_long_as_its_settings_say(head_steps: int) -> None:
    settings = Settings.model_validate({"training": {"head_steps": head_steps, "steps": 11}})
    assert phases(settings.scientific())[-1].stop == head_steps + 11
