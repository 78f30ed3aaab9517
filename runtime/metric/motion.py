"""How far a picture has moved as a whole since the last one: numpy, whole numbers, no FFT.

    G_1 = R + G + B of 2x2 pixels, summed; G_k+1 = G_k summed over 2x2       int32, exact
    D_k(v) = mean over the overlap of |G_k,new(p) - G_k,last(p - v)|
    v_4 = argmin D_4 over |v| <= 3 and a quarter of the picture;
    v_3 = argmin D_3 around 2 v_4; v_2 likewise around 2 v_3
    u        least squares of i + g u = 0, i = G_2,new(p) - G_2,last(p - v_2), g the gradient of
             their mean, both averaged over 2x2 of their pixels; |u| <= 1
    v = 4 (v_2 + u)

The least squares run four times: where |i| < 48 levels, then where |i + g u| < 6 levels by the u of
the time before, so that things with a motion of their own don't count. Sums are int64 and float64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.int32]
Values = NDArray[np.float64]
#: G_2, G_3 and G_4 of one picture.
Pyramid = tuple[Grey, Grey, Grey]

_REACH = 3
#: 48 and 6 of 255, in a sum of 4x4 pixels and three channels.
_FIRST, _LATER = 48 * 4 * 4 * 3, 6 * 4 * 4 * 3
_ROUNDS = 4


def pyramid(halves: Grey) -> Pyramid:
    """The levels below ``halves``, which is G_1 [H/2,W/2]; odd rows and columns at the end drop."""
    second = _halved(halves)
    third = _halved(second)
    return second, third, _halved(third)


def motion(new: Pyramid, last: Pyramid) -> tuple[float, float]:
    """(down, right) in pixels that the picture moved by: new(p) = last(p - v)."""
    moved = (0, 0)
    for level, reach in ((2, _REACH), (1, 1), (0, 1)):
        moved = _nearest(new[level], last[level], (2 * moved[0], 2 * moved[1]), reach)
    down, right = _rest(*overlap(new[0], last[0], *moved))
    return 4 * (moved[0] + down), 4 * (moved[1] + right)


def overlap(new: Grey, last: Grey, down: int, right: int) -> tuple[Grey, Grey]:
    """The parts of two pictures that lie on each other when the last is moved."""
    height, width = new.shape
    top, left = max(down, 0), max(right, 0)
    bottom, end = height + min(down, 0), width + min(right, 0)
    return new[top:bottom, left:end], last[top - down : bottom - down, left - right : end - right]


def _halved(grey: Grey) -> Grey:
    height, width = grey.shape[0] // 2 * 2, grey.shape[1] // 2 * 2
    rows = grey[0:height:2, :width] + grey[1:height:2, :width]
    return rows[:, 0::2] + rows[:, 1::2]


def _nearest(new: Grey, last: Grey, about: tuple[int, int], reach: int) -> tuple[int, int]:
    """The shift of the smallest difference; ``about`` itself where none is smaller."""
    limit = [side // 4 for side in new.shape]
    steps = sorted(range(-reach, reach + 1), key=abs)
    best, found = np.inf, (0, 0)
    for down in (about[0] + step for step in steps):
        for right in (about[1] + step for step in steps):
            if abs(down) <= limit[0] and abs(right) <= limit[1]:
                here, there = overlap(new, last, down, right)
                difference = int(np.abs(here - there).sum(dtype=np.int64)) / here.size
                if difference < best:
                    best, found = difference, (down, right)
    return found


def _rest(new: Grey, last: Grey) -> tuple[float, float]:
    """The part of a pixel of this level that is left, at most 1: one step of Lucas and Kanade."""
    if min(new.shape) < 2:
        return 0.0, 0.0
    both, change = new + last, new - last
    upper, lower = both[:-1], both[1:]
    down = (lower - upper)[:, 1:] + (lower - upper)[:, :-1]
    sums = upper + lower
    right = sums[:, 1:] - sums[:, :-1]
    pairs = change[:-1] + change[1:]
    late = (pairs[:, 1:] + pairs[:, :-1]) * 0.25
    down, right = down * 0.25, right * 0.25
    late, down, right = (values.ravel().astype(np.float64) for values in (late, down, right))
    counts, found = np.abs(late) < _FIRST, (0.0, 0.0)
    for _ in range(_ROUNDS):
        found = _least_squares(late[counts], down[counts], right[counts])
        counts = np.abs(late + found[0] * down + found[1] * right) < _LATER
    return found


def _least_squares(late: Values, down: Values, right: Values) -> tuple[float, float]:
    a, b, c = float(down @ down), float(down @ right), float(right @ right)
    determinant = a * c - b * b
    if determinant <= 1e-3 * (a + c) ** 2 / 4:
        return 0.0, 0.0  # no texture, or of one direction only
    p, q = float(down @ late), float(right @ late)
    down_by, right_by = (b * q - c * p) / determinant, (b * p - a * q) / determinant
    return min(max(down_by, -1.0), 1.0), min(max(right_by, -1.0), 1.0)
