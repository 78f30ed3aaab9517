"""The field of corrections: its equations are solved, edges end it, and it is never the worse."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from apdepth_deploy import fit_metres
from apdepth_deploy.errors import ImageError
from apdepth_deploy.runtime.metric import field
from apdepth_deploy.runtime.metric.field import make_grid, membranes, places_in

H, W = 120, 160
Y, X = np.mgrid[0:H, 0:W].astype(np.float64)
#: A floor, and a box before it that stands out.
DEPTH = (1.0 - 0.5 * Y / H - 0.2 * X / W).astype(np.float32)
DEPTH[40:90, 50:110] = 0.25
#: What the model gets wrong: a slow wave over the floor, and the box as a whole.
WRONG = 0.2 * np.sin(X / 40) + 0.1 * np.cos(Y / 50)
WRONG[40:90, 50:110] = -0.25
TRUTH = (5.0 * DEPTH + 1.0) * np.exp(WRONG)


def anchors_at(x: NDArray[np.int64], y: NDArray[np.int64], seed: int = 0) -> NDArray[np.float64]:
    noise = 1 + 0.01 * np.random.default_rng(seed).standard_normal(len(x))
    return np.stack([x, y, TRUTH[y, x] * noise], axis=1)


def scattered(count: int, seed: int = 0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return anchors_at(rng.integers(0, W, count), rng.integers(0, H, count), seed)


def abs_rel(metres: NDArray[np.float32]) -> float:
    return float(np.mean(np.abs(metres - TRUTH) / TRUTH))


@pytest.mark.parametrize("shape", [(48, 64), (64, 48), (50, 50)])
def test_membranes_solve_their_equations(shape: tuple[int, int]) -> None:
    """Against the whole matrix, built cell by cell."""
    rng = np.random.default_rng(0)
    depth = rng.random(shape).astype(np.float32)
    x, y = rng.uniform(0, shape[1] - 1, 30), rng.uniform(0, shape[0] - 1, 30)
    rho, pulls = rng.standard_normal(30), rng.uniform(1, 10, (3, 30))
    grid = make_grid(depth, 12)
    at = places_in(grid, shape, x, y)
    sink = rng.uniform(0.005, 0.05, grid.shape)
    found = membranes(grid, at, rho, pulls, sink)
    cell = np.arange(grid.shape[0] * grid.shape[1]).reshape(grid.shape)
    smooth = np.diag(sink.ravel())
    for one, other, conductance in (
        (cell[:, :-1], cell[:, 1:], grid.right),
        (cell[:-1], cell[1:], grid.down),
    ):
        for p, q, c in zip(one.flat, other.flat, conductance.flat, strict=True):
            smooth[[p, q, p, q], [p, q, q, p]] += (c, c, -c, -c)
    reads = np.zeros((30, cell.size))
    corners = ((0, 0), (0, 1), (1, 0), (1, 1))
    for (down, right), share in zip(corners, at.shares(), strict=True):
        reads[np.arange(30), cell[at.row + down, at.column + right]] += share
    for number in range(3):
        matrix = smooth + reads.T @ (pulls[number][:, None] * reads)
        expected = np.linalg.solve(matrix, reads.T @ (pulls[number] * rho))
        np.testing.assert_allclose(found[number].ravel(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("count", "share"), [(32, 0.6), (128, 0.35), (512, 0.25)])
def test_it_mends_what_scale_and_shift_can_not(count: int, share: float) -> None:
    anchors = scattered(count)
    plain, mended = fit_metres(DEPTH, anchors, field=False), fit_metres(DEPTH, anchors)
    assert mended.field is not None and mended.field.error < mended.field.error_without
    assert abs_rel(mended.metres(DEPTH)) < share * abs_rel(plain.metres(DEPTH))


def test_a_fifth_of_wrong_anchors_costs_little() -> None:
    anchors = scattered(256, 1)
    clean = abs_rel(fit_metres(DEPTH, anchors).metres(DEPTH))
    rng = np.random.default_rng(2)
    bad = rng.permutation(256)[:51]
    anchors[bad, 2] = rng.uniform(0.5, 9.0, 51)
    mended = abs_rel(fit_metres(DEPTH, anchors).metres(DEPTH))
    plain = abs_rel(fit_metres(DEPTH, anchors, field=False).metres(DEPTH))
    assert mended < 1.5 * clean and mended < 0.2 * plain


def test_an_edge_of_depth_ends_a_residuals_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """Along the box's border, on both sides, against a membrane that knows no edges."""
    anchors = scattered(256, 3)
    border = np.zeros((H, W), bool)
    border[36:94, 46:114] = True
    border[44:86, 54:106] = False

    def error() -> float:
        metres = fit_metres(DEPTH, anchors).metres(DEPTH)
        return float(np.mean(np.abs(metres - TRUTH)[border] / TRUTH[border]))

    with_edges = error()
    monkeypatch.setattr(field, "_EDGE", 1e6)
    assert with_edges < 0.85 * error()


@pytest.mark.parametrize("place", ["corner", "line", "column"])
def test_away_from_the_anchors_it_sinks_to_nothing(place: str) -> None:
    rng = np.random.default_rng(4)
    x, y = rng.integers(0, W, 200), rng.integers(0, H, 200)
    if place == "corner":
        x, y = x // 4, y // 4
    elif place == "line":
        y = np.full(200, 110)
    else:
        x = np.full(200, 5)
    anchors = anchors_at(x, y)
    plain, mended = fit_metres(DEPTH, anchors, field=False), fit_metres(DEPTH, anchors)
    assert abs_rel(mended.metres(DEPTH)) <= 1.05 * abs_rel(plain.metres(DEPTH))


def test_it_sinks_faster_where_no_anchor_is_near(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    near = anchors_at(rng.integers(0, W // 4, 100), rng.integers(0, H // 4, 100))

    def far() -> float:
        fitted = fit_metres(DEPTH, near).field
        assert fitted is not None
        return float(np.abs(fitted.over()[H // 2 :, W // 2 :]).max())

    with_anchors_near = far()
    monkeypatch.setattr(field, "_LONELY_SINK", field._SINK)
    assert with_anchors_near < 0.5 * far()


def test_where_nothing_is_wrong_it_stays_away() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.integers(0, W, 300), rng.integers(0, H, 300)
    z = (5.0 * DEPTH[y, x] + 1.0) * (1 + 0.02 * rng.standard_normal(300))
    metres = fit_metres(DEPTH, np.stack([x, y, z], axis=1)).metres(DEPTH)
    assert np.abs(metres / (5.0 * DEPTH + 1.0) - 1).mean() < 0.01


def test_a_fit_with_a_field_is_of_its_frame_alone() -> None:
    fit = fit_metres(DEPTH, scattered(128))
    with pytest.raises(ImageError, match=r"is of depth \[120, 160\], not \[60, 80\]: fit each"):
        fit.metres(np.ascontiguousarray(DEPTH[::2, ::2]))
    assert fit_metres(DEPTH, scattered(128), field=False).metres(DEPTH[::2, ::2]).shape == (60, 80)
