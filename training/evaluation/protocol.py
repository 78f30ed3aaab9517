"""How one prediction is scored: aligned in depth, clipped, compared (paper, 4.1)."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from apdepth_deploy.pictures.image import DepthArray

from ..data.eval_sets import EvalSet
from ..data.sample import MaskArray, Sample
from ..metrics import abs_rel, align_least_squares, boundary_f1, delta

_FLOOR = 1e-6


@dataclasses.dataclass(frozen=True)
class Score:
    """One frame's results.

    Attributes:
        abs_rel, delta1, boundary_f1: see ``metrics``.
        plane_abs_rel: AbsRel of the plane through image coordinates that is nearest to the truth:
            what a guess without a look at the picture can reach.
    """

    abs_rel: float
    delta1: float
    boundary_f1: float
    plane_abs_rel: float


def score(predicted: DepthArray, sample: Sample, rules: EvalSet) -> Score:
    """A prediction of the sample's size, up to scale and shift, against its depth.

    Raises DataError where the sample has no valid pixel.
    """
    depth, valid = sample.depth, sample.valid
    aligned = align(predicted, sample, rules)
    plane = _within(_nearest_plane(depth, valid), rules)
    return Score(
        abs_rel(aligned, depth, valid),
        delta(aligned, depth, valid),
        boundary_f1(aligned, depth, valid),
        abs_rel(plane, depth, valid),
    )


def align(predicted: DepthArray, sample: Sample, rules: EvalSet) -> NDArray[np.float64]:
    """The prediction in metres: scaled and shifted by least squares, then clipped to the range."""
    fitted = (_at_most(x, rules.fit_side) for x in (predicted, sample.depth, sample.valid))
    scale, shift = align_least_squares(*fitted)
    return _within(scale * predicted.astype(np.float64) + shift, rules)


def _within(depth: NDArray[np.float64], rules: EvalSet) -> NDArray[np.float64]:
    return np.maximum(np.clip(depth, rules.min_depth, rules.max_depth), _FLOOR)


def _at_most(values: NDArray, side: int | None) -> NDArray:  # type: ignore[type-arg]
    """A map brought to at most ``side`` pixels by nearest neighbours."""
    rows, columns = values.shape
    if side is None or max(rows, columns) <= side:
        return values
    scale = max(rows, columns) / side
    y = (np.arange(round(rows / scale)) * scale).astype(int)
    x = (np.arange(round(columns / scale)) * scale).astype(int)
    picked: NDArray = values[y[:, None], x[None]]  # type: ignore[type-arg]
    return picked


def _nearest_plane(depth: DepthArray, valid: MaskArray) -> NDArray[np.float64]:
    rows, columns = (axis / max(depth.shape) for axis in np.indices(depth.shape))
    terms = np.stack([rows, columns, np.ones_like(rows)], axis=-1)
    factors = np.linalg.lstsq(terms[valid], depth[valid].astype(np.float64), rcond=None)[0]
    plane: NDArray[np.float64] = terms @ factors
    return plane
