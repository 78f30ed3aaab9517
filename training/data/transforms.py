"""What is done to a sample before a network sees it. No torch: it runs where the data is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from apdepth_deploy.errors import DataError
from apdepth_deploy.pictures.image import DepthArray

from .sample import MaskArray, Sample

_Change = Callable[[Any], Any]

#: Fewer known pixels than this say nothing of a frame's depth.
MIN_VALID = 16


def flip(sample: Sample) -> Sample:
    """The sample in a mirror."""
    return _each(sample, lambda array: np.ascontiguousarray(array[:, ::-1]))


def crop(sample: Sample, top: int, left: int, height: int, width: int) -> Sample:
    """A window of the sample."""
    return _each(sample, lambda array: array[top : top + height, left : left + width])


def random_crop(sample: Sample, height: int, width: int, rng: np.random.Generator) -> Sample:
    """A window of that size, anywhere in the sample."""
    rows, columns = sample.depth.shape
    top, left = rng.integers(rows - height + 1), rng.integers(columns - width + 1)
    return crop(sample, int(top), int(left), height, width)


def resize_sample(sample: Sample, height: int, width: int) -> Sample:
    """The sample at another size: the picture antialiased, depth and mask by nearest pixels."""
    if sample.depth.shape == (height, width):
        return sample
    image = Image.fromarray(sample.image).resize((width, height), Image.Resampling.BILINEAR)
    rows, columns = sample.depth.shape
    y = ((np.arange(height) + 0.5) * rows / height).astype(int)[:, None]
    x = ((np.arange(width) + 0.5) * columns / width).astype(int)[None]
    return dataclasses.replace(
        sample, image=np.array(image), depth=sample.depth[y, x], valid=sample.valid[y, x]
    )


def normalise_depth(
    depth: DepthArray, valid: MaskArray, low: float = 0.02, high: float = 0.98
) -> DepthArray:
    """Depth [H,W] to [-1, 1] between two quantiles of its valid pixels, clipped; float32.

    Raises DataError where it is flat, or known at fewer than ``MIN_VALID`` pixels.
    """
    known = depth[valid]
    if known.size < MIN_VALID:
        raise DataError(f"depth is known at {known.size} pixels, fewer than {MIN_VALID}")
    near, far = np.quantile(known, [low, high])
    if far - near <= 1e-6 * far:
        raise DataError(f"depth is flat: {near:.4g} m everywhere")
    scaled: DepthArray = ((depth - near) / (far - near) * 2.0 - 1.0).astype(np.float32)
    return np.clip(scaled, -1.0, 1.0)


def _each(sample: Sample, change: _Change) -> Sample:
    return dataclasses.replace(
        sample,
        image=change(sample.image),
        depth=change(sample.depth),
        valid=change(sample.valid),
    )
