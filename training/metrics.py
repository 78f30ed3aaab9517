"""How near a depth map is to the truth, in numpy and float64 (paper, 4.1).

``pred``, ``gt``: [H,W]; ``mask``: bool [H,W], the pixels that count, where gt is above 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from apdepth_deploy.errors import DataError

from .data.sample import MaskArray

Values = NDArray[np.floating[Any]]


def align_least_squares(pred: Values, gt: Values, mask: MaskArray) -> tuple[float, float]:
    """Scale and shift that bring ``pred`` nearest to ``gt``, in depth (paper, 4.1).

    A constant prediction has scale 0 and the mean depth as shift. Raises DataError.
    """
    x, y = _counted(pred, gt, mask)
    mean_x, mean_y = x.mean(), y.mean()
    centred = x - mean_x
    spread = float(centred @ centred)
    if spread <= 1e-24 * max(float(x @ x), 1e-300):
        return 0.0, float(mean_y)
    scale = float(centred @ (y - mean_y)) / spread
    return scale, float(mean_y - scale * mean_x)


def abs_rel(pred: Values, gt: Values, mask: MaskArray) -> float:
    """Mean of |pred - gt| / gt. Raises DataError."""
    x, y = _counted(pred, gt, mask)
    return float(np.mean(np.abs(x - y) / y))


def delta(pred: Values, gt: Values, mask: MaskArray, threshold: float = 1.25) -> float:
    """Share of pixels with max(pred / gt, gt / pred) < threshold. Raises DataError; pred > 0."""
    x, y = _counted(pred, gt, mask)
    if x.min() <= 0:
        raise DataError("delta is a ratio: the prediction must be above 0")
    return float(np.mean(np.maximum(x / y, y / x) < threshold))


def boundary_f1(pred: Values, gt: Values, mask: MaskArray, ratio: float = 1.15) -> float:
    """F1 of occluding edges: neighbours whose depths differ by more than ``ratio``.

    Depth Pro (arXiv:2410.02073), 4.2, at one threshold and for both directions together. 1 where
    neither has an edge. Raises DataError.
    """
    _counted(pred, gt, mask)
    there, found = (_edges(np.asarray(d, dtype=np.float64), mask, ratio) for d in (gt, pred))
    hits = float(np.sum(there & found))
    return 2 * hits / max(float(there.sum() + found.sum()), 1.0) if (there | found).any() else 1.0


def _edges(depth: NDArray[np.float64], mask: MaskArray, ratio: float) -> MaskArray:
    """bool, one for each pair of neighbours and direction: the second is farther by ``ratio``."""
    depth = np.maximum(depth, 1e-6)
    pairs = []
    for axis in (0, 1):
        first, second = (np.take(depth, _part(depth, axis, end), axis) for end in (0, 1))
        both = np.take(mask, _part(depth, axis, 0), axis) & np.take(
            mask, _part(depth, axis, 1), axis
        )
        pairs += [(second / first > ratio) & both, (first / second > ratio) & both]
    return np.concatenate([pair.ravel() for pair in pairs])


def _part(depth: NDArray[np.float64], axis: int, start: int) -> NDArray[np.int64]:
    return np.arange(depth.shape[axis] - 1) + start


def _counted(
    pred: Values, gt: Values, mask: MaskArray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The pixels that count, as float64. Raises DataError where there are none, or they can't."""
    if not pred.shape == gt.shape == mask.shape:
        raise DataError(f"pred {pred.shape}, gt {gt.shape} and mask {mask.shape} differ in shape")
    counts = np.asarray(mask, dtype=bool)
    x, y = pred[counts].astype(np.float64), gt[counts].astype(np.float64)
    if y.size == 0:
        raise DataError("no pixel counts: the mask is empty")
    if y.min() <= 0:
        raise DataError("the true depth must be above 0 wherever the mask is set")
    if not np.isfinite(x).all():
        raise DataError("the prediction is not finite")
    return x, y
