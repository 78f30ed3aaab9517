"""A stream's frame to its depth: predicted, steadied, in metres where they rest on something."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from apdepth_deploy.errors import ImageError
from apdepth_deploy.pictures.image import DepthArray, ImageArray, Reading, resize_image

from ..basis import Basis, camera_of
from ..each import predict
from ..feeds.newest import LiveFrame
from ..feeds.search import Job
from ..feeds.source import Source
from ..metric.camera import Camera, CameraSource
from ..predictor import Predictor
from ..stream import Stream


class Shown(NamedTuple):
    """uint8 [H,W,3]; float32 [H,W]; when, in seconds; its camera, where one was given."""

    image: ImageArray
    depth: DepthArray
    seconds: float
    camera: Camera | None


class Work:
    """One stream's.

    Attributes:
        failed: frames without depth; unknown: frames whose metres aren't known; why: of the last
        one of these, in words.
    """

    def __init__(
        self,
        predictor: Predictor,
        source: Source,
        stream: Stream,
        basis: Basis | None,
        camera: CameraSource | None,
    ) -> None:
        """``camera``: None where none was given."""
        self._predictor, self._stream = predictor, stream
        self._basis, self._camera = basis, camera
        self._job = Job(Path(source.address if source.is_file else source.stem), source.stem)
        self._size: tuple[int, int] | None = None
        self.failed, self.unknown, self.why = 0, 0, ""

    def __call__(self, frame: LiveFrame) -> Shown | None:
        """None where it has no depth. All frames have the first one's size: another is made so."""
        job = self._job.at(frame.number, frame.seconds)
        try:
            picture = frame.picture()
            self._size = self._size or (picture.image.shape[0], picture.image.shape[1])
            picture = picture._replace(image=resize_image(picture.image, *self._size))
            depth = self._stream.depth(picture.image, predict(self._predictor, picture, job))
            camera = None if self._camera is None else camera_of(self._camera, picture, job)
        except ImageError as error:
            self.failed, self.why = self.failed + 1, str(error)
            return None
        if self._basis is not None:
            depth = self._metres(self._basis, job, picture, depth)
        return Shown(picture.image, depth, frame.seconds, camera)

    def _metres(self, basis: Basis, job: Job, picture: Reading, depth: DepthArray) -> DepthArray:
        """NaN everywhere where there is no fit."""
        try:
            fit = self._stream.fit(basis(job, picture, depth), job)
        except ImageError as error:  # of this frame's anchors
            self.unknown, self.why = self.unknown + 1, str(error)
            return np.full_like(depth, np.nan)
        if not fit.valid:
            self.unknown, self.why = self.unknown + 1, f"{job}: {fit.why}"
        return fit.metres(depth)
