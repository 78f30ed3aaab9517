"""Learning rate and stages over a run, against the authors' numbers."""

from __future__ import annotations

import numpy as np
import pytest

from apdepth_deploy.training.config import LossConfig, OptimizerConfig
from apdepth_deploy.training.schedule import learning_rate, loss_weights


def test_the_rate_rises_over_the_warm_up_and_falls_to_a_hundredth() -> None:
    config = OptimizerConfig(warmup=100)
    factors = [learning_rate(config, 25000, step) for step in range(25000)]
    np.testing.assert_allclose(factors[:100], np.arange(1, 101) / 100)
    assert factors[100] == 1.0
    # Exponential: equal ratios in equal times.
    ratios = np.diff(np.log(factors[100:]))
    np.testing.assert_allclose(ratios, np.log(0.01) / 24900, rtol=1e-6)
    assert learning_rate(config, 25000, 25000) == pytest.approx(0.01)


def test_the_decay_has_a_length_of_its_own_and_then_stays() -> None:
    config = OptimizerConfig(warmup=0, decay_steps=10, final_lr=0.25)
    assert learning_rate(config, 1000, 5) == pytest.approx(0.5)
    assert learning_rate(config, 1000, 999) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("mode", "before", "after"),
    [("switch", (1.0, 0.0), (0.0, 0.5)), ("add", (1.0, 0.0), (1.0, 0.5))],
)
def test_the_second_stage(
    mode: str, before: tuple[float, float], after: tuple[float, float]
) -> None:
    config = LossConfig(frequency_start=10, frequency_mode=mode)
    assert loss_weights(config, 9) == before
    assert loss_weights(config, 10) == after
    assert loss_weights(LossConfig(frequency_start=None), 10**6) == (1.0, 0.0)
