"""Scale and shift over time: steadier than each frame's, held for a while, new after a cut."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from apdepth_deploy.errors import UsageError
from apdepth_deploy.runtime.metric.metres import Fit, fit_metres, no_fit
from apdepth_deploy.runtime.metric.tracking import FitFilter

RAMP = np.tile(np.linspace(0, 1, 96, dtype=np.float32), (64, 1))


def fit_at(seed: int, scale: float = 4.0, count: int = 8, **changes: Any) -> Fit:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 96, count)
    z = (scale * RAMP[0, x] + 1.0) * (1 + 0.05 * rng.standard_normal(count))
    sigma = 0.05 * z
    anchors = np.stack([x, rng.integers(0, 64, count), z, sigma], axis=1)
    return dataclasses.replace(fit_metres(RAMP, anchors, field=False), **changes)


def test_it_is_steadier_than_the_fits_and_as_true() -> None:
    steady = FitFilter()
    raw, filtered = [], []
    for frame in range(150):
        fit = fit_at(frame)
        raw.append(fit.scale)
        filtered.append(steady(fit, frame / 30).scale)
    assert np.std(filtered[30:]) < 0.4 * np.std(raw[30:])
    assert np.mean(filtered[30:]) == pytest.approx(4.0, rel=0.03)


def test_it_follows_a_scale_that_drifts() -> None:
    steady = FitFilter()
    for frame in range(300):
        scale = 4.0 * (1 + 0.05 * frame / 30)  # 5 % a second
        found = steady(fit_at(frame, scale, count=40), frame / 30)
    assert found.scale == pytest.approx(scale, rel=0.05)


def test_frames_without_anchors_have_metres_until_hold_is_over() -> None:
    steady = FitFilter(hold=1.0)
    first = steady(fit_at(0, count=40), 10.0)
    assert first.valid and steady.age == 0.0
    later = steady(None, 10.9)
    assert later.valid and (later.scale, later.shift) == (first.scale, first.shift)
    assert steady.age == pytest.approx(0.9)
    assert later.covariance[0, 0] > first.covariance[0, 0]
    over = steady(no_fit("a scale and a shift need two anchors in the frame, not 1"), 11.1)
    assert not over.valid
    assert over.why.startswith("no anchors to believe for 1.1 s (a scale and a shift need two")
    assert np.isnan(over.metres(RAMP)).all()
    assert steady(fit_at(1, count=40), 11.2).valid


def test_one_fit_that_cant_be_is_left_out_and_a_second_is_believed() -> None:
    steady = FitFilter()
    for frame in range(30):
        before = steady(fit_at(frame, count=40), frame / 30)
    wild = steady(fit_at(40, scale=9.0, count=40), 1.0)
    assert wild.scale == before.scale and wild.valid
    assert steady(fit_at(41, scale=9.0, count=40), 1.03).scale == pytest.approx(9.0, rel=0.1)


def test_a_carried_fit_has_no_field_of_another_frame() -> None:
    fit = fit_at(0, count=40)
    steady = FitFilter()
    steady(dataclasses.replace(fit, field=fit_with_field().field), 0.0)
    assert steady(None, 0.1).field is None


def fit_with_field() -> Fit:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 96, 200), rng.integers(0, 64, 200)
    z = (4.0 * RAMP[y, x] + 1.0) * np.exp(0.2 * np.sin(y / 10))
    fit = fit_metres(RAMP, np.stack([x, y, z], axis=1))
    assert fit.field is not None
    return fit


def test_before_the_first_anchors_nothing_is_known() -> None:
    steady = FitFilter()
    assert not steady(None, 0.0).valid and steady.age == np.inf
    steady(fit_at(0), 0.1)
    steady.reset()
    assert not steady(None, 0.2).valid


def test_time_and_hold_must_be_possible() -> None:
    steady = FitFilter()
    steady(None, 5.0)
    with pytest.raises(UsageError, match=r"time went back from 5.0 to 4.0 s: reset\(\) first"):
        steady(None, 4.0)
    with pytest.raises(UsageError, match="hold must be above 0 seconds, not 0"):
        FitFilter(hold=0)
