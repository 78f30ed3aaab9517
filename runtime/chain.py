"""What every backend offers: a chain from frames to depth, and its stages' results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from apdepth_deploy.image import ImageArray

FloatArray = NDArray[np.float32]


class Chain(Protocol):
    """Frames in, depth out, on one engine.

    Attributes:
        backend: the backend's name; device: where it runs ("cpu", "cuda:0", ...).
        batch, height, width: frame sizes it takes, as in the manifest (number or [min, opt, max]).
    """

    backend: str
    device: str
    batch: Any
    height: Any
    width: Any

    def run(self, frames: ImageArray) -> Mapping[str, FloatArray]:
        """uint8 [B,H,W,3] -> {"decoder": depth float32 [B,H,W]}, and the stages that are known."""
        ...
