"""The predictor: pictures of any size to depth of the same size."""

from __future__ import annotations

from typing import Any

import numpy as np

from apdepth_deploy.image import DepthArray, ImageArray, check_image, resize_depth, resize_image

from .chain import Chain


class Predictor:
    """Depth from pictures, on one backend. Made by ``load``; may be shared between threads.

    Attributes:
        backend, device, precision: what runs, where, in what.
        reason: why this backend was chosen, in words.
        frame_size: (height, width) that a picture is resized to, or None where the graph takes a
            range and each picture keeps its size, rounded to a multiple of 8 within that range.
    """

    def __init__(self, chain: Chain, precision: str, reason: str, stride: int) -> None:
        self._chain = chain
        self._stride = stride
        self.backend = chain.backend
        self.device = chain.device
        self.precision = precision
        self.reason = reason

    @property
    def frame_size(self) -> tuple[int, int] | None:
        height, width = self._chain.height, self._chain.width
        fixed = isinstance(height, int) and isinstance(width, int)
        return (height, width) if fixed else None

    def __call__(self, image: ImageArray) -> DepthArray:
        """uint8 RGB [H,W,3] -> float32 depth [H,W], affine-invariant, 0 near .. 1 far.

        Raises ImageError for another dtype or shape, or a side under ``image.MIN_SIDE``.
        """
        height, width = check_image(image).shape[:2]
        frame = resize_image(image, *self._size_for(height, width))
        return resize_depth(self._run(frame), height, width)

    def _size_for(self, height: int, width: int) -> tuple[int, int]:
        return (
            _fit(height, self._chain.height, self._stride),
            _fit(width, self._chain.width, self._stride),
        )

    def _run(self, frame: ImageArray) -> DepthArray:
        """One frame through a chain of whatever batch: a fixed batch is filled with copies."""
        batch = self._chain.batch
        copies = batch if isinstance(batch, int) else batch[0]
        frames = np.repeat(frame[None], copies, axis=0)
        depth: DepthArray = self._chain.run(frames)["decoder"][0]
        return depth


def _fit(size: int, extent: Any, stride: int) -> int:
    """The frame side for a picture's side: the fixed one, or the nearest that the range allows."""
    if isinstance(extent, int):
        return extent
    smallest, _, largest = extent
    return int(min(max(round(size / stride) * stride, smallest), largest))
