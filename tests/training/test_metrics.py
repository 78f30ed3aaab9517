"""Metrics against numpy and scipy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize

from apdepth_deploy.errors import DataError
from apdepth_deploy.training.metrics import abs_rel, align_least_squares, boundary_f1, delta


def case(size: tuple[int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    gt = rng.uniform(0.5, 20, size).astype(np.float32)
    pred = (0.03 * gt + 0.1 + rng.normal(0, 0.05, size)).astype(np.float32)
    return pred, gt, rng.random(size) > 0.4


@pytest.mark.parametrize("size", [(12, 16), (11, 17)])
@pytest.mark.parametrize("seed", range(3))
def test_alignment_and_metrics(size: tuple[int, int], seed: int) -> None:
    pred, gt, mask = case(size, seed)
    x, y = pred[mask].astype(np.float64), gt[mask].astype(np.float64)
    expected = scipy.optimize.lsq_linear(np.stack([x, np.ones_like(x)], 1), y, tol=1e-14).x
    scale, shift = align_least_squares(pred, gt, mask)
    np.testing.assert_allclose((scale, shift), expected, rtol=1e-6)
    aligned = np.maximum(scale * pred.astype(np.float64) + shift, 1e-3)
    p = aligned[mask]
    assert abs_rel(aligned, gt, mask) == pytest.approx(sum(abs(p - y) / y) / len(y), rel=1e-6)
    close = [max(a / b, b / a) < 1.25 for a, b in zip(p, y, strict=True)]
    assert delta(aligned, gt, mask) == pytest.approx(sum(close) / len(close), rel=1e-6)


def test_delta_is_strict() -> None:
    gt = np.array([[1.0, 4.0]])
    assert delta(gt * 1.25, gt, gt > 0) == 0.0
    assert delta(gt * 1.25, gt, gt > 0, threshold=1.2500001) == 1.0


def test_a_constant_prediction_becomes_the_mean() -> None:
    _, gt, mask = case((8, 8))
    scale, shift = align_least_squares(np.full((8, 8), 0.3), gt, mask)
    assert scale == 0.0 and shift == pytest.approx(gt[mask].astype(np.float64).mean())


def test_what_is_masked_does_not_count() -> None:
    pred, gt, mask = case((12, 16))
    other, worse = gt.copy(), pred.copy()
    other[~mask], worse[~mask] = -1.0, np.nan
    assert align_least_squares(worse, other, mask) == align_least_squares(pred, gt, mask)
    assert abs_rel(worse, other, mask) == abs_rel(pred, gt, mask)


def test_edges_count_by_place_and_direction() -> None:
    gt = np.full((6, 8), 2.0)
    gt[:, 4:] = 4.0
    everywhere = np.ones_like(gt, dtype=bool)
    assert boundary_f1(gt, gt, everywhere) == 1.0
    assert boundary_f1(np.roll(gt, 1, axis=1), gt, everywhere) == 0.0
    assert boundary_f1(gt[:, ::-1], gt, everywhere) == 0.0  # the same place, the other way round
    half = gt.copy()
    half[:3] = 2.0  # half of the edge, and a false one of 4 pixels along the rows
    hits, found, there = 3, 3 + 4, 6
    assert boundary_f1(half, gt, everywhere) == pytest.approx(2 * hits / (found + there))
    assert boundary_f1(gt * 0 + 1, gt * 0 + 1, everywhere) == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, g, m: (p, g, m & False), "mask is empty"),
        (lambda p, g, m: (p, g * 0, m), "above 0"),
        (lambda p, g, m: (p[1:], g, m), "differ in shape"),
        (lambda p, g, m: (p * np.nan, g, m), "not finite"),
    ],
)
def test_what_cannot_be_measured_is_refused(change: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        abs_rel(*change(*case((8, 8))))  # type: ignore[operator]
