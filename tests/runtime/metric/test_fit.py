"""Scale and shift from anchors: exact where they are, robust where many are wrong, or refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from apdepth_deploy import fit_metres
from apdepth_deploy.errors import ImageError, UsageError
from apdepth_deploy.runtime.metric.fit import robust_line

#: Relative depth 0 to 1 from left to right.
RAMP = np.tile(np.linspace(0, 1, 96, dtype=np.float32), (64, 1))


def draw(
    count: int, seed: int, scale: float = 4.0, shift: float = 1.0, noise: float = 0.0, bad: int = 0
) -> NDArray[np.float64]:
    """Anchors on ``RAMP``; ``bad`` of them at any distance up to one and a half times the range."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, 95, count), rng.uniform(0, 63, count)
    d = np.interp(x, np.arange(96), RAMP[0])
    z = (scale * d + shift) * (1 + noise * rng.standard_normal(count))
    z[rng.permutation(count)[:bad]] = rng.uniform(0.3 * shift, 1.5 * (scale + shift), bad)
    return np.stack([x, y, z], axis=1)


@pytest.mark.parametrize("count", [2, 3, 20, 1000])
@pytest.mark.parametrize(("scale", "shift"), [(4.0, 1.0), (30.0, 0.2), (0.5, 8.0)])
def test_exact_anchors_give_the_line_itself(count: int, scale: float, shift: float) -> None:
    fit = fit_metres(RAMP, draw(count, 1, scale, shift))
    assert (fit.valid, fit.why, fit.anchors, fit.inliers) == (True, "", count, count)
    assert fit.scale == pytest.approx(scale, rel=1e-6)
    assert fit.shift == pytest.approx(shift, rel=1e-6)
    metres, expected = fit.metres(RAMP), scale * RAMP.astype(np.float64) + shift
    known = np.isfinite(metres)
    np.testing.assert_allclose(metres[known], expected[known], rtol=1e-5)
    assert known.all() or (count < 4 and known.mean() > 0.5)  # so few don't tell the whole range


@pytest.mark.parametrize(("count", "middle", "most"), [(64, 0.010, 0.032), (32, 0.014, 0.040)])
def test_two_fifths_may_be_grossly_wrong(count: int, middle: float, most: float) -> None:
    """The largest relative error anywhere in the range, over 200 draws with 2 % of noise."""
    worst = []
    ends = np.array([0.0, 1.0])
    for seed in range(200):
        fit = fit_metres(RAMP, draw(count, seed, noise=0.02, bad=count * 2 // 5), field=False)
        assert fit.valid
        worst.append(np.abs((fit.scale * ends + fit.shift) / (4.0 * ends + 1.0) - 1.0).max())
    assert np.median(worst) <= middle and np.percentile(worst, 95) <= most


def test_the_order_of_anchors_changes_little_and_the_same_ones_nothing() -> None:
    anchors = draw(64, 3, noise=0.02, bad=20)
    first, again = (fit_metres(RAMP, anchors, field=False) for _ in range(2))
    assert (first.scale, first.shift) == (again.scale, again.shift)
    turned = fit_metres(RAMP, anchors[::-1], field=False)
    assert turned.scale == pytest.approx(first.scale, rel=1e-3)


def test_sigma_says_whom_to_believe() -> None:
    """Two sensors that contradict each other: the precise one is followed."""
    precise, coarse = draw(30, 1), draw(30, 2, scale=5.0)
    anchors = np.concatenate(
        [np.insert(precise, 3, 0.01, axis=1), np.insert(coarse, 3, 2.0, axis=1)]
    )
    fit = fit_metres(RAMP, anchors, field=False)
    assert fit.scale == pytest.approx(4.0, rel=2e-3)


def test_the_covariance_covers_that_of_repeated_fits() -> None:
    drawn = [draw(40, seed, noise=0.02) for seed in range(300)]
    found = [fit_metres(RAMP, np.insert(a, 3, 0.02 * a[:, 2], axis=1), field=False) for a in drawn]
    lines = np.array([[fit.scale, fit.shift] for fit in found])
    told = np.mean([fit.covariance for fit in found], axis=0)
    ratio = told / np.cov(lines.T)
    assert (ratio > 0.9).all() and (ratio < 2.0).all()  # rather too careful than too sure


def test_anchors_on_edges_count_little() -> None:
    """A wall with a post before it: anchors on the post's rim have the wall's distance."""
    depth = np.full((64, 96), 0.8, np.float32)
    depth[:, :20] = np.linspace(0.1, 0.7, 20, dtype=np.float32)
    depth[:, 40:50] = 0.3
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.integers(0, 18, 20), np.full(15, 40), rng.integers(52, 95, 5)])
    y = rng.integers(2, 62, len(x))
    z = 4.0 * depth[y, x] + 1.0
    z[20:35] = 4.0 * 0.8 + 1.0
    fit = fit_metres(depth, np.stack([x, y, z], axis=1), field=False)
    assert fit.scale == pytest.approx(4.0, rel=0.02) and fit.shift == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize(
    ("anchors", "why"),
    [
        ([], "a scale and a shift need two anchors in the frame, not 0"),
        ([[3, 3, 2.0]], "need two anchors in the frame, not 1"),
        ([[3, 3, 2.0], [3, 40, 2.1], [3, 60, 1.9]], "all 3 anchors lie at one relative depth"),
        ([[3, 3, 5.0], [90, 3, 1.0]], "farther anchors lie nearer in the picture"),
        ([[-9, 3, 5.0], [99, 3, 1.0], [5, 64, 2.0]], "need two anchors in the frame, not 0"),
        ([[3, 3, -5.0], [90, 3, np.nan], [5, 6, 0.0]], "need two anchors in the frame, not 0"),
        ([[3, 3, 5.0, 0.0], [90, 3, 9.0, -1.0]], "need two anchors in the frame, not 0"),
    ],
)
def test_anchors_that_tell_nothing_give_no_metres_and_the_reason(anchors: Any, why: str) -> None:
    fit = fit_metres(RAMP, anchors)
    assert not fit.valid and why in fit.why
    assert np.isnan(fit.metres(RAMP)).all()
    assert json.loads(json.dumps(fit.to_json(), allow_nan=False))["valid"] is False


def test_anchors_of_another_picture_are_noticed() -> None:
    rng = np.random.default_rng(0)
    anchors = np.stack([rng.uniform(0, 95, 100), rng.uniform(0, 63, 100)], axis=1)
    fit = fit_metres(RAMP, np.insert(anchors, 2, rng.uniform(0.5, 40.0, 100), axis=1))
    assert not fit.valid and ("go together" in fit.why or "agree" in fit.why or "alike" in fit.why)


def test_metres_end_where_the_anchors_no_longer_tell() -> None:
    """Anchors at a quarter of the range, to 10 %: the far end is anybody's guess."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(24, 28, 8), rng.uniform(0, 63, 8)
    z = (9.0 * x / 95 + 0.5) * (1 + 0.1 * rng.standard_normal(8))
    fit = fit_metres(RAMP, np.stack([x, y, z, 0.1 * z], axis=1), field=False)
    metres = fit.metres(RAMP)
    assert fit.valid and np.isfinite(metres[:, 24:29]).all()
    assert fit.reach[1] < 0.9 and np.isnan(metres[:, -5:]).all()
    many = np.repeat(np.stack([x, y, 9.0 * x / 95 + 0.5], axis=1), 9, axis=0)
    assert fit_metres(RAMP, many, field=False).reach[1] == 1.0


def test_what_cant_be_used_changes_nothing() -> None:
    good = draw(40, 5, noise=0.01)
    bad = [[50, 50, np.nan], [np.inf, 5, 2.0], [5, 5, -1.0], [500, 5, 2.0]]
    one, other = fit_metres(RAMP, good), fit_metres(RAMP, np.concatenate([good, bad]))
    assert (one.scale, one.shift, one.anchors) == (other.scale, other.shift, other.anchors)


def test_depth_that_is_not_known_gives_neither_anchors_nor_metres() -> None:
    depth = RAMP.copy()
    depth[20:40] = np.nan
    fit = fit_metres(depth, draw(200, 6))
    assert fit.valid and fit.anchors < 200 and fit.scale == pytest.approx(4.0, rel=1e-6)
    np.testing.assert_array_equal(np.isnan(fit.metres(depth)), np.isnan(depth))


def test_infinite_depth_is_not_known_either() -> None:
    depth = RAMP.copy()
    depth[20:40], depth[30] = np.inf, -np.inf
    fit = fit_metres(depth, draw(200, 6, noise=0.01))
    assert fit.valid and fit.anchors < 200
    np.testing.assert_array_equal(np.isnan(fit.metres(depth)), np.isinf(depth))


def test_metres_end_where_they_would_be_behind_the_camera() -> None:
    fit = fit_metres(RAMP, draw(50, 7, scale=4.0, shift=-1.0)[25:], field=False)
    assert fit.valid and fit.shift == pytest.approx(-1.0, abs=0.2)
    metres = fit.metres(RAMP)
    behind = fit.scale * RAMP + fit.shift <= 0
    assert behind.any()
    np.testing.assert_array_equal(np.isnan(metres), behind)


@pytest.mark.parametrize(
    ("depth", "anchors", "kind", "rule"),
    [
        (RAMP.astype(np.float64), [], ImageError, "must be float32 .* not float64 .64, 96."),
        (RAMP[None], [], ImageError, "float32 .H,W., as predictors give"),
        ([[0.5]], [], ImageError, "as predictors give"),
        (RAMP[:1], [], ImageError, "is no picture's"),
        (RAMP, [1.0, 2.0, 3.0], UsageError, r"not \[3\]"),
        (RAMP, np.zeros((3, 5)), UsageError, r"x, y, z, sigma; not \[3, 5\]"),
        (RAMP, [["x", "y", "z"]], UsageError, "anchors must be numbers"),
    ],
)
def test_other_types_and_shapes_are_refused(depth: Any, anchors: Any, kind: Any, rule: str) -> None:
    with pytest.raises(kind, match=rule):
        fit_metres(depth, anchors)


def test_the_line_through_all_is_least_squares_where_all_agree() -> None:
    rng = np.random.default_rng(1)
    d = rng.random(500)
    sigma = rng.uniform(0.01, 0.1, 500)
    z = 3.0 * d + 2.0 + 0.2 * sigma * rng.uniform(-1, 1, 500)
    line = robust_line(d, z, sigma)
    assert line is not None
    slope, offset = np.polyfit(d, z, 1, w=1 / sigma)
    assert (line.scale, line.shift) == pytest.approx((slope, offset), rel=1e-3)
