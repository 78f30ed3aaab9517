"""Metres from the ground that a camera stands above: its height is the yardstick.

In the camera's frame (x right, y down, z forward) a pixel's ray is r = K^-1 (x, y, 1) and up is u.
A ground pixel lies at z = -h / (u . r), where u . r < 0. Those z, over the lower middle of the
frame, are anchors; which of them are ground is left to the robust fit. An error of dp in pitch
moves z by z^2 dp / h, a part of their sigma; and as z then bends over relative depth, which a true
plane doesn't, pitch and roll are taken, within two degrees, for which the line fits best.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from apdepth_deploy.errors import UsageError

from .camera import Camera
from .fit import Floats
from .metres import Depth, Fit, check_depth, fit_metres, no_fit

Pixels = NDArray[np.intp]

#: Ground is looked for in these shares of the width and from this share of the height down.
_COLUMNS, _TOP = (0.15, 0.85), 0.5
#: Up to this distance, in camera heights; beyond, a degree of pitch is a third of it.
_FARTHEST = 12.0
_SAMPLES = 600
#: What height and pitch are known to: a share, and an angle.
_HEIGHT_ERROR, _PITCH_ERROR = 0.02, math.radians(1.0)
#: Degrees that pitch and roll are tried at beside what was told; how far they are out; how many
#: samples tell something of their own.
_TURNS = tuple(k / 4.0 for k in range(-8, 9))
_ANGLE_SIGMA, _INDEPENDENT = 1.0, 60
#: So many of the samples must be ground, over such a ratio of distances, told to so much.
_LEAST_GROUND, _LEAST_RATIO, _MOST_ERROR = 0.5, 1.5, 0.08
#: Pixels this much behind the ground lie below it; so many of them speak against it.
_BELOW, _MOST_BELOW = 1.25, 0.08


def up_vector(pitch: float, roll: float = 0.0) -> Floats:
    """Up in the camera's frame, [3].

    Args:
        pitch: degrees that the camera looks down; roll: degrees that it is turned clockwise, as
        seen from behind it.
    """
    p, r = math.radians(pitch), math.radians(roll)
    return np.array([-math.sin(r) * math.cos(p), -math.cos(r) * math.cos(p), -math.sin(p)])


def fit_ground(depth: Depth, camera: Camera, height: float, up: Floats) -> Fit:
    """Scale and shift of one frame from the ground in it.

    Args:
        depth: relative, float32 [H,W]; camera: of a picture of that size.
        height: metres of the camera above the ground, to 2 %; up: unit vector in the camera's
        frame, to a degree: ``up_vector``, or what an inertial sensor says.

    Returns a ``Fit`` without a field; not ``valid`` where what is seen doesn't look like ground.

    Raises ImageError for depth, UsageError for a height or a vector that can't be.
    """
    check_depth(depth)
    if not 0.0 < height < math.inf:
        raise UsageError(f"the camera's height must be above 0 m, not {height}")
    up = np.asarray(up, np.float64)
    if up.shape != (3,) or not abs(float(np.linalg.norm(up)) - 1.0) < 1e-3:
        raise UsageError("up must be a unit vector of three numbers in the camera's frame")
    x, y = _samples(ground_depth(depth.shape, camera, height, up), height)
    if len(x) < 20:
        return no_fit("no ground is in view below the horizon: check pitch and intrinsics")
    pitch = roll = 0.0
    for turn_roll in (False, True, False):
        around = [(pitch, turn) if turn_roll else (turn, roll) for turn in _TURNS]
        tries = [_fit_at(depth, camera, height, turned(up, *angles), x, y) for angles in around]
        costs = [_cost(fit, *angles) for fit, angles in zip(tries, around, strict=True)]
        best = int(np.argmin(costs))
        (pitch, roll), fit = around[best], tries[best]
    if not fit.valid:
        return dataclasses.replace(fit, why=f"no ground in view: {fit.why}")
    ground = ground_depth(depth.shape, camera, height, turned(up, pitch, roll))
    why = _why_no_ground(fit, depth, ground, (y, x), _FARTHEST * height)
    return dataclasses.replace(fit, valid=not why, why=why)


def turned(up: Floats, pitch: float, roll: float) -> Floats:
    """``up`` of a camera that looks so many degrees further down, and is turned clockwise by so
    many."""
    cos, sin = math.cos(math.radians(pitch)), math.sin(math.radians(pitch))
    x, y, z = up[0], cos * up[1] - sin * up[2], sin * up[1] + cos * up[2]
    cos, sin = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    return np.array([cos * x + sin * y, cos * y - sin * x, z])


def _fit_at(depth: Depth, camera: Camera, height: float, up: Floats, x: Pixels, y: Pixels) -> Fit:
    """The fit to the samples x, y of the ground."""
    z = _ground_at(x, y, camera, height, up)
    sigma = _HEIGHT_ERROR * z + _PITCH_ERROR * z * z / height
    return fit_metres(depth, np.stack([x, y, z, sigma], axis=1), field=False)


def _cost(fit: Fit, pitch: float, roll: float) -> float:
    """Twice a log likelihood: of the samples, as many as are independent, and of the angles."""
    spread = fit.median_error if fit.valid else 1.0
    told = (pitch**2 + roll**2) / _ANGLE_SIGMA**2
    return 2.0 * _INDEPENDENT * math.log(spread + 0.002) + told


def ground_depth(
    shape: tuple[int, ...], camera: Camera, height: float, up: Floats
) -> NDArray[np.float64]:
    """z of the ground at every pixel, [H,W]; infinite at the horizon and above."""
    return _ground_at(np.arange(shape[1]), np.arange(shape[0])[:, None], camera, height, up)


def _ground_at(x: Pixels, y: Pixels, camera: Camera, height: float, up: Floats) -> Floats:
    """The same at pixels x, y, of shapes that broadcast."""
    across = (x.astype(np.float64) - camera.cx) / camera.fx
    down = (y.astype(np.float64) - camera.cy) / camera.fy
    fall = -(up[0] * across + (up[1] * down + up[2]))
    with np.errstate(divide="ignore"):
        return np.where(fall > 0.0, height / fall, np.inf)


def _samples(ground: NDArray[np.float64], height: float) -> tuple[Pixels, Pixels]:
    """x, y of pixels that would be ground, spread over where it is looked for."""
    rows, columns = ground.shape
    left, right = (round(share * columns) for share in _COLUMNS)
    top = round(_TOP * rows)
    step = max(1, math.isqrt((rows - top) * (right - left) // _SAMPLES))
    y, x = np.mgrid[top:rows:step, left:right:step].reshape(2, -1)
    near = ground[y, x] < _FARTHEST * height
    return x[near], y[near]


def _why_no_ground(
    fit: Fit, depth: Depth, ground: NDArray[np.float64], places: tuple[Pixels, Pixels], far: float
) -> str:
    """The reason, or "". ``places``: y, x of the samples; ``far``: to where ground is looked at."""
    z, seen = ground[places], ground < far
    told = fit.scale * depth[places].astype(np.float64) + fit.shift
    fits = np.abs(told - z) < 3.0 * _MOST_ERROR * z
    share = float(fits.mean())
    if share < _LEAST_GROUND:
        return f"only {100 * share:.0f} % of the lower middle of the frame lies like ground"
    if fit.median_error > _MOST_ERROR:
        return f"what lies below is no plane: half of it is off by {100 * fit.median_error:.0f} %"
    if z[fits].max() < _LEAST_RATIO * z[fits].min():
        return "too little ground is in view, all of it at one distance"
    behind = fit.scale * depth[seen] + fit.shift > _BELOW * ground[seen]
    below = float(np.mean(behind))
    if below > _MOST_BELOW:
        return f"{100 * below:.0f} % of the frame would lie below the ground: is it a table?"
    return ""
