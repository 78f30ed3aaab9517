"""Many pictures: their points as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from apdepth_deploy.errors import ImageError
from apdepth_deploy.pictures.image import DepthArray, Reading

from ..each import each, going_on, predict, read
from ..feeds.search import Job
from ..metric.camera import Camera, CameraSource
from ..metric.points import cloud, write_ply
from ..predictor import Predictor
from .recording import Log

#: (relative depth float32 [H,W], the picture's file) -> z along the optical axis [H,W], NaN where
#: it isn't known. A picture's own anchors are found by its file.
ZOf = Callable[[DepthArray, Path], NDArray[Any]]
ENDINGS = (".ply",)


def points_folder(
    predictor: Predictor,
    jobs: list[Job],
    output: Path,
    source: CameraSource,
    z_of: ZOf,
    *,
    unit: str,
    ratio: float,
    every: int,
    log: Log | None = None,
) -> list[str]:
    """Write ``STEM.ply`` for every job; returns a line for each picture that failed.

    Args:
        source: of each picture's camera; z_of: of its z; unit: what z is in, for the files.
        ratio, every: see ``cloud``.
        log: is given each picture and its points, too.

    Raises OutputError where the output folder can't be written: that would fail every picture.
    UsageError where a result would take the place of a picture.
    """

    def one(job: Job) -> None:  # what it holds is gone before the next is read
        picture = read(job.image)
        camera = _camera(source, picture, job.image)  # before the work of a prediction
        z = z_of(predict(predictor, picture, job.image), job.image)
        points = cloud(z, picture.image, camera, ratio, _spacing(predictor, camera), every)
        if not len(points.xyz):
            raise ImageError(f"{job.image}: no points: z is nowhere known")
        write_ply(output / f"{job.stem}.ply", points, unit)
        if log is not None:
            log(camera, picture.image, z, points)

    failures: list[str] = []
    for job in each(jobs, output, ENDINGS):
        with going_on(failures, job.image):
            one(job)
    return failures


def _camera(source: CameraSource, picture: Reading, path: Path) -> Camera:
    try:
        return source.of(picture)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def _spacing(predictor: Predictor, camera: Camera) -> int:
    """How much depth was enlarged from the graph's frame, rounded up; 1 where each has its own."""
    height, width = predictor.frame_size or (camera.height, camera.width)
    return max(1, -(-camera.height // height), -(-camera.width // width))
