"""What a robot gets: metres from a few known distances instead of a fit to all pixels.

From each frame's truth anchors are drawn, with noise and outliers; metres then come from scale and
shift alone, from scale and shift with the field (``apdepth_deploy.fit_metres``), and from the
anchors without any model: linear between them, the nearest one's outside.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator
from scipy.spatial import QhullError

import apdepth_deploy
from apdepth_deploy.console import Steps
from apdepth_deploy.errors import DataError, UsageError
from apdepth_deploy.pictures.image import DepthArray

from ..data.eval_sets import EvalSet
from ..data.sample import Sample
from ..metrics import abs_rel
from .models import Model, prediction
from .run import write_results

Floats = NDArray[np.float64]

#: Instead of a number: rows of a scanning LiDAR with so many rings.
RINGS = "rings"
_RING_COUNT, _RING_STEP = 16, 4
#: Ways to metres: results' keys.
WAYS = ("line", "field", "interpolated")
_FLOOR = 1e-3


@dataclasses.dataclass(frozen=True)
class Drawing:
    """How anchors are drawn: ``counts`` of each round ("rings" or a number), noise as a share of
    the distance, outliers as a share of the anchors."""

    counts: tuple[str, ...]
    noise: float
    outliers: float

    def __post_init__(self) -> None:
        for count in self.counts:
            if count != RINGS and not (count.isdecimal() and int(count) >= 2):
                raise UsageError(f"--anchors takes numbers from 2 on, and {RINGS}; not {count!r}")
        if not (0.0 <= self.noise < 1.0 and 0.0 <= self.outliers < 1.0):
            raise UsageError("--anchor-noise and --anchor-outliers are shares, 0 or more, under 1")


def evaluate_anchored(
    model: Model, rules: EvalSet, output: Path, drawing: Drawing, limit: int | None, progress: Steps
) -> dict[str, Any]:
    """Score every frame with every count; write ``results.json`` and return it.

    The same frame has the same anchors in every run. Raises DataError for a frame that is missing
    or damaged, OutputError.
    """
    count = len(rules.dataset) if limit is None else min(limit, len(rules.dataset))
    if count < 1:
        raise UsageError("there must be at least 1 frame")
    scores: dict[str, list[dict[str, float]]] = {each: [] for each in drawing.counts}
    for index in range(count):
        sample = rules.dataset[index]
        if not sample.valid.any():
            raise DataError(f"{sample.name}: no valid pixel")
        depth = prediction(model, sample.image, rules.longer_side)
        for each in drawing.counts:
            rng = np.random.default_rng(index)
            anchors = draw(sample, each, drawing.noise, drawing.outliers, rng)
            scores[each].append(_scored(depth, sample, anchors))
        progress(f"{index + 1} of {count} frames")
    table = {each: _means(found) for each, found in scores.items()}
    results = {
        "model": model.label,
        "set": rules.dataset.name,
        "frames": count,
        "noise": drawing.noise,
        "outliers": drawing.outliers,
        "anchors": table,
    }
    write_results(results, output)
    return results


def draw(
    sample: Sample, count: str, noise: float, outliers: float, rng: np.random.Generator
) -> Floats:
    """x, y, z of anchors, float64 [N,3]: as many as asked for, or as there are valid pixels.

    Outliers lie anywhere from half the nearest to one and a half times the farthest depth.
    """
    y, x = _ring_pixels(sample) if count == RINGS else np.nonzero(sample.valid)
    if count != RINGS and len(x) > int(count):
        chosen = rng.choice(len(x), int(count), replace=False)
        y, x = y[chosen], x[chosen]
    z = sample.depth[y, x] * (1.0 + noise * rng.standard_normal(len(x)))
    near, far = np.quantile(sample.depth[sample.valid], [0.02, 0.98])
    bad = rng.permutation(len(x))[: round(outliers * len(x))]
    z[bad] = rng.uniform(0.5 * near, 1.5 * far, len(bad))
    return np.stack([x, y, np.maximum(z, _FLOOR)], axis=1).astype(np.float64)


def _ring_pixels(sample: Sample) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Every fourth pixel of sixteen rows, from a quarter of the height down."""
    height = sample.depth.shape[0]
    rows = np.linspace(0.25 * height, 0.95 * height, _RING_COUNT).astype(int)
    swept = np.zeros_like(sample.valid)
    swept[rows, ::_RING_STEP] = True
    y, x = np.nonzero(swept & sample.valid)
    return y, x


def _scored(depth: DepthArray, sample: Sample, anchors: Floats) -> dict[str, float]:
    """AbsRel of each way, and the share of pixels that the field's metres are known at."""
    line = apdepth_deploy.fit_metres(depth, anchors, field=False).metres(depth)
    field = apdepth_deploy.fit_metres(depth, anchors).metres(depth)
    ways: tuple[NDArray[Any], ...] = line, field, interpolate(anchors, depth.shape)
    found = {way: _abs_rel(metres, sample) for way, metres in zip(WAYS, ways, strict=True)}
    return {**found, "known": float(np.isfinite(field[sample.valid]).mean())}


def _abs_rel(metres: NDArray[Any], sample: Sample) -> float:
    """Over the valid pixels that are known; NaN where none is."""
    known = sample.valid & np.isfinite(metres)
    if not known.any():
        return float("nan")
    return abs_rel(np.maximum(np.where(known, metres, 1.0), _FLOOR), sample.depth, known)


def interpolate(anchors: Floats, shape: tuple[int, ...]) -> Floats:
    """Metres [H,W] from anchors alone."""
    places, z = anchors[:, :2], anchors[:, 2]
    y, x = np.indices(shape[:2])
    nearest: Floats = NearestNDInterpolator(places, z)(x, y)
    try:
        between = LinearNDInterpolator(places, z)(x, y)
    except QhullError:  # too few, or all on one line
        return nearest
    return np.where(np.isfinite(between), between, nearest)


def _means(found: list[dict[str, float]]) -> dict[str, float]:
    return {
        key: float(np.nanmean([one[key] for one in found]))
        if np.isfinite([one[key] for one in found]).any()
        else float("nan")
        for key in found[0]
    }
