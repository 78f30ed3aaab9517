"""Scale and shift from anchors: z = s d + t, robust to anchors that are wrong.

Residuals are in units of each anchor's own sigma: r = (s d + t - z) / sigma. First a consensus: of
lines through pairs of anchors the one with the least sum of min(r^2, T^2), at the smallest
tolerance T at which half of the anchors agree, and some more where they are few. Then Tukey's
biweight, w = (1 - (r / c k)^2)^2 inside of c k, by weighted least squares until nothing moves; k is
the spread of those that agree, 1.5 times their median |r| (Huber and Ronchetti, Robust Statistics,
2009, ch. 7). No random numbers: pairs come from a fixed sequence.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Lines tried, and anchors that they are tried on.
_PAIRS, _JUDGES = 400, 200
#: T, smallest first: what the sensor promises, and coarser where the model's own error is larger.
_TOLERANCES = (2.5, 5.0, 10.0, 20.0, 40.0, 80.0)
#: So many must agree: half of them, and what may agree by chance where they are few.
_HALF, _CHANCE, _MOST_NEEDED = 0.5, 0.7, 0.75
#: Tukey's constant: 95 % of the efficiency of least squares where noise is Gaussian.
_TUKEY = 4.685
#: Rounds at most, and those that measure the spread anew: in all of them it would dwindle.
_ROUNDS, _SPREADS = 15, 3
#: Relative depths nearer than this give no line.
_SAME_DEPTH = 1e-6


class Line(NamedTuple):
    """z = scale d + shift. ``spread``: of the residuals, in sigmas. ``weights`` [N]: 0 to 1 over
    sigma squared."""

    scale: float
    shift: float
    spread: float
    weights: Floats


def robust_line(d: Floats, z: Floats, sigma: Floats) -> Line | None:
    """The line through most of the anchors. None where no two of them give one that rises.

    Args:
        d: relative depth at the anchors, [N]; z, sigma: metres.
    """
    start = _consensus(d, z, sigma)
    if start is None:
        return None
    (scale, shift), spread = start[:2], start[2] / _TOLERANCES[0]
    precision = 1.0 / (sigma * sigma)
    weights = precision
    for number in range(_ROUNDS):
        r = (scale * d + shift - z) / sigma
        if number < _SPREADS:
            near = np.abs(r)[np.abs(r) <= _TOLERANCES[0] * spread]
            if len(near) < 2:
                break
            spread = max(1.5 * float(np.median(near)), 1e-9)
        u = np.minimum(np.abs(r) / (_TUKEY * spread), 1.0)
        weights = (1.0 - u * u) ** 2 * precision
        found = _least_squares(d, z, weights)
        if found is None or found[0] <= 0.0:
            break
        moved = abs(found[0] - scale) + abs(found[1] - shift)
        scale, shift = found
        if moved < 1e-12 * (abs(scale) + abs(shift)):
            break
    return Line(scale, shift, spread, weights)


def _consensus(d: Floats, z: Floats, sigma: Floats) -> tuple[float, float, float] | None:
    """(scale, shift, tolerance)."""
    first, second = _pairs(len(d))
    rise = d[second] - d[first]
    usable = np.abs(rise) > _SAME_DEPTH
    first, second, rise = first[usable], second[usable], rise[usable]
    scale = (z[second] - z[first]) / rise
    shift = z[first] - scale * d[first]
    scale, shift = scale[scale > 0.0], shift[scale > 0.0]
    if not len(scale):
        return None
    judges = evenly(len(d), _JUDGES)
    r = np.abs(np.outer(scale, d[judges]) + shift[:, None] - z[judges]) / sigma[judges]
    enough = min(_HALF + _CHANCE / np.sqrt(len(d)), _MOST_NEEDED) * len(judges)
    for tolerance in _TOLERANCES:
        cost = np.square(np.minimum(r, tolerance)).sum(axis=1)
        best = int(cost.argmin())
        if np.count_nonzero(r[best] < tolerance) >= enough:
            break
    return float(scale[best]), float(shift[best]), tolerance


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """Numbers of ``most`` of ``count`` things, evenly spread; all of them where there are fewer."""
    taken = min(count, most)
    return np.arange(taken, dtype=np.int64) * count // taken


@functools.lru_cache(maxsize=64)
def _pairs(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All pairs of so many anchors, or ``_PAIRS`` of them from a linear congruential sequence."""
    if count * (count - 1) // 2 <= _PAIRS:
        first, second = np.triu_indices(count, 1)
        return first.astype(np.int64), second.astype(np.int64)
    state, drawn = 12345, []
    for _ in range(2 * _PAIRS):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        drawn.append((state >> 8) % count)
    return np.array(drawn[::2]), np.array(drawn[1::2])


def _least_squares(d: Floats, z: Floats, weights: Floats) -> tuple[float, float] | None:
    total = float(weights.sum())
    if total <= 0.0:
        return None
    d_mean, z_mean = float(weights @ d) / total, float(weights @ z) / total
    away = d - d_mean
    square = float((weights * away) @ away)
    if square <= _SAME_DEPTH**2 * total:
        return None
    scale = float((weights * away) @ (z - z_mean)) / square
    return scale, z_mean - scale * d_mean


def covariance_of(d: Floats, sigma: Floats, line: Line) -> Floats:
    """Of (scale, shift), [2,2]: what the anchors with a weight leave open, at the spread that was
    found, as if four anchors more had spread as promised."""
    w = (line.weights > 0.0) / np.square(sigma)
    information = np.array([[(w * d) @ d, w @ d], [w @ d, w.sum()]])
    determinant = float(information[0, 0] * information[1, 1] - information[0, 1] ** 2)
    if determinant <= 0.0:
        return np.full((2, 2), np.inf)
    inverse = np.array(
        [[information[1, 1], -information[0, 1]], [-information[0, 1], information[0, 0]]]
    )
    spread = (4.0 + len(d) * line.spread**2) / (4.0 + len(d))
    return inverse / determinant * spread
