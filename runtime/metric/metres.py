"""Relative depth to metres, from anchors: pixels whose distance along the optical axis is known.

Depth is affine-invariant: scale and shift belong to one frame, and are fitted for each
(``fit.py``); what they can't mend is mended near the anchors (``field.py``).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apdepth_deploy.errors import ImageError, UsageError

from .field import Field, fit_field
from .fit import Floats, covariance_of, robust_line

Depth = NDArray[np.float32]

#: Sigma of an anchor that doesn't say: so many metres, and so much of its distance.
SIGMA = 0.02, 0.02
#: An anchor in whose 3x3 pixels depth changes by more than this share of the frame's range counts
#: so much: a range sensor and a camera disagree at edges.
EDGE, EDGE_TRUST = 0.02, 0.1
#: Anchors agree within so many sigmas, or so many times their spread where that is larger.
_AGREE = 3.0
#: Fits are not valid where fewer anchors agree, or with a larger median error. (A model's own
#: error may set right anchors apart, too.)
_LEAST_AGREE, _MOST_ERROR = 0.3, 0.3
#: Metres are not known where their sigma is more than this share of them.
MOST_UNSURE = 0.5


@dataclasses.dataclass(frozen=True)
class Fit:
    """z = (scale d + shift) exp(field), of one frame.

    Attributes:
        scale: metres for the whole range of relative depth, above 0; shift: metres at 0.
        covariance: of (scale, shift), float64 [2,2].
        anchors: how many could be used; inliers: how many of them agree.
        median_error: median |scale d + shift - z| / z of the inliers.
        reach: relative depth from .. to, around the anchors', where the sigma of metres is under
            ``MOST_UNSURE`` of them; beyond, the anchors don't tell.
        valid: whether ``metres`` gives any; why: the reason where it doesn't, or "".
        field: the local correction, or None; its ``error`` is what left-out anchors say.
    """

    scale: float
    shift: float
    covariance: Floats
    anchors: int
    inliers: int
    median_error: float
    reach: tuple[float, float]
    valid: bool
    why: str
    field: Field | None = None

    def metres(self, depth: Depth) -> Depth:
        """float32 [H,W] relative -> float32 [H,W] metres along the optical axis, NaN where it is
        not known: all of it where the fit isn't valid.

        Raises ImageError for another shape than the fit's, where it has a field.
        """
        check_depth(depth)
        if not self.valid:
            return np.full(depth.shape, np.nan, np.float32)
        z = depth * np.float32(self.scale)
        z += np.float32(self.shift)
        if self.field is not None:
            if self.field.shape != depth.shape:
                raise ImageError(
                    f"the fit is of depth {list(self.field.shape)}, not {list(depth.shape)}: "
                    "fit each frame, or pass field=False to fit_metres"
                )
            over = self.field.over()
            z *= np.exp(over, out=over)
        z[~((z > 0.0) & (z < np.inf))] = np.nan
        low, high = self.reach
        if low > 0.0 or high < 1.0:
            z[(depth < np.float32(low)) | (depth > np.float32(high))] = np.nan
        return z

    def to_json(self) -> dict[str, Any]:
        """What a program may log: numbers as they are, None where there are none."""
        told = {
            "scale": self.scale,
            "shift": self.shift,
            "scale_sigma": math.sqrt(max(float(self.covariance[0, 0]), 0.0)),
            "shift_sigma": math.sqrt(max(float(self.covariance[1, 1]), 0.0)),
            "median_error": self.median_error,
            "reach_low": self.reach[0],
            "reach_high": self.reach[1],
            "held_out_error": math.nan if self.field is None else self.field.error,
        }
        numbers = {k: (v if math.isfinite(v) else None) for k, v in told.items()}
        counts = {"anchors": self.anchors, "inliers": self.inliers}
        return {"valid": self.valid, "why": self.why, **numbers, **counts}


def no_fit(why: str, anchors: int = 0) -> Fit:
    """A fit that isn't valid."""
    unknown = np.full((2, 2), np.nan)
    return Fit(math.nan, math.nan, unknown, anchors, 0, math.nan, (math.nan,) * 2, False, why)


def fit_metres(depth: Depth, anchors: Any, field: bool = True) -> Fit:
    """Scale, shift and local correction of one frame. Robust to 40 % of anchors that are wrong.

    Args:
        depth: relative, float32 [H,W], 0 near .. 1 far.
        anchors: numbers [N,3] or [N,4]: x, y (pixels, centres at whole numbers, x right, y down),
            z (metres along the optical axis), sigma (metres; by default 0.02 + 2 % of z). Those
            that can't be used (not finite, z or sigma not above 0, outside of the frame, where
            depth is not finite) are left out.
        field: correct locally, too, where anchors that are left out say that it helps.

    Returns a ``Fit``; without anchors that suffice one that isn't ``valid``, and says why.

    Raises ImageError for depth, UsageError for anchors of another type or shape.
    """
    check_depth(depth)
    x, y, z, sigma = _usable(_columns(anchors), depth.shape)
    d = read_bilinear(depth, x, y)
    known = np.isfinite(d)
    if not known.all():
        x, y, z, sigma, d = x[known], y[known], z[known], sigma[known], d[known]
    count = len(d)
    if count < 2:
        return no_fit(f"a scale and a shift need two anchors in the frame, not {count}", count)
    if float(np.ptp(d)) < 1e-4:
        return no_fit(
            f"all {count} anchors lie at one relative depth ({d[0]:.3f}), which tells no scale: "
            "anchors must be nearer and farther ones",
            count,
        )
    sigma = sigma / np.sqrt(_edge_trust(depth, x, y))
    line = robust_line(d, z, sigma)
    if line is None:
        return no_fit("farther anchors lie nearer in the picture: are x, y and z right?", count)
    told = line.scale * d + line.shift
    inlier = np.abs(told - z) <= _AGREE * max(line.spread, 1.0) * sigma
    if not inlier.any():
        return no_fit("no anchors agree on a scale and a shift", count)
    error = float(np.median(np.abs(told - z)[inlier] / z[inlier]))
    covariance = covariance_of(d, sigma, line)
    reach = _reach(line.scale, line.shift, covariance, float(np.median(d[inlier])))
    agreed = int(inlier.sum())
    fit = Fit(line.scale, line.shift, covariance, count, agreed, error, reach, True, "")
    why = _why_not(fit)
    if why:
        return dataclasses.replace(fit, valid=False, why=why)
    ahead = told > 0.0
    if field:
        rho = np.log(z[ahead] / told[ahead])
        trust = np.square(_promised(z[ahead]) / sigma[ahead]).clip(0.0, 1.0)
        found = fit_field(depth, x[ahead], y[ahead], d[ahead], rho, trust)
        return dataclasses.replace(fit, field=found)
    return fit


def _why_not(fit: Fit) -> str:
    if fit.inliers < _LEAST_AGREE * fit.anchors:
        return f"only {fit.inliers} of {fit.anchors} anchors agree on a scale and a shift"
    if fit.median_error > _MOST_ERROR:
        return (
            f"anchors and picture don't go together: half of the anchors are off by "
            f"{100 * fit.median_error:.0f} % or more"
        )
    return ""


def _reach(scale: float, shift: float, covariance: Floats, middle: float) -> tuple[float, float]:
    """See ``Fit.reach``: to 1/64 from the ``middle`` of the anchors' relative depths on."""
    d = np.arange(65) / 64.0
    variance = covariance[0, 0] * d * d + 2.0 * covariance[0, 1] * d + covariance[1, 1]
    unsure = variance > np.square(MOST_UNSURE * np.maximum(scale * d + shift, 0.0))
    ahead = scale * d + shift > 0.0
    below, above = d[unsure & ahead & (d < middle)], d[unsure & ahead & (d >= middle)]
    return float(below.max(initial=0.0)), float(above.min(initial=1.0))


def check_depth(depth: Any) -> None:
    """Raises ImageError unless it is float32 [H,W] of 2x2 or more."""
    if not isinstance(depth, np.ndarray) or depth.dtype != np.float32 or depth.ndim != 2:
        found = f"{depth.dtype} {list(depth.shape)}" if isinstance(depth, np.ndarray) else depth
        raise ImageError(
            f"relative depth must be float32 [H,W], as predictors give it, not {found}"
        )
    if min(depth.shape) < 2:
        raise ImageError(f"relative depth of {list(depth.shape)} is no picture's")


def _columns(anchors: Any) -> tuple[Floats, Floats, Floats, Floats]:
    """x, y, z, sigma, float64 [N]."""
    try:
        rows = np.asarray(anchors, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError("anchors must be numbers [N,3] or [N,4]: x, y, z, sigma") from None
    if rows.size == 0:
        rows = rows.reshape(0, 3)
    if rows.ndim != 2 or rows.shape[1] not in (3, 4):
        raise UsageError(
            f"anchors must be numbers [N,3] or [N,4]: x, y, z, sigma; not {list(rows.shape)}"
        )
    x, y, z = rows[:, 0], rows[:, 1], rows[:, 2]
    return x, y, z, rows[:, 3] if rows.shape[1] == 4 else _promised(z)


def _promised(z: Floats) -> Floats:
    """Sigma of anchors that don't say."""
    return SIGMA[0] + SIGMA[1] * z


def _usable(
    columns: tuple[Floats, Floats, Floats, Floats], shape: tuple[int, ...]
) -> tuple[Floats, Floats, Floats, Floats]:
    x, y, z, sigma = columns
    keep = np.isfinite(z) & (z > 0.0) & np.isfinite(sigma) & (sigma > 0.0)
    keep &= (x >= -0.5) & (x < shape[1] - 0.5) & (y >= -0.5) & (y < shape[0] - 0.5)
    return x[keep], y[keep], z[keep], sigma[keep]


def read_bilinear(depth: Depth, x: Floats, y: Floats) -> Floats:
    """float64 [N] at pixels x, y; beyond the outer centres the outer value."""
    height, width = depth.shape
    x, y = np.clip(x, 0.0, width - 1.0), np.clip(y, 0.0, height - 1.0)
    column = np.minimum(x.astype(np.intp), width - 2)
    row = np.minimum(y.astype(np.intp), height - 2)
    right, down = x - column, y - row
    with np.errstate(invalid="ignore"):  # beside an infinite pixel it is NaN
        upper = depth[row, column] * (1.0 - right) + depth[row, column + 1] * right
        lower = depth[row + 1, column] * (1.0 - right) + depth[row + 1, column + 1] * right
        read: Floats = upper * (1.0 - down) + lower * down
    return read


def _edge_trust(depth: Depth, x: Floats, y: Floats) -> Floats:
    """1, or ``EDGE_TRUST`` where depth has an edge, [N]."""
    height, width = depth.shape
    seen = depth[::4, ::4]
    span = float(np.fmax.reduce(seen, axis=None)) - float(np.fmin.reduce(seen, axis=None))
    column = np.clip(np.rint(x).astype(np.intp), 1, max(width - 2, 1))
    row = np.clip(np.rint(y).astype(np.intp), 1, max(height - 2, 1))
    low = high = depth[row, np.minimum(column, width - 1)]
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            near = depth[np.minimum(row + down, height - 1), np.minimum(column + right, width - 1)]
            low, high = np.fmin(low, near), np.fmax(high, near)
    with np.errstate(invalid="ignore"):  # among infinite pixels there is no edge
        return np.where(high - low > EDGE * span, EDGE_TRUST, 1.0)
