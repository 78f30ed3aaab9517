"""What is carried from one frame of a stream to the next: steady depth, and scale and shift."""

from __future__ import annotations

import math
from typing import Any

from apdepth_deploy.pictures.image import DepthArray, ImageArray

from .feeds.search import Job
from .metric.metres import Fit
from .metric.stabilizer import Stabilizer
from .metric.tracking import FitFilter


class Stream:
    """One of pictures or frames that follow each other, or of a picture that stands for itself."""

    def __init__(self, steady: Stabilizer | None = None, fits: FitFilter | None = None) -> None:
        """``steady``: what makes depth steady; ``fits``: what carries metres over frames in time;
        None: each frame is on its own."""
        self._steady, self._fits = steady, fits

    @classmethod
    def of_video(cls, steady: bool = True) -> Stream:
        """A new one; ``steady``: whether its depth is made so."""
        return cls(Stabilizer() if steady else None, FitFilter())

    def depth(self, frame: ImageArray, depth: DepthArray) -> DepthArray:
        """float32 [H,W], relative, of the next ``frame`` [H,W,3]; steadied where asked for."""
        if self._steady is None:
            return depth
        result = self._steady(frame, depth)
        if self._fits is not None and self._steady.age == 1:
            self._fits.reset()  # a cut: what was fitted before says nothing now
        return result

    def fit(self, fit: Fit, job: Job) -> Fit:
        """The fit to use for the frame whose own is ``fit``; that where nothing is carried."""
        if self._fits is None or job.seconds is None:
            return fit
        return self._fits(fit, job.seconds)

    def told(self, fit: Fit, job: Job) -> dict[str, Any]:
        """What a program may log of a ``fit`` that ``self.fit`` just gave: ``Fit.to_json`` and the
        picture; of a video also the frame, its seconds, and ``age``: of the last fit believed."""
        found: dict[str, Any] = {"picture": str(job.image)}
        if self._fits is not None and job.seconds is not None:
            age = self._fits.age if math.isfinite(self._fits.age) else None
            found |= {"frame": job.frame, "seconds": job.seconds, "age": age}
        return found | fit.to_json()
