"""One prediction's score, step by step by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from apdepth_deploy.training.data.eval_sets import EvalSet
from apdepth_deploy.training.data.sample import Dataset, Sample
from apdepth_deploy.training.evaluation.protocol import align, score


class Nothing:
    name = "nothing"

    def __len__(self) -> int:
        return 0

    def __getitem__(self, index: int) -> Sample:
        raise AssertionError


NOTHING: Dataset = Nothing()


def make(size: tuple[int, int] = (30, 41), seed: int = 0) -> tuple[np.ndarray, Sample]:
    rng = np.random.default_rng(seed)
    depth = rng.uniform(0.5, 12, size).astype(np.float32)
    predicted = (depth / 15 + rng.normal(0, 0.05, size)).astype(np.float32)
    return predicted, Sample("a", np.zeros((*size, 3), np.uint8), depth, rng.random(size) > 0.3)


def test_align_clip_compare() -> None:
    predicted, sample = make()
    rules = EvalSet(NOTHING, 1.0, 10.0)
    p, g = (x[sample.valid].astype(np.float64) for x in (predicted, sample.depth))
    scale, shift = np.polyfit(p, g, 1)
    metres = np.clip(scale * p + shift, 1.0, 10.0)
    made = score(predicted, sample, rules)
    assert made.abs_rel == pytest.approx(np.mean(abs(metres - g) / g), rel=1e-6)
    share = np.mean(np.maximum(metres / g, g / metres) < 1.25)
    assert made.delta1 == pytest.approx(share, rel=1e-6)


def test_scale_and_shift_of_the_prediction_do_not_matter() -> None:
    predicted, sample = make()
    rules = EvalSet(NOTHING, 1e-3, math.inf)
    first, second = (score(x, sample, rules) for x in (predicted, 7 * predicted + 3))
    assert first.abs_rel == pytest.approx(second.abs_rel, rel=1e-5)
    assert first.delta1 == second.delta1


def test_no_prediction_is_below_the_floor() -> None:
    predicted, sample = make()
    assert align(-50 * predicted**2, sample, EvalSet(NOTHING, -math.inf, math.inf)).min() >= 1e-6


def test_large_maps_are_fitted_small() -> None:
    predicted, sample = make((60, 80))
    rules = EvalSet(NOTHING, 1e-5, math.inf, fit_side=20)
    small = (slice(None, None, 4), slice(None, None, 4))
    p, g = (x[small][sample.valid[small]].astype(np.float64) for x in (predicted, sample.depth))
    scale, shift = np.polyfit(p, g, 1)
    expected = np.maximum(scale * predicted.astype(np.float64) + shift, 1e-5)
    np.testing.assert_allclose(align(predicted, sample, rules), expected, rtol=1e-6)


def test_a_slope_needs_no_picture() -> None:
    rows, columns = np.indices((20, 30))
    depth = (2 + 0.1 * rows - 0.02 * columns).astype(np.float32)
    sample = Sample("a", np.zeros((20, 30, 3), np.uint8), depth, depth > 0)
    rules = EvalSet(NOTHING, 1e-3, math.inf)
    assert score(np.ones_like(depth), sample, rules).plane_abs_rel < 1e-6
    assert score(np.ones_like(depth), sample, rules).abs_rel > 0.1
