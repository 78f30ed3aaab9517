"""Sets that are lists of (picture, depth) members: what they share."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from apdepth_deploy.errors import DataError
from apdepth_deploy.pictures.image import DepthArray, ImageArray

from .files import Source, read_rgb
from .sample import MaskArray, Sample

Lines = Sequence[Sequence[str]]


class ListedDataset(ABC):
    """Samples by their line: picture, depth, and what else a set has.

    Args:
        source: where the pictures are.
        lines: at least picture and depth, by their paths in ``source``.
        depth_source: where the depth is, if elsewhere.
    """

    name: str
    #: Depth outside is not valid, in metres.
    min_depth: float
    max_depth: float

    def __init__(self, source: Source, lines: Lines, depth_source: Source | None = None) -> None:
        if not lines:
            raise DataError(f"{source.path}: holds no sample of {self.name}")
        self.source = source
        self.depth_source = depth_source or source
        self.lines = lines

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, index: int) -> Sample:
        line = self.lines[index]
        image = read_rgb(self.source, line[0])
        depth = self.read_depth(line, image)
        in_range = (depth > self.min_depth) & (depth < self.max_depth)
        sample = Sample(line[0], image, np.where(in_range, depth, np.float32(0)), in_range)
        sample = self.frame(sample)
        return dataclasses.replace(sample, valid=sample.valid & self.mask(line, sample))

    def stamp(self, index: int) -> str:
        rgb, depth = self.lines[index][:2]
        return ascii([rgb, *self.source.stamp(rgb), depth, *self.depth_source.stamp(depth)])

    @abstractmethod
    def read_depth(self, line: Sequence[str], image: ImageArray) -> DepthArray:
        """Metres, float32, of the picture's size. Raises DataError."""

    def frame(self, sample: Sample) -> Sample:
        """The part of the picture that the set's users look at."""
        return sample

    def mask(self, line: Sequence[str], sample: Sample) -> MaskArray:
        """Where the set's depth is good or counts."""
        return np.ones_like(sample.valid)
