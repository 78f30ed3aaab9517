"""One picture with its depth, and what a data set is: the shape that every reader gives."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from apdepth_deploy.pictures.image import DepthArray, ImageArray

MaskArray = NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Sample:
    """One frame.

    Attributes:
        name: where it came from, unique in its set: what a message about it says.
        image: uint8 [H,W,3] RGB.
        depth: float32 [H,W], metres along the optical axis (plane depth); 0 where unknown.
        valid: bool [H,W], where ``depth`` is measured and within the set's range.
    """

    name: str
    image: ImageArray
    depth: DepthArray
    valid: MaskArray


class Dataset(Protocol):
    """Frames by number. Torch's DataLoader takes it as it is; nothing here needs torch."""

    #: The set's name in tables and messages.
    name: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample:
        """Raises DataError, naming the file, where the sample is missing, damaged or misfit."""
        ...

    def stamp(self, index: int) -> str:
        """Names, sizes and dates of a frame's picture and depth. Raises DataError."""
        ...
